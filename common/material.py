"""All that an arm trains on and is tested on, read from the trunk once per process."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import polars as pl
from torch import Tensor

from common.data.activations import load_activations, vectors_of
from common.data.batches import Example, examples_of
from common.data.corpus import load_corpus
from common.data.store import ActivationStore
from common.device import best_device
from common.evaluation import floors
from common.evaluation.conditions import (
    FULL_PARAPHRASE,
    ORIGINAL,
    SOURCE_TEXT,
    Conditions,
    conditions,
    source_texts,
)
from common.evaluation.paraphrase import api_paraphrases
from common.evaluation.roundtrip import Judge
from common.manifest import digest_of, read_artefact, read_manifest
from common.metrics.fve import training_mean, variance
from common.models.checkpoint import scheme_of
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer
from common.paths import Trunk
from common.profile import Profile
from common.runs import RunFolder
from common.schema import (
    AR_SFT,
    AV,
    DEV,
    DOC_ID,
    EXPLANATION,
    KEY,
    RL,
    SPLIT,
    TEACHER,
    TEST,
    TEXT,
    TOKEN_IDS,
    TOPIC,
    TRAINING_SPLITS,
)
from common.target.load import Target, load_target, load_tokenizer
from common.target.residual import check_layers


class Material:
    """Lazy views of the trunk's artefacts for one profile; manifests are asserted on first use."""

    def __init__(self, profile: Profile) -> None:
        """Reads nothing yet."""
        self.profile, self.trunk = profile, Trunk(profile.name)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: read there."""
        return Material, (self.profile,)

    @cached_property
    def target(self) -> Target:
        """The frozen target."""
        return load_target(self.trunk.target)

    @cached_property
    def tokenizer(self) -> Any:
        """The target's, without loading the target."""
        return load_tokenizer(self.trunk.target)

    @property
    def av_run(self) -> RunFolder:
        """The warm-started AV's run."""
        return RunFolder(self.trunk.av_run)

    @property
    def ar_run(self) -> RunFolder:
        """The warm-started AR's run."""
        return RunFolder(self.trunk.ar_run)

    def reading_metadata(self, model: Reconstructor) -> dict[str, str]:
        """What an AR's checkpoint must agree on to be loaded."""
        return {
            "template": model.template.digest(),
            "tokenizer": self.manifest["tokenizer"],
            "layer": str(self.layer),
        }

    def speaking_metadata(self, model: Verbalizer) -> dict[str, str]:
        """What an AV's checkpoint must agree on to be loaded."""
        return {
            **scheme_of(model.decomposition),
            "template": model.template.digest(),
            "tokenizer": self.manifest["tokenizer"],
            "layer": str(self.layer),
            "alpha": f"{model.alpha:.4f}",
        }

    @cached_property
    def manifest(self) -> dict:
        """That of the activations; NlaError when they are of another target, corpus or layer."""
        target = read_manifest(self.trunk.target, "target")
        layers = check_layers(self.profile.activations.layers, target["blocks"])
        expected = {
            "tokenizer": target["tokenizer"],
            "target": target["source"],
            "weights": target["content"],
            "d_model": target["d_model"],
            "layers": layers,
            "corpus": read_manifest(self.trunk.corpus, "corpus")["digest"],
        }
        return read_manifest(self.trunk.activations, "activations", kind="activations", **expected)

    @property
    def layer(self) -> int:
        """The main layer K."""
        return self.manifest["layers"][0]

    @cached_property
    def store(self) -> ActivationStore:
        """Activations by key."""
        return ActivationStore(self.trunk.activations, self.layer)

    @cached_property
    def training_activations(self) -> Tensor:
        """Raw activations of all training documents [rows, d_model]."""
        return vectors_of(load_activations(self.trunk.activations, TRAINING_SPLITS), self.layer)

    @cached_property
    def mean(self) -> Tensor:
        """μ of method: mean of n(h) over the training documents, not re-normalised."""
        return training_mean(self.training_activations)

    @cached_property
    def mean_norm(self) -> float:
        """Mean length of the training activations."""
        return float(self.training_activations.norm(dim=1).mean())

    def explanations(self, source: str) -> pl.DataFrame:
        """Explanations by the teacher or the AV: key, doc_id, split, position, explanation."""
        path, stage, settings = (
            (self.trunk.explanations, "explanations", {"config": self.profile.teacher.digest()})
            if source == TEACHER
            else (self.trunk.av_text, "av_text", {"rollout": self.profile.rollout.digest()})
        )
        tokenizer, digest = self.manifest["tokenizer"], self.manifest["digest"]
        if "av" in read_manifest(path, stage) and self.av_run.summary_file.exists():
            settings["av"] = self.av_run.summary["digest"]
        return read_artefact(path, stage, tokenizer=tokenizer, activations=digest, **settings)

    def ar_examples(self, limit: int | None = None) -> list[Example]:
        """Teacher texts of ar_sft and AV texts of rl documents, the same for every arm.

        `limit` keeps the mixture and draws so many examples in all.
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
        table = load_activations(self.trunk.activations, columns=[KEY, DOC_ID])
        known = dict(table.iter_rows())
        return [known[key] for key in keys]

    def variance_of(self, keys: list[str]) -> float:
        """Mean ||n(h) - μ||² over the activations of these keys."""
        return variance(self.store[keys], self.mean)

    @cached_property
    def test_table(self) -> pl.DataFrame:
        """Test activations with topic, source text and every writer's explanation, by key."""
        columns = [KEY, DOC_ID, TEXT, TOKEN_IDS]
        table = load_activations(self.trunk.activations, [TEST], columns)
        table = table.join(
            load_corpus(self.trunk.corpus).select(DOC_ID, TOPIC), on=DOC_ID, how="left"
        )
        for source in (TEACHER, AV):
            texts = self.explanations(source).select(KEY, pl.col(EXPLANATION).alias(source))
            table = table.join(texts, on=KEY, how="inner")
        return table.sort(KEY)

    @cached_property
    def judge(self) -> Judge:
        """Measures reconstructions of the test activations."""
        activations = self.store[self.test_table[KEY].to_list()]
        distractors = self.profile.evaluation.distractors
        return Judge(self.test_table, activations, self.mean, self.mean_norm, distractors)

    def test_conditions(self, source: str) -> Conditions:
        """All conditions of a writer's test explanations; the source text beside the teacher's."""
        found = self.conditions_of(self.test_table[source].to_list())
        if source == TEACHER:
            found[SOURCE_TEXT] = [*self.source_texts]
        return found

    @property
    def source_texts(self) -> list[str]:
        """The end of each test activation's source text, as long as an AR reads."""
        limit = self.profile.ar.max_explanation_tokens
        return source_texts(self.test_table, self.tokenizer, limit)

    def conditions_of(self, texts: list[str]) -> Conditions:
        """All conditions of some texts, one for each test activation."""
        named = self.test_table.select(KEY, DOC_ID, TEXT, pl.Series(EXPLANATION, texts))
        found = conditions(named, self.profile.evaluation, self.tokenizer)
        if self.profile.evaluation.paraphrase == "api":
            cache = self.trunk.root / "paraphrase_cache"
            found[FULL_PARAPHRASE] = api_paraphrases(texts, self.profile.teacher, cache)
        return found

    def test_variance(self) -> tuple[float, float]:
        """The fixed denominators on the test split: of FVE, and of raw-scale FVE."""
        activations = self.judge.activations
        raw = (activations - self.training_activations.mean(0)).square().sum(1).mean()
        return variance(activations, self.mean), float(raw)

    def fit_floors(self, examples: list[Example]) -> floors.Floors:
        """Readers that are no language models, fitted to some explanations."""
        keys, texts = zip(*examples, strict=True)
        vectors, documents = self.store[list(keys)], self.documents_of(keys)
        chosen = self.profile.evaluation
        embed = floors.Embedder.load(chosen.embedder, chosen.embedder_sha256, self.target)
        return floors.fit_all(
            {
                "mean_direction": lambda: floors.mean_direction(self.mean),
                "tfidf_ridge": lambda: floors.tfidf_ridge(texts, vectors, documents),
                "embedding_ridge": lambda: floors.embedding_ridge(texts, vectors, documents, embed),
            }
        )

    def ceiling(self, sources: Sequence[str]) -> pl.DataFrame:
        """Rows of the target's own first blocks on the source text, beside each writer's."""
        target, table = self.target, self.test_table
        target.model.to(best_device())
        own = floors.own_blocks(target, self.layer, table[TOKEN_IDS].to_list())
        asked = {ORIGINAL: table[KEY].to_list()}
        rows = self.judge.rows(lambda _: own, asked, "").with_columns(arm=pl.lit("own_blocks"))
        return pl.concat(rows.with_columns(source=pl.lit(source)) for source in sources)

    def floors_of(self) -> dict[str, Any]:
        """What the floors depend on: the data, the texts they are fitted to and the embedder."""
        chosen = self.profile.evaluation
        return self.digests() | {
            "examples": digest_of([tuple(example) for example in self.ar_examples()]),
            "embedder": [chosen.embedder, chosen.embedder_sha256],
        }

    def digests(self, *names: str) -> dict[str, Any]:
        """Manifest digests of the named artefacts (default: all that an arm depends on)."""
        artefacts = {
            "target": self.trunk.target,
            "corpus": self.trunk.corpus,
            "activations": self.trunk.activations,
            "explanations": self.trunk.explanations,
            "av_text": self.trunk.av_text,
        }
        return {name: read_manifest(artefacts[name], name)["digest"] for name in names or artefacts}
