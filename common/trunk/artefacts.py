"""A trunk's artefacts, read lazily and checked against their manifests."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import polars as pl
from torch import Tensor

from common.data.activations import load_activations, vectors_of
from common.data.batches import Example, examples_of
from common.data.store import ActivationStore
from common.manifest import read_artefact, read_manifest
from common.metrics.fve import training_mean, variance
from common.models.checkpoint import scheme_of
from common.runs import RunFolder
from common.schema import (
    AR_SFT,
    AV,
    DEV,
    DOC_ID,
    KEY,
    RL,
    SPLIT,
    TEACHER,
    TOKEN_IDS,
    TRAINING_SPLITS,
)
from common.target.load import Target, load_target, load_tokenizer
from common.target.residual import check_layers
from common.trunk.choice import TrunkChoice

ARTEFACTS = ("target", "corpus", "activations", "last_tokens", "explanations", "av_text")
"""The artefacts that have a digest, in the order in which they are made."""


class Trunk:
    """Lazy views of a trunk's artefacts for one pair; manifests are asserted on first use."""

    def __init__(self, choice: TrunkChoice, pair: int = 0) -> None:
        """Reads nothing yet."""
        self.choice, self.pair = choice, pair
        self.profile, self.places = choice

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name: another process reads the artefacts itself."""
        return Trunk, (self.choice, self.pair)

    @cached_property
    def target(self) -> Target:
        """The frozen target."""
        return load_target(self.places.target)

    @cached_property
    def tokenizer(self) -> Any:
        """The target's tokenizer, without loading the target."""
        return load_tokenizer(self.places.target)

    @property
    def av_run(self) -> RunFolder:
        """The run of the pair's warm-started AV."""
        places = self.places
        return RunFolder(places.av_run(self.pair), f"dvc repro {places.made_by('av')}")

    @property
    def ar_run(self) -> RunFolder:
        """The run of the pair's warm-started AR."""
        places = self.places
        return RunFolder(places.ar_run(self.pair), f"dvc repro {places.made_by('ar')}")

    def reading_metadata(self, model: Any) -> dict[str, str]:
        """Metadata on which an AR's checkpoint must agree to be loaded."""
        return {
            "template": model.template.digest(),
            "tokenizer": self.manifest["tokenizer"],
            "layer": str(self.layer),
        }

    def speaking_metadata(self, model: Any) -> dict[str, str]:
        """Metadata on which an AV's checkpoint must agree to be loaded."""
        return {
            "template": model.template.digest(),
            "tokenizer": self.manifest["tokenizer"],
            "layer": str(self.layer),
            "alpha": f"{model.alpha:.4f}",
            **scheme_of(model.decomposition),
        }

    @cached_property
    def manifest(self) -> dict:
        """The activations' manifest; NlaError if they are of another target, corpus or layer."""
        places = self.places
        target = read_manifest(places.target, places.made_by("target"))
        layers = check_layers(self.profile.activations.layers, target["blocks"])
        expected = {
            "tokenizer": target["tokenizer"],
            "target": target["source"],
            "weights": target["content"],
            "d_model": target["d_model"],
            "layers": layers,
            "window": window if (window := self.profile.activations.window) > 1 else None,
            "corpus": read_manifest(places.corpus, places.made_by("corpus"))["digest"],
        }
        kind = {"kind": "activations"}
        made_by = places.made_by("activations")
        return read_manifest(places.activations, made_by, **kind, **expected)

    @property
    def layer(self) -> int:
        """The main layer K."""
        return self.manifest["layers"][0]

    @cached_property
    def store(self) -> ActivationStore:
        """Activations by key: what is explained, and what an AR should give back."""
        return ActivationStore(self.places.activations, self.layer)

    @cached_property
    def inputs(self) -> ActivationStore:
        """What an AV reads, by key: without a window the activations, else the window's too."""
        if (window := self.profile.activations.window) == 1:
            return self.store
        return ActivationStore(self.places.activations, self.layer, window)

    def activations(self, splits: Sequence[str] = (), columns: Sequence[str] = ()) -> pl.DataFrame:
        """Rows and columns of the activations' table; all if none are named."""
        return load_activations(self.places.activations, splits, columns)

    @cached_property
    def sources(self) -> dict[str, tuple[int, ...]]:
        """Token ids of each activation's input, up to its position."""
        rows = self.activations(columns=[KEY, TOKEN_IDS]).iter_rows()
        return {key: tuple(ids) for key, ids in rows}

    @cached_property
    def training_activations(self) -> Tensor:
        """Raw activations of all training documents [rows, d_model]."""
        return vectors_of(self.activations(TRAINING_SPLITS), self.layer)

    @cached_property
    def mean(self) -> Tensor:
        """μ, the mean of n(h) over the training documents, not re-normalised."""
        return training_mean(self.training_activations)

    @cached_property
    def mean_norm(self) -> float:
        """Mean length of the training activations."""
        return float(self.training_activations.norm(dim=1).mean())

    @property
    def last_tokens_made_from(self) -> dict[str, Any]:
        """What the table of stage `last_tokens` depends on, besides code."""
        read = self.manifest
        return {"tokenizer": read["tokenizer"], "activations": read["digest"], "layer": self.layer}

    @cached_property
    def last_tokens(self) -> pl.DataFrame:
        """Answers of readers of the last tokens, for dev and test: key, split, one vector each."""
        place, made_by = self.places.last_tokens, self.places.made_by("last_tokens")
        return read_artefact(place, made_by, [KEY, SPLIT], **self.last_tokens_made_from)

    def explanations(self, source: str) -> pl.DataFrame:
        """Explanations by the teacher or the AV: key, doc_id, split, position, explanation."""
        if source == TEACHER:
            place, stage = self.places.explanations, "explanations"
            settings = {"config": self.profile.teacher.digest()}
        else:
            place, stage = self.places.av_text(self.pair), "av_text"
            settings = {"rollout": self.profile.rollout.digest()}
            if (
                "av" in read_manifest(place, self.places.made_by(stage))
                and self.av_run.summary_file.exists()
            ):
                settings["av"] = self.av_run.summary["digest"]
        made_from = {
            "tokenizer": self.manifest["tokenizer"],
            "activations": self.manifest["digest"],
        }
        return read_artefact(place, self.places.made_by(stage), **made_from, **settings)

    def ar_examples(self, limit: int | None = None) -> list[Example]:
        """Teacher texts of ar_sft and AV texts of rl documents, the same for every arm.

        `limit` keeps the shares of both and draws this many examples in all.
        """
        config = self.profile.ar
        share = 1.0 if limit is None else min(1.0, limit / (config.examples + config.av_examples))
        teacher = self.explanations(TEACHER).filter(pl.col(SPLIT) == AR_SFT)
        examples = examples_of(teacher, round(config.examples * share))
        if config.av_examples:
            spoken = self.explanations(AV).filter(pl.col(SPLIT) == RL)
            examples += examples_of(spoken, round(config.av_examples * share))
        return examples

    def dev_examples(self, source: str, limit: int) -> list[Example]:
        """A keyed sample of the dev explanations."""
        return examples_of(self.explanations(source).filter(pl.col(SPLIT) == DEV), limit)

    def documents_of(self, keys: Sequence[str]) -> list[str]:
        """The document of each activation."""
        known = dict(self.activations(columns=[KEY, DOC_ID]).iter_rows())
        return [known[key] for key in keys]

    def variance_of(self, keys: list[str]) -> float:
        """Mean ||n(h) - μ||² over the activations of these keys."""
        return variance(self.store[keys], self.mean)

    def digests(self, names: Sequence[str] = ARTEFACTS) -> dict[str, str]:
        """Manifest digests of the named artefacts."""
        places = {name: getattr(self.places, name) for name in ARTEFACTS if name != "av_text"}
        places["av_text"] = self.places.av_text(self.pair)
        made_by = self.places.made_by
        return {name: read_manifest(places[name], made_by(name))["digest"] for name in names}
