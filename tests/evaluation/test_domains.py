"""Round trips by domain, on the tiny target."""

from pathlib import Path

import pytest
import torch

from common.evaluation import domains
from common.evaluation.domains import (
    FILES,
    POSITIONS,
    PROSE,
    by_domain,
    chunks_of,
    own_texts,
    places_in,
)
from common.evaluation.own_blocks import own_blocks
from common.metrics.fve import normalize
from common.schema import Reading
from common.target.load import Target
from common.target.text import beginning, encode_document
from common.trunk.artefacts import Trunk

TEXT = "The quiet river crosses the plain and the old mill stands beside it. " * 12


def keyed(vectors: torch.Tensor) -> list[str]:
    """An AV that remembers each activation under a name."""
    REMEMBERED.update({f"{row}": vector for row, vector in enumerate(vectors)})
    return [*map(str, range(len(vectors)))]


REMEMBERED: dict[str, torch.Tensor] = {}


def recall(readings: list[Reading]) -> torch.Tensor:
    return torch.stack([REMEMBERED[one.text] for one in readings])


def test_chunks_begin_like_documents(target: Target):
    whole = encode_document(target.tokenizer, TEXT)
    before = beginning(target.tokenizer)
    chunks = chunks_of(target.tokenizer, [TEXT, "short"], 40, 16)
    assert chunks[0] == whole[:40]
    assert [id_ for chunk in chunks for id_ in chunk[len(before) :]] == whole[len(before) :][
        : sum(len(chunk) - len(before) for chunk in chunks)
    ]
    assert all(16 < len(chunk) <= 40 for chunk in chunks)
    assert chunks_of(target.tokenizer, ["short", ""], 40, 16) == []
    assert chunks_of(target.tokenizer, [], 40, 16) == []


def test_positions_are_spread_over_the_chunks():
    many = places_in([[*range(20)]] * 100, 16, "a")
    assert len(many) == POSITIONS
    assert len({place.chunk for place in many}) == POSITIONS
    assert all(17 <= len(place.token_ids) <= 20 for place in many)
    few = places_in([[*range(90)], [*range(30)]], 16, "a")
    assert len(few) == POSITIONS
    assert len({(place.chunk, len(place.token_ids)) for place in few}) == POSITIONS, "each once"
    assert len(places_in([[*range(20)]], 16, "a")) == 4, "no more than there are"
    assert places_in([], 16, "a") == []
    assert places_in([[*range(20)]] * 100, 16, "a") == many
    assert places_in([[*range(20)]] * 100, 16, "b") != many


def test_the_last_token_is_read(target: Target):
    """The same with padding beside longer places, and alone."""
    ids = encode_document(target.tokenizer, TEXT)
    places = [ids[:length] for length in (20, 50, 33)]
    together = own_blocks(target, 2, places)
    alone = torch.cat([own_blocks(target, 2, [place]) for place in places])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        states = target.model(torch.tensor([ids[:50]]), output_hidden_states=True).hidden_states
    torch.testing.assert_close(together[1], states[3][0, -1], rtol=1e-4, atol=1e-4)


def test_a_round_trip_that_loses_nothing_has_no_error(trunk: Trunk):
    found = by_domain(trunk, {"a": [TEXT], "too short": ["a"], "none": []}, keyed, recall)
    assert list(found) == ["a"]
    assert float(found["a"].errors.max()) == pytest.approx(0, abs=1e-3)
    assert len(found["a"].errors) == len(found["a"].chunks) <= POSITIONS


def test_each_domain_has_a_variance_of_its_own_about_one_mean(trunk: Trunk):
    def mean(readings: list[Reading]) -> torch.Tensor:
        return trunk.mean.expand(len(readings), -1)

    texts = {"a": [TEXT], "b": ["x = [1, 2, 3]; y = {x: 2}\n" * 40]}
    found = by_domain(trunk, texts, keyed, mean)
    for domain in found.values():
        truth = torch.stack([REMEMBERED[str(row)] for row in range(len(domain.errors))])
    assert domain.variance == pytest.approx(
        float((normalize(truth) - trunk.mean).square().sum(1).mean()), rel=1e-4
    )
    assert found["a"].variance != found["b"].variance


def test_texts_of_a_repository(trunk: Trunk, tmp_path: Path):
    (tmp_path / "docs" / "log").mkdir(parents=True)
    (tmp_path / "README.md").write_text("# Title")
    (tmp_path / "docs" / "log" / "a.md").write_text("A day.")
    (tmp_path / "LICENSE").write_text("You may.")
    found = own_texts(trunk, tmp_path)
    assert list(found) == [PROSE, *FILES]
    assert found["documentation"] == ["# Title", "A day."]
    assert found["licences"] == ["You may."]
    assert found["code"] == []
    assert len(found[PROSE]) > 0


def test_this_repository_has_texts_of_every_domain(trunk: Trunk):
    root = Path(domains.__file__).parents[2]
    found = own_texts(trunk, root)
    assert all(sum(map(len, texts)) > 5000 for texts in found.values())
