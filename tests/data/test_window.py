"""The activations of the positions before, which the AV of a trunk with a window reads too."""

from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

from common.config import ActivationsConfig
from common.config_file import validated
from common.data.activations import extract_activations, load_activations
from common.data.corpus import load_corpus
from common.data.store import ActivationStore
from common.errors import NlaError
from common.manifest import digest_of, read_manifest
from common.paths import TrunkPlaces
from common.schema import KEY, POSITION, TOKEN_IDS
from common.target.load import Target
from common.target.residual import earlier

CONFIG = ActivationsConfig(layers=(8, 3), max_tokens=40, shard_rows=20, batch_tokens=400)
WINDOW, WIDTH = 4, 64


@pytest.fixture(scope="module")
def corpus(trunk_root: Path) -> pl.DataFrame:
    return load_corpus(trunk_root / TrunkPlaces("smoke").corpus).head(30)


@pytest.fixture(scope="module")
def windowed(
    tmp_path_factory: pytest.TempPathFactory, corpus: pl.DataFrame, target: Target
) -> Path:
    out = tmp_path_factory.mktemp("windowed") / "activations"
    extract_activations(CONFIG.replace(window=WINDOW), corpus, target, out)
    return out


@torch.no_grad()
def states(target: Target, ids: list[int], layer: int) -> Tensor:
    """The residual stream after a block at every position, by the model's plain forward."""
    return target.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer + 1][0]


def test_the_column_holds_the_positions_before_in_the_order_of_the_text(
    windowed: Path, target: Target
):
    table = load_activations(windowed)
    assert table.schema["window_8"] == pl.Array(pl.Float32, 3 * WIDTH)
    assert "window_3" not in table.columns, "the main layer alone"
    for row in table.sample(8, seed=0).iter_rows(named=True):
        whole = states(target, row[TOKEN_IDS], 8)
        last = row[POSITION]
        found = torch.tensor(row["window_8"]).view(3, WIDTH)
        assert torch.allclose(found, whole[last - 3 : last], atol=1e-4)
        assert torch.allclose(torch.tensor(row["activation_8"]), whole[last], atol=1e-4)
        assert not torch.allclose(found[-1], whole[last], atol=1e-2), "the test is blind"


def test_everything_else_is_as_without_a_window(
    windowed: Path, corpus: pl.DataFrame, target: Target, tmp_path: Path
):
    extract_activations(CONFIG, corpus, target, tmp_path / "plain")
    plain, other = load_activations(tmp_path / "plain"), load_activations(windowed)
    assert other.columns == [*plain.columns, "window_8"]
    assert other.drop("window_8").equals(plain)
    manifests = [read_manifest(folder, "") for folder in (tmp_path / "plain", windowed)]
    assert [manifest.get("window") for manifest in manifests] == [None, WINDOW]
    assert manifests[0]["norm_percentiles"] == manifests[1]["norm_percentiles"]


def test_a_window_of_one_position_changes_no_digest():
    values = CONFIG.model_dump(mode="json")
    assert CONFIG.digest() == digest_of({k: v for k, v in values.items() if k != "window"})
    assert CONFIG.replace(window=1).digest() == CONFIG.digest()
    digests = {CONFIG.replace(window=window).digest() for window in (1, 2, 4)}
    assert len(digests) == 3


def test_a_store_with_a_window_ends_in_the_activation(windowed: Path):
    plain, wide = ActivationStore(windowed, 8), ActivationStore(windowed, 8, WINDOW)
    keys = load_activations(windowed, columns=[KEY])[KEY].to_list()[::7]
    found, table = wide[keys], load_activations(windowed)
    assert found.shape == (len(keys), WINDOW * WIDTH)
    assert torch.equal(found[:, -WIDTH:], plain[keys])
    rows = table.filter(pl.col(KEY).is_in(keys))["window_8"]
    assert torch.equal(found[:, :-WIDTH], torch.tensor(rows.to_list()))


def test_positions_before_by_hand():
    rows, columns = earlier((torch.tensor([0, 1]), torch.tensor([16, 30])), window=3)
    assert rows.tolist() == [[0], [1]]
    assert columns.tolist() == [[14, 15], [28, 29]]
    with pytest.raises(AssertionError, match="attention sink"):
        earlier((torch.tensor([0]), torch.tensor([2])), window=3)


def test_a_window_that_reaches_the_attention_sink_is_refused():
    assert ActivationsConfig(window=16).window == 16
    values = {"window": 17, "min_position": 16}
    with pytest.raises(NlaError, match=r"window = 17 .* at most min_position = 16") as caught:
        validated(ActivationsConfig, values, Path("mine.yaml"), ("activations",))
    assert "mine.yaml" in str(caught.value)
    with pytest.raises(NlaError, match=r"activations\.window.*greater than"):
        validated(ActivationsConfig, {"window": 0}, Path("mine.yaml"), ("activations",))
