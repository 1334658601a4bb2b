"""Explain one activation of the user's own text: the AV's explanation, and the AR's reading."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from common.commands.pair import Pair, load_pair, make_target, reads_of
from common.errors import NlaError
from common.metrics.fve import cosines, squared_errors
from common.metrics.standing import Standing, novelty, percent_below
from common.models.reconstructor import Step
from common.paths import TrunkPlaces
from common.profile import Profile
from common.progress import progress
from common.rollout.reading import reconstruct
from common.rollout.sampler import sample_explanations
from common.schema import Reading, TokenBatch
from common.target.residual import read_residual
from common.target.text import CONTEXT, HALF, beginning, encode_document, pieces
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk

TOKENS_BEFORE, TOKENS_AFTER = 24, 8
"""How much text is shown around the position."""
SMALL = 4 * 2**30
"""Size of a target, in bytes, up to which one thread is as fast as many: one token at a time
gives threads little to share, and beside other work they wait for one another."""
UNUSUAL = 99
"""Percentile of the test activations' novelty above which an activation counts as unusual."""


class Found(NamedTuple):
    """One explanation with its round trip."""

    explanation: str
    cosine: float
    fve: float
    novelty: float | None
    """None where the directions of the training activations are not known."""
    unsaid: float | None = None
    """FVE of the AR without the explanation, where it sees some of the input."""

    @property
    def conditional(self) -> float | None:
        """The share of the AR's own error without the explanation that this takes away."""
        if self.unsaid is None or self.unsaid == 1:
            return None
        return 1 - (1 - self.fve) / (1 - self.unsaid)


def explain_text(text: str, position: int, place: Path, profile: Profile) -> None:
    """Print the text around the position, its explanation, and how well the AR reads it.

    FVE uses the test split's denominator, so that it compares with the reports. NlaError for a text
    that is too short or a position outside of it.
    """
    make_target(profile)
    if sum(file.stat().st_size for file in TrunkPlaces(profile.name).target.iterdir()) < SMALL:
        torch.set_num_threads(1)
    trunk, (first, most) = Trunk(choose_trunk(profile)), reads_of(place, profile)
    tokenizer = trunk.tokenizer
    ids = encode_document(tokenizer, text)
    column = check_position(position, len(ids), first)
    read = last_tokens(ids[: column + 1], most, beginning(tokenizer))
    with progress("explain", 3, "step") as bar:
        bar.set_postfix_str("loading the models")
        pair = load_pair(trunk, place)
        found = _explain(trunk, pair, read, bar)
    counted = f"token {column + 1} of {len(ids)} (--position {column}), layer {pair.layer}"
    if len(read) <= column:
        counted += f"; of what is before it the last {len(read) - 1} are read, as in training"
    _print(
        {
            "text": marked(tokenizer, ids, column),
            "position": counted,
            "explanation": found.explanation,
            **followed(pair.reconstructor.steps(found.explanation)),
            "NLA": str(place),
            **judged(found, pair.standing),
        }
    )


def check_position(position: int, length: int, minimum: int) -> int:
    """The column of a position (negative: from the end); NlaError outside [minimum, length)."""
    column = position + length if position < 0 else position
    if length <= minimum:
        what = f"the text has {length} tokens, but activations are read from position {minimum} on"
        raise NlaError(what, remedy="give a longer text")
    if not minimum <= column < length:
        what = f"position {position} is outside {minimum} to {length - 1}"
        raise NlaError(what, where="--position", remedy="choose a position inside")
    return column


def last_tokens(ids: list[int], limit: int, before: list[int]) -> list[int]:
    """The tokens that are read of a text: its beginning, and as many of its last ones as fit.

    Texts are no longer in training: the pair has never seen later positions.
    """
    if len(ids) <= limit:
        return ids
    return [*before, *ids[len(before) - limit :]]


