"""The offline teacher: explanations composed from the text and the target's own predictions."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from common.data import syntax
from common.schema import (
    DESCRIPTION,
    DOC_ID,
    NEXT_PROBS,
    NEXT_TOKENS,
    POSITION,
    TEXT,
    TITLE,
    TOKEN_IDS,
    TOPIC,
)
from common.seeding import keyed_random
from common.target.text import HALF, decode, encode

MAX_TOKENS = 60
"""Longest explanation, in the target's tokens: less important statements are left out."""
MOST_STATEMENTS = 4
QUOTED_TOKENS = 6
"""Words of the quoted end of the text; up to three more so that it starts with a whole word."""
DESCRIPTION_WORDS, TITLE_WORDS = 9, 8

PHRASES = {
    "quote": ('Ends with "{quote}".', 'The text stops at "{quote}".', 'Last words: "{quote}".'),
    "surely": ("Next almost surely {first}.", "Almost surely followed by {first}."),
    "probably": ("Next probably {first}, else {second}.", "Probably {first}, or else {second}."),
    "perhaps": ("Next perhaps {first} or {second}.", "Perhaps {first} or {second} follows."),
    "open": ("Next is open: {first}, {second}, {third}.", "Open: {first}, {second} or {third}."),
    "guess": ("Next may be {first}.", "May go on with {first}."),
    "topic": ("Text on {topic}: {subject}.", "Topic {topic}: {subject}.", "On {topic}: {subject}."),
    "subject": ("Text about {subject}.", "The subject: {subject}.", "About {subject}."),
    "salient": ("Mentions {words}.", "Words such as {words}.", "Speaks of {words}."),
    "syntax": (
        "In the {ordinal} sentence, {state}.",
        "Syntax: {ordinal} sentence, {state}.",
        "Here {state}, {ordinal} sentence.",
    ),
}
CONFIDENCE = (
    ("surely", 0.8, 1),
    ("probably", 0.5, 2),
    ("perhaps", 0.2, 2),
    ("open", 0.0, 3),
    ("guess", 0.0, 1),
)
"""Phrasing, least probability of the best next token, and how many next tokens it shows."""
_END = re.compile(r"<[|\uff5c].*[|\uff5c]>|</s>|<eos>|<end_of_turn>")
"""A token that ends a text or a turn, as the tokenizers of common models write it."""


def compose(row: Mapping[str, Any], tokenizer: Any) -> str:
    """Explanation of one activation: 2 to 4 statements, the most important first.

    In order: the words the position ends with, the target's own next-token predictions, what the
    text is about (title, description and topic, or else its most frequent words), and the syntax.
    Deterministic in (doc_id, position). `row` holds the columns of the activations plus the
    nullable title, description and topic of the corpus.
    """
    random = keyed_random("explanation", row[DOC_ID], row[POSITION])
    statements = [
        _quote_statement(row[TOKEN_IDS], tokenizer, random),
        *next_statement(row[NEXT_TOKENS], row[NEXT_PROBS], random),
        *subject_statements(row, random),
        syntax_statement(row, random),
    ]
    return joined(statements, tokenizer)


def joined(statements: Sequence[str], tokenizer: Any) -> str:
    """The first statements, in order, as many as an explanation may have, but at least two."""
    kept = [*statements[:MOST_STATEMENTS]]
    while len(kept) > 2 and len(encode(tokenizer, [" ".join(kept)])[0]) > MAX_TOKENS:
        kept.pop()
    return " ".join(kept)


def _phrase(name: str, random: Random, **words: str) -> str:
    return random.choice(PHRASES[name]).format(**words)


def _quote_statement(token_ids: list[int], tokenizer: Any, random: Random) -> str:
    counts = range(QUOTED_TOKENS, QUOTED_TOKENS + 4)
    whole, *starts = decode(tokenizer, [token_ids, *(token_ids[:-count] for count in counts)])
    tails = [whole[len(start.rstrip(HALF)) :] for start in starts]
    tail = next((tail for tail in tails if tail[:1].isspace()), tails[0])
    return _phrase("quote", random, quote=_inside_quotes(tail).lstrip())


def _inside_quotes(text: str) -> str:
    """One line that may stand between straight double quotes; halves of characters are dropped."""
    text = re.sub(r"<\|[^|]*\|>|\ufffd", "", text)
    return re.sub(r"\s+", " ", re.sub('["“”„]', "'", text))


def next_statement(tokens: Sequence[str], probs: Sequence[float], random: Random) -> list[str]:
    """Empty when the target's predictions were not read."""
    shown = list(dict.fromkeys(map(shown_token, tokens)))
    if not shown:
        return []
    name = next(
        name for name, least, needed in CONFIDENCE if probs[0] >= least and len(shown) >= needed
    )
    return [_phrase(name, random, **dict(zip(("first", "second", "third"), shown, strict=False)))]


def shown_token(token: str) -> str:
    """A next token as it is written: quoted, or named where a quote would show nothing."""
    if _END.fullmatch(token.strip()):
        return "the end"
    if not token.strip():
        return "a line break" if "\n" in token else "a space"
    quoted = _inside_quotes(token).strip()
    return f'"{quoted}"' if quoted else "a rare sign"


def subject_statements(row: Mapping[str, Any], random: Random) -> list[str]:
    """Title, description and topic; the text's own words where there is no description."""
    title, description, topic = (row.get(name) or "" for name in (TITLE, DESCRIPTION, TOPIC))
    known = [_shortened(title, TITLE_WORDS), _shortened(description, DESCRIPTION_WORDS)]
    subject = ", ".join(filter(None, known))
    topic = "" if topic.lower() == "uncategorized" else _shortened(topic.lower(), TITLE_WORDS)
    statements = []
    if subject and topic:
        statements.append(_phrase("topic", random, topic=topic, subject=subject))
    elif subject or topic:
        statements.append(_phrase("subject", random, subject=subject or topic))
    words = [] if description else salient_words(row[TEXT])
    if words:
        statements.append(_phrase("salient", random, words=", ".join(words)))
    return statements


def _shortened(text: str, words: int) -> str:
    return " ".join(_inside_quotes(text).rstrip(". ").split()[:words]).rstrip(",;:")


def salient_words(text: str, count: int = 4) -> list[str]:
    """The most frequent content words of a text, the latest first among equals."""
    content = [word.lower() for word in reversed(re.findall(r"[^\W\d_]{4,}", text))]
    counts = Counter(word for word in content if word not in syntax.FUNCTION_WORDS)
    return [word for word, _ in counts.most_common(count)]


def syntax_statement(row: Mapping[str, Any], random: Random) -> str:
    """Which sentence the text stops in, and where in it."""
    text = row[TEXT]
    next_token = row[NEXT_TOKENS][0] if row[NEXT_TOKENS] else ""
    state = ", ".join([*syntax.surroundings(text), syntax.state(text, next_token)])
    return _phrase("syntax", random, ordinal=syntax.ordinal(text), state=state)
