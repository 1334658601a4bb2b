import json
from pathlib import Path

import pytest
import torch

from ar_variants.small import BagOfWordsReconstructor
from common.config import AVConfig
from common.errors import NlaError
from common.models.reconstructor import Reconstructor, TruncatedReconstructor
from common.models.verbalizer import Verbalizer
from common.release.released import CARD, MOST_BYTES, Spoken, load_released, save_released
from common.schema import readings_of
from common.target.load import Target
from decomposition.repeat import Repeat
from tests.schemes import Graded

TEXTS = ["On rivers, cold and deep.", "Music."]


@pytest.fixture
def pair(target: Target, av_config: AVConfig) -> tuple[Verbalizer, Reconstructor]:
    """An AV, before and under fresh adapters, and an AR that have all learned something."""
    torch.manual_seed(0)
    verbalizer = Verbalizer(target.model, target.tokenizer, av_config.replace(slots=2), alpha=7.0)
    learn(verbalizer)
    verbalizer.adapt_anew(4)
    reconstructor = TruncatedReconstructor(target.model, target.tokenizer, 3, 24)
    learn(verbalizer)
    learn(reconstructor)
    return verbalizer, reconstructor


@torch.no_grad()
def learn(model: torch.nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += 0.02 * torch.randn_like(parameter)


def spoken() -> Spoken:
    return Spoken(TEXTS, 30 * torch.randn(2, 64, generator=torch.Generator().manual_seed(0)))


def losses(verbalizer: Verbalizer) -> torch.Tensor:
    with torch.no_grad():
        return verbalizer(verbalizer.encode(*spoken()))


def answers(reconstructor: Reconstructor) -> torch.Tensor:
    with torch.no_grad():
        return reconstructor(reconstructor.encode(readings_of(TEXTS)))


def test_what_is_released_comes_back(pair, target: Target, tmp_path: Path):
    verbalizer, reconstructor = pair
    before = losses(verbalizer), answers(reconstructor)
    kept = save_released(tmp_path / "tiny", verbalizer, reconstructor, target, spoken(), layer=2)
    found = load_released(tmp_path / "tiny", target)
    assert found.manifest["layer"] == 2
    assert found.verbalizer.config.slots == 2
    assert found.verbalizer.alpha == 7.0
    assert min(kept["av"].kept, kept["ar"].kept) > 0.999, "all of a tiny model fits"
    torch.testing.assert_close(losses(found.verbalizer), before[0], rtol=0, atol=0.02)
    assert float(torch.cosine_similarity(answers(found.reconstructor), before[1]).min()) > 0.999
    for file in (tmp_path / "tiny").glob("*.safetensors"):
        assert file.stat().st_size < MOST_BYTES


def test_bad_input_is_named(pair, target: Target, tmp_path: Path):
    folder = tmp_path / "tiny"
    with pytest.raises(NlaError, match=r"no released NLA.*released/"):
        load_released(folder, target)
    save_released(folder, *pair, target, spoken())
    other = target._replace(manifest=target.manifest | {"source": "another"})
    with pytest.raises(NlaError, match="target is 'tiny', expected 'another'"):
        load_released(folder, other)
    manifest = json.loads((folder / "manifest.json").read_text())
    for change in ({"templates": ["a", "b"]}, {"files": {"ar.safetensors": "0"}}):
        (folder / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(NlaError, match=r"templates|ar\.safetensors and 1 more changed since"):
            load_released(folder, target)


def test_two_versions_keep_a_manifest_each(pair, target: Target, tmp_path: Path):
    for name, layer in (("smollm2-v1.5", 2), ("smollm2-v1.6", 3)):
        save_released(tmp_path / name, *pair, target, spoken(), layer=layer)
    assert {place.name for place in tmp_path.iterdir()} == {"smollm2-v1.5", "smollm2-v1.6"}
    assert load_released(tmp_path / "smollm2-v1.5", target).manifest["layer"] == 2
    assert load_released(tmp_path / "smollm2-v1.6", target).manifest["layer"] == 3


def test_a_release_that_is_killed_has_neither_the_old_manifest_nor_the_old_card(
    pair, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "tiny"
    save_released(folder, *pair, target, spoken())
    (folder / CARD).write_text("FVE .9")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            save_released(folder, *pair, target, spoken())
    assert not (folder / CARD).exists()
    with pytest.raises(NlaError, match="no released NLA"):
        load_released(folder, target)


def test_an_av_whose_slots_differ_is_not_released(
    pair, target: Target, av_config: AVConfig, tmp_path: Path
):
    verbalizer = Verbalizer(target.model, target.tokenizer, av_config, 7.0, Graded())
    with pytest.raises(NlaError, match="an AV with the decomposition Graded"):
        save_released(tmp_path / "tiny", verbalizer, pair[1], target, spoken())
    assert not (tmp_path / "tiny").exists()


def test_the_slots_of_a_release_are_those_of_its_decomposition(
    pair, target: Target, av_config: AVConfig, tmp_path: Path
):
    """Whatever the settings say that it does not follow."""
    verbalizer = Verbalizer(target.model, target.tokenizer, av_config, 7.0, Repeat(3))
    learn(verbalizer)
    before = losses(verbalizer)
    save_released(tmp_path / "tiny", verbalizer, pair[1], target, spoken())
    found = load_released(tmp_path / "tiny", target).verbalizer
    assert found.decomposition.slots == 3
    torch.testing.assert_close(losses(found), before, rtol=0, atol=0.02)


def test_an_ar_of_another_kind_is_not_released(pair, target: Target, tmp_path: Path):
    bag = BagOfWordsReconstructor(target.model, target.tokenizer, 24, 8, torch.zeros(64))
    with pytest.raises(NlaError, match="BagOfWords"):
        save_released(tmp_path / "tiny", pair[0], bag, target, spoken())
