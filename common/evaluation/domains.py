"""How well a pair does on kinds of text that it was not trained on: round trips by domain.

All domains are read alike, prose too: texts are cut into chunks of equal length, and positions are
drawn from the chunks. The texts are those that a clone of the repository holds, and the corpus's
test documents.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
from jaxtyping import Float
from torch import Tensor

from common.data.corpus import load_corpus
from common.evaluation.own_blocks import own_blocks
from common.metrics.fve import squared_errors, variance
from common.schema import DOC_ID, SPLIT, TEST, TEXT, Reader, readings_of
from common.seeding import keyed_random
from common.target.text import beginning, encode
from common.trunk.artefacts import Trunk

POSITIONS, CHUNK = 60, 96
"""Activations of each domain, and tokens of a chunk."""
PROSE = "prose of the corpus, test documents"
FILES = {
    "documentation": ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "experiments/*/README.md"),
    "code": ("common/**/*.py", "experiments/**/*.py"),
    "licences": ("LICENSE*",),
}
"""{domain: patterns of the repository's own files}."""
Write = Callable[[Float[Tensor, "rows d_model"]], list[str]]
"""Activations → an AV's explanations."""


class Domain(NamedTuple):
    """The round trips of one domain."""

    errors: Float[Tensor, " positions"]
    """||n(ĥ) - n(h)||²."""
    chunks: list[int]
    """The chunk of each position: positions of one chunk are not independent."""
    variance: float
    """Mean ||n(h) - μ||² of these activations, with μ of the training documents."""


class Place(NamedTuple):
    """A position that is read: the tokens of its chunk up to it."""

    chunk: int
    token_ids: list[int]


def own_texts(trunk: Trunk, root: Path = Path()) -> dict[str, list[str]]:
    """Texts by domain: test documents, and files of a repository; a domain may have none."""
    corpus = load_corpus(trunk.places.corpus).filter(pl.col(SPLIT) == TEST).sort(DOC_ID)
    found = {PROSE: corpus[TEXT].to_list()}
    for domain, patterns in FILES.items():
        files = sorted({file for pattern in patterns for file in root.glob(pattern)})
        found[domain] = [file.read_text(encoding="utf-8") for file in files]
    return found


def by_domain(
    trunk: Trunk, texts: Mapping[str, Sequence[str]], write: Write, read: Reader
) -> dict[str, Domain]:
    """The round trips of each domain; one without a text that is long enough is left out."""
    settings = trunk.profile.activations
    length = min(CHUNK, settings.max_tokens)
    found = {}
    for domain, documents in texts.items():
        chunks = chunks_of(trunk.tokenizer, documents, length, settings.min_position)
        places = places_in(chunks, settings.min_position, domain)
        if places:
            truth = own_blocks(trunk.target, trunk.layer, [place.token_ids for place in places])
            answers = read(readings_of(write(truth)))
            errors = squared_errors(answers, truth)
            chosen = [place.chunk for place in places]
            found[domain] = Domain(errors, chosen, variance(truth, trunk.mean))
    return found


def chunks_of(
    tokenizer: object, documents: Sequence[str], length: int, least: int
) -> list[list[int]]:
    """Texts in chunks of at most `length` tokens, each begun like a document of its own.

    A remainder without a token at position `least` is dropped.
    """
    before = beginning(tokenizer)
    size = length - len(before)
    return [
        [*before, *ids[start : start + size]]
        for ids in encode(tokenizer, documents)
        for start in range(0, len(ids), size)
        if len(before) + len(ids[start : start + size]) > least
    ]


def places_in(chunks: Sequence[Sequence[int]], least: int, key: str) -> list[Place]:
    """At most POSITIONS positions from `least` on, drawn by key, spread over as many chunks."""
    generator = keyed_random("domains", key)
    chosen = sorted(generator.sample(range(len(chunks)), min(len(chunks), POSITIONS)))
    free = {row: [*range(least, len(chunks[row]))] for row in chosen}
    places: list[Place] = []
    while free and len(places) < POSITIONS:
        for row in [*free][: POSITIONS - len(places)]:
            position = free[row].pop(generator.randrange(len(free[row])))
            places.append(Place(row, [*chunks[row][: position + 1]]))
            if not free[row]:
                del free[row]
    return places
