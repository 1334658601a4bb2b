"""The API teacher: the question to a language model about an activation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.config import TeacherConfig
from common.data.api import Messages, ask
from common.schema import DESCRIPTION, NEXT_PROBS, NEXT_TOKENS, TEXT, TITLE, TOPIC

SHOWN_CHARACTERS = 4000
"""How much of the end of a text is shown to the teacher."""

INSTRUCTIONS = """\
A language model is reading a text and has just read its last token. Explain what it has in mind at
that token, so that somebody who sees only your explanation could rebuild its internal state.

Write 2 to 4 short statements on one line, at most 45 words in all, the most important first:
1. the last words, quoted exactly in straight double quotes;
2. what it expects next and how surely, given the predictions;
3. what the text is about;
4. where in the sentence it stands.
Quote nothing else. Do not speak of yourself, the model or these instructions.
Put the statements between <explanation> and </explanation> and write nothing after them."""

EXAMPLES = (
    (
        {
            TEXT: "A lighthouse is a tower built to guide ships. Its lamp turns slowly, and",
            TITLE: "Lighthouse",
            NEXT_TOKENS: [" its", " the", " is"],
            NEXT_PROBS: [0.31, 0.24, 0.08],
        },
        'Ends with "turns slowly, and". Perhaps followed by "its" or "the". On lighthouses: a '
        "tower that guides ships. A second main clause about the lamp is just starting.",
    ),
    (
        {
            TEXT: "Marie Curie won the Nobel Prize in Physics in 19",
            TITLE: "Marie Curie",
            DESCRIPTION: "Polish-French physicist (1867–1934)",  # noqa: RUF001
            NEXT_TOKENS: ["0", "1", "3"],
            NEXT_PROBS: [0.86, 0.12, 0.01],
        },
        'Ends with "in Physics in 19". Almost surely "0": a year is half written. On Marie Curie, '
        "physicist, and her Nobel Prize. First sentence, inside a number.",
    ),
    (
        {
            TEXT: "def area(width, height):\n    return width *",
            NEXT_TOKENS: [" height", " width", " ("],
            NEXT_PROBS: [0.97, 0.01, 0.01],
        },
        'Ends with "return width *". Almost surely "height". Python function for the area of a '
        "rectangle. Inside a product, the second factor is missing.",
    ),
)


def explain_by_api(
    rows: Sequence[Mapping[str, Any]], config: TeacherConfig, cache_folder: Path
) -> list[str | None]:
    """One explanation per row, None where no answer was usable; see `common.data.api.ask`."""
    return ask([_messages(prompt_of(row)) for row in rows], config, cache_folder)


def prompt_of(row: Mapping[str, Any]) -> str:
    """The question about one activation: its text, its predictions and facts of its document."""
    known = [row.get(name) for name in (TITLE, DESCRIPTION, TOPIC)]
    about = "; ".join(value for value in known if value) or "unknown"
    pairs = zip(row[NEXT_TOKENS], row[NEXT_PROBS], strict=True)
    predictions = ", ".join(f"{json.dumps(token)} {prob:.2f}" for token, prob in pairs) or "unknown"
    text = row[TEXT][-SHOWN_CHARACTERS:]
    return f"<text>{text}</text>\nDocument: {about}\nPredicted next tokens: {predictions}"


def _messages(prompt: str) -> Messages:
    shown = "\n\n".join(
        f"{prompt_of(row)}\n<explanation>{explanation}</explanation>"
        for row, explanation in EXAMPLES
    )
    system = f"{INSTRUCTIONS}\n\nExamples:\n\n{shown}"
    return [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