def marked(tokenizer: Any, ids: list[int], column: int) -> str:
    """The text around a token, in brackets; if it is part of a character, the whole character."""
    shown = len(beginning(tokenizer))
    start = max(shown, column - TOKENS_BEFORE)
    first = max(shown, start - CONTEXT)
    last = min(len(ids), column + TOKENS_AFTER)
    found = pieces(tokenizer, ids[first:last])
    if last < len(ids):
        found[-1] = found[-1].rstrip(HALF)
    before, at = found[start - first : column - first], column - first
    end = next((place for place in range(at, len(found)) if found[place]), at)
    token = "".join(found[at : end + 1])
    bare = token.strip() or token.encode("unicode_escape").decode()
    left = "".join(before) + token[: len(token) - len(token.lstrip())] * bool(token.strip())
    around = f"{'… ' if start > shown else ''}{left}⟦{bare}⟧{''.join(found[end + 1 :])}"
    return " ".join(around.split()) + (" …" if last < len(ids) else "")


def followed(steps: Sequence[Step]) -> dict[str, str]:
    """The path through an AR that can be followed; questions whose answer is no are left out."""
    taken = [f"{step.title}: {step.answer}" for step in steps if step.answer != "no"]
    return {"path": " → ".join(taken)} if taken else {}


def judged(found: Found, standing: Standing | None) -> dict[str, str]:
    """How far to trust an explanation: its numbers, and where they lie among those of the test."""
    cosine, fve = f"{found.cosine:.3f}", f"{found.fve:.3f}"
    if standing:
        below = percent_below(found.cosine, standing.cosines)
        cosine += f", above {below} % of the pair's test activations"
    if found.fve < 0:
        fve += ": worse than answering the mean of the training activations, do not trust this"
    rows = {"cosine": cosine, "FVE": fve}
    if found.conditional is not None:
        rows["conditional"] = (
            f"{found.conditional:.3f} of the error that the AR makes with its part of the input"
            f" alone, with which it has an FVE of {found.unsaid:.3f}"
        )
    if standing and found.novelty is not None:
        usual = standing.novelties[UNUSUAL]
        if found.novelty > usual:
            rows["warning"] = (
                f"{found.novelty:.0%} of this activation lies outside the directions in which"
                f" those of training vary, more than in {UNUSUAL} % of the test activations"
                f" ({usual:.0%}): the pair's FVE of {standing.fve:.2f} is not to be expected here"
            )
    return rows


def _explain(trunk: Trunk, pair: Pair, ids: Sequence[int], bar: Any) -> Found:
    """Read the activation after the last token, let the AV write, and the AR read the result."""
    profile = trunk.profile
    _step(bar, "reading the activation")
    window = pair.verbalizer.decomposition.window
    activation, inputs = read_activation(trunk.target.model, ids, pair.layer, window)
    _step(bar, "writing the explanation")
    precision = profile.trainer.precision
    greedy = profile.rollout.replace(temperature=0.0)
    (text,) = sample_explanations(pair.verbalizer, inputs, greedy, precision=precision)
    _step(bar, "reading it back")
    seen = pair.view(tuple(ids))
    asked = [Reading(text, seen), *([Reading("", seen)] if seen else [])]
    answers = reconstruct(pair.reconstructor, asked, len(asked), precision)
    errors = squared_errors(answers, activation.expand(len(asked), -1))
    fve, *unsaid = (1 - errors / pair.variance).tolist()
    new = float(novelty(activation, pair.standing.familiar)[0]) if pair.standing else None
    cosine = float(cosines(answers[:1], activation)[0])
    return Found(text, cosine, fve, new, unsaid[0] if unsaid else None)


def _step(bar: Any, what: str) -> None:
    bar.set_postfix_str(what)
    bar.update(1)


def read_activation(
    model: Any, ids: Sequence[int], layer: int, window: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The activation after the last token [1, d_model], and what an AV with that window reads."""
    tokens = torch.tensor([ids])
    batch = TokenBatch(tokens, torch.ones_like(tokens, dtype=torch.bool))
    place = (torch.tensor([0]), torch.tensor([len(ids) - 1]))
    reading = read_residual(model, batch, [layer], place, 0, window)
    activation = reading.activations[layer]
    return activation, torch.cat([*reading.before.values(), activation], 1)


def _print(rows: dict[str, str]) -> None:
    """Rows in a column, wrapped, on a terminal; elsewhere one line each, for other programs."""
    console = Console(markup=False, emoji=False, highlight=False)
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        if console.is_terminal:
            table.add_row(name, value)
        else:
            console.print(f"{name:<12} {value}", soft_wrap=True)
    if console.is_terminal:
        console.print(table)
