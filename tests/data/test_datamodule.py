from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from common.data.activations import load_activations, vectors_of
from common.data.batches import Example, examples_of, in_order, plan_batches, plan_rollouts
from common.data.datamodule import NlaDataModule
from common.data.store import ActivationStore
from common.errors import NlaError
from common.paths import TrunkPlaces
from common.schema import EXPLANATION, KEY

EXAMPLES = [Example(f"doc-{index}:16", "word " * (1 + index % 13)) for index in range(50)]


@pytest.fixture(scope="module")
def store(trunk_root: Path) -> ActivationStore:
    return ActivationStore(trunk_root / TrunkPlaces("smoke").activations, 8)


@pytest.fixture
def examples(places: TrunkPlaces) -> list[Example]:
    return examples_of(pl.read_parquet(places.explanations))


def pair(texts: list[str], activations: Tensor) -> tuple[list[str], Tensor]:
    return texts, activations


def test_memory_mapped_values_are_those_of_the_parquet(store: ActivationStore, places: TrunkPlaces):
    table = load_activations(places.activations).sample(fraction=1, shuffle=True, seed=0)
    found = store[table[KEY].to_list()]
    assert found.dtype == torch.float32
    assert torch.equal(found, vectors_of(table, 8))


def test_an_unknown_key_is_named(store: ActivationStore):
    with pytest.raises(NlaError, match=r"no activation for 'nobody:3'.*dvc repro explanations"):
        store[["nobody:3"]]


def test_a_sample_of_examples_is_keyed_and_ignores_the_order_of_the_table():
    table = pl.DataFrame({KEY: [e.key for e in EXAMPLES], EXPLANATION: [e.text for e in EXAMPLES]})
    assert examples_of(table.reverse()) == sorted(EXAMPLES)
    sample = examples_of(table, 20)
    assert sample == examples_of(table.reverse(), 20)
    assert len(set(sample)) == 20
    assert examples_of(table, 1000) == sorted(EXAMPLES)


def test_a_plan_is_deterministic_and_every_epoch_is_another_shuffle():
    plan = plan_batches(EXAMPLES, batch_size=8, epochs=2, seed=0)
    assert plan == plan_batches(EXAMPLES, batch_size=8, epochs=2, seed=0)
    assert plan != plan_batches(EXAMPLES, batch_size=8, epochs=2, seed=1)
    first, second = plan[:6], plan[6:]
    assert len(second) == 6
    assert first != second
    for epoch in (first, second):
        assert {len(batch) for batch in epoch} == {8}
        assert max(Counter(example for batch in epoch for example in batch).values()) == 1


def test_batches_hold_texts_of_similar_length():
    spans = [
        max(lengths) - min(lengths) for lengths in map(lengths_of, plan_batches(EXAMPLES, 8, 1, 0))
    ]
    assert max(spans) <= 20, (
        "words of 5 characters, 50 texts of 13 lengths, so 8 span 4 words at most"
    )


def lengths_of(batch: list[Example]) -> list[int]:
    return [len(example.text) for example in batch]


def test_fewer_examples_than_a_batch_make_one_batch():
    (batch,) = plan_batches(EXAMPLES[:3], batch_size=8, epochs=1, seed=0)
    assert sorted(batch) == sorted(EXAMPLES[:3])


def test_evaluation_drops_nothing():
    batches = in_order(EXAMPLES, 8)
    assert sorted(len(batch) for batch in batches) == [7] * 6 + [8], "no batch of next to nothing"
    assert in_order([], 8) == []
    flat = [example for batch in batches for example in batch]
    assert sorted(flat) == sorted(EXAMPLES)
    assert lengths_of(flat) == sorted(lengths_of(EXAMPLES))


def served(loader: Any) -> list[tuple[list[str], Tensor]]:
    return list(loader)


def test_batches_join_texts_with_their_own_activations(
    store: ActivationStore, examples: list[Example]
):
    plan = plan_batches(examples, batch_size=8, epochs=1, seed=0)
    data = NlaDataModule(plan, in_order(examples, 32), store, pair)
    for batch, (texts, activations) in zip(plan, served(data.train_dataloader()), strict=True):
        assert texts == [example.text for example in batch]
        assert torch.equal(activations, store[[example.key for example in batch]])
    assert sum(len(texts) for texts, _ in served(data.val_dataloader())) == len(examples)


def of_rank(data: NlaDataModule, rank: int, world: int, step: int = 0) -> NlaDataModule:
    data.trainer = SimpleNamespace(
        accumulate_grad_batches=1, global_rank=rank, world_size=world, global_step=step
    )  # type: ignore[assignment]
    return data


def test_processes_share_every_batch_and_lose_nothing(
    store: ActivationStore, examples: list[Example]
):
    plan = plan_batches(examples, batch_size=8, epochs=1, seed=0)
    shares = [
        served(of_rank(NlaDataModule(plan, [], store, pair), rank, 2).train_dataloader())
        for rank in (0, 1)
    ]
    for batch, (first, _), (second, _) in zip(plan, *shares, strict=True):
        assert len(first) == len(second) == 4
        assert sorted(first + second) == sorted(example.text for example in batch)


def test_a_resumed_run_gets_the_batches_that_are_left(
    store: ActivationStore, examples: list[Example]
):
    plan = plan_batches(examples, batch_size=8, epochs=1, seed=0)
    data = of_rank(NlaDataModule(plan, [], store, pair), 0, 1, step=5)
    resumed = NlaDataModule(plan, [], store, pair)
    resumed.load_state_dict(data.state_dict())
    left = [texts for texts, _ in served(resumed.train_dataloader())]
    assert left == [[example.text for example in batch] for batch in plan[5:]]


def test_rollouts_go_through_all_keys_before_any_comes_again():
    keys = [f"{number}:16" for number in range(10)]
    plan = plan_rollouts(keys, 4, steps=5, repeats=2, seed=0)
    assert len(plan) == 10
    assert plan[::2] == plan[1::2], "each batch as often as asked, one after another"
    order = [example.key for batch in plan[::2] for example in batch]
    assert set(order[:10]) == set(order[10:20]) == set(keys)
    assert plan == plan_rollouts(list(reversed(keys)), 4, steps=5, repeats=2, seed=0)
    assert plan != plan_rollouts(keys, 4, steps=5, repeats=2, seed=1)
    assert plan_rollouts(keys, 4, steps=0, repeats=2, seed=0) == []
