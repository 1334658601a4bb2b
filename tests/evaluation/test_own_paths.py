import contextlib
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from common.config import AVConfig
from common.errors import NlaError
from common.evaluation import own_paths
from common.evaluation.own_paths import check_own_paths
from common.target.load import Target
from common.target.tiny import tiny_target
from decomposition.protocol import unit
from tests.families import LATENT, tiny_family, tiny_settings, with_bos
from tests.schemes import Graded

LAYER = 2
READ = (
    "llama",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "cohere",
    "granite",
    "phi",
    "phi3",
    "olmo2",
    "glm",
    "gpt_neox",
    "starcoder2",
    "mixtral",
    "smollm3",
)
REFUSED = ("gpt2", "bloom", "opt", "mamba", "gpt_oss", "nanochat", "bert", "granite_swa")
TOO_LARGE = 40_000_000
"""Parameters of a model that no setting makes small."""


@pytest.fixture
def av() -> AVConfig:
    return AVConfig(examples=1, learning_rate=1e-3)


@pytest.mark.parametrize("family", READ)
def test_these_families_are_read_as_they_are(family: str, av: AVConfig):
    check_own_paths(tiny_family(family), LAYER, av)


@pytest.mark.parametrize("family", REFUSED)
def test_these_families_are_refused_in_one_line(family: str, av: AVConfig):
    with pytest.raises(NlaError, match="choose a model like Llama") as caught:
        check_own_paths(tiny_family(family), LAYER, av)
    assert "\n" not in str(caught.value)


def test_a_bos_several_slots_and_every_block_are_compared_too(target: Target, av: AVConfig):
    begins = target._replace(tokenizer=with_bos(target.tokenizer))
    for layer in (0, 11):
        check_own_paths(begins, layer, av.replace(slots=3))


@pytest.fixture
def graded(monkeypatch: pytest.MonkeyPatch) -> None:
    """AVs with slots of unequal lengths."""
    usual = own_paths.Verbalizer
    monkeypatch.setattr(own_paths, "Verbalizer", lambda *given: usual(*given, Graded()))


@pytest.mark.usefixtures("graded")
@pytest.mark.parametrize("family", ["llama", "gemma2", "granite"])
def test_slots_of_unequal_lengths_are_compared_too(family: str, av: AVConfig):
    check_own_paths(tiny_family(family), LAYER, av)


@pytest.mark.usefixtures("graded")
def test_an_injection_that_levels_lengths_out_is_named(av: AVConfig, monkeypatch: Any):
    from common.models import verbalizer

    replace = verbalizer.replace
    monkeypatch.setattr(verbalizer, "replace", lambda e, c, v, a: replace(e, c, unit(v), a))
    with pytest.raises(NlaError, match=r"^injecting a vector differs"):
        check_own_paths(tiny_family("llama"), LAYER, av)


FAULTS = {
    "reading activations": ("common.target.residual.logits_of", lambda m, s: m.lm_head(s).float()),
    "injecting a vector": ("common.models.verbalizer.embedding_scale", lambda _: 1.0),
    "decoding with an injected vector": (
        "common.rollout.choice.logits_of",
        lambda m, s: m.lm_head(s).float(),
    ),
    "an AV's log-probabilities in training": (
        "common.models.verbalizer.head_is_plain",
        lambda _: True,
    ),
    "splicing a reconstruction": (
        "common.target.splice.logits_of",
        lambda m, s: m.lm_head(s).float(),
    ),
}


@pytest.mark.parametrize("path", FAULTS)
def test_a_path_that_leaves_a_scale_out_is_named(
    path: str, av: AVConfig, monkeypatch: pytest.MonkeyPatch
):
    target = tiny_family("granite", logits_scaling=8.0, embedding_multiplier=12.0)
    monkeypatch.setattr(*FAULTS[path])
    with pytest.raises(NlaError, match=f"^{path} differs from the model's own forward by"):
        check_own_paths(target, LAYER, av)


def test_an_attention_that_leaves_a_soft_cap_out_is_named(
    av: AVConfig, monkeypatch: pytest.MonkeyPatch
):
    from common.rollout import cache

    target = tiny_family("gemma2", attn_logit_softcapping=0.5)
    check_own_paths(target, LAYER, av)
    read = cache._read
    monkeypatch.setattr(cache, "_read", lambda *a, softcap, **k: read(*a, softcap=None, **k))
    with pytest.raises(NlaError, match=r"^decoding with an injected vector differs"):
        check_own_paths(target, LAYER, av)


def test_a_decoder_that_reads_on_after_the_blocks_is_named(
    av: AVConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("common.models.reconstructor.nn.Identity", lambda: torch.nn.Tanh())
    with pytest.raises(NlaError, match=r"^reading by the AR's blocks differs"):
        check_own_paths(tiny_family("llama"), LAYER, av)


def test_texts_beyond_a_sliding_window_are_refused(av: AVConfig):
    narrow = tiny_family("mistral", sliding_window=16)
    with pytest.raises(NlaError, match=r"the model sees 16.*max_explanation_tokens"):
        check_own_paths(narrow, LAYER, av)


def test_what_is_no_number_is_refused(target: Target, av: AVConfig, monkeypatch: Any):
    monkeypatch.setitem(own_paths.PATHS, "reading activations", lambda _: float("nan"))
    with pytest.raises(NlaError, match="differs from the model's own forward by nan"):
        check_own_paths(target, LAYER, av)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
def test_every_family_is_read_as_it_is_or_refused_in_one_line(family: str, av: AVConfig):
    with contextlib.suppress(NlaError):  # which is one line by itself
        check_own_paths(_small(family), LAYER, av)


def _small(family: str) -> Target:
    """A model of a family; skips what cannot be built small, or reads no plain text."""
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_target()[1]
    for settings in ({}, LATENT):
        try:
            with torch.device("meta"):
                config = CONFIG_MAPPING[family](**tiny_settings(tokenizer) | settings)
                size = AutoModelForCausalLM.from_config(config).num_parameters()
            if size > TOO_LARGE:
                pytest.skip(f"{size / 1e6:.0f} million parameters")
            target = tiny_family(family, **settings)
            target.model(input_ids=torch.tensor([[7, 8, 9]]))
        except Exception as error:  # noqa: BLE001 - whatever a family says to such settings
            told = error
        else:
            return target
    pytest.skip(f"not built so small ({type(told).__name__})")
