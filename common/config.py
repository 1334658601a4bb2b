"""Typed, frozen settings of every part; a profile (common/profile.py) holds one of each."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from common.config_base import Config
from common.manifest import digest_of

SPLIT_NAMES = ("av_sft", "ar_sft", "rl", "dev", "test")
"""`SPLITS` of common/schema.py, which is not read here because it imports torch."""


def _known_split(name: str) -> str:
    if name not in SPLIT_NAMES:
        raise ValueError(f"unknown split, choose from {', '.join(SPLIT_NAMES)}")
    return name


Split = Annotated[str, AfterValidator(_known_split)]


class TargetConfig(Config):
    """The frozen language model whose activations are read."""

    model: str
    """`tiny`, a folder, a hub name, or `package:<name>==<version>/<path of a GGUF file>`.

    A file in parts: all of these, with ` + ` between.
    """
    sha256: str | None = None
    """Digest of the file in the package, asserted whenever it is read; for packages only."""


class CorpusConfig(Config):
    """The documents."""

    source: str
    """`tiny`, a folder, a file (of a kind in common/data/documents.py), or one in a package:
    `package:<name>==<version>/<path>`."""
    sha256: str | None = None
    min_characters: int = Field(default=200, ge=0)
    fractions: dict[Split, float] = Field(
        default={"av_sft": 0.22, "ar_sft": 0.22, "rl": 0.46, "dev": 0.04, "test": 0.06}
    )
    """Share of the documents in each split (sums to 1)."""


class ActivationsConfig(Config):
    """Which residual-stream vectors are read."""

    layers: tuple[int, ...] = ()
    """Blocks after which the residual stream is read, the main one first. Empty: 2/3 depth."""
    documents: dict[Split, int] = Field(default_factory=dict)
    """Maximum number of documents per split; a split that is not named is used whole."""
    positions_per_document: int = Field(default=2, ge=1)
    min_position: int = Field(default=16, ge=1)
    """Earlier positions are attention sinks or hold little text."""
    window: int = Field(default=1, ge=1)
    """Number of positions, up to the one that is explained, whose activations the AV reads."""
    max_tokens: int = Field(default=160, ge=17)
    next_tokens: int = Field(default=5, ge=0)
    """How many of the target's predicted tokens are kept; 0 runs only the blocks needed."""
    batch_tokens: int = Field(default=8192, ge=1)
    shard_rows: int = Field(default=2000, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """`auto`: bfloat16 where the machine is faster with it."""

    @model_validator(mode="after")
    def _window_is_read(self) -> "ActivationsConfig":
        if self.window > self.min_position:
            what = f"window = {self.window} would reach position 0, an attention sink, or beyond:"
            raise ValueError(f"{what} let it be at most min_position = {self.min_position}")
        return self

    def decisive(self) -> dict[str, Any]:
        """A window of one position decides nothing: then the table has no further column."""
        values = super().decisive()
        return values if self.window > 1 else {k: v for k, v in values.items() if k != "window"}


class TeacherConfig(Config):
    """Who writes the warm-start explanations."""

    operational = frozenset({"concurrency", "max_retries"})

    kind: Literal["offline", "api"] = "offline"
    format: str = ""
    """What writes for the offline teacher, `<module>:<function>`, given a row and the tokenizer, or
    a class that makes such a function; empty: statements (common/data/offline_teacher.py)."""
    model: str = ""
    """litellm model name, such as `anthropic/...` or `openai/<name>` with `base_url`."""
    base_url: str | None = None
    concurrency: int = Field(default=8, ge=1)
    max_retries: int = Field(default=5, ge=0)
    temperature: float = Field(default=0.7, ge=0)
    max_tokens: int = Field(default=160, ge=1)

    @model_validator(mode="after")
    def _format_is_offline(self) -> "TeacherConfig":
        if self.format and (self.kind == "api" or not re.fullmatch(r"[\w.]+:\w+", self.format)):
            raise ValueError("format is `<module>:<function>`, and for the offline teacher alone")
        return self

    @property
    def name(self) -> str:
        """Who writes; with the offline teacher `model` may be set too, for paraphrases alone."""
        return self.model if self.kind == "api" else self.kind

    def digest(self) -> str:
        """12 hex digits of the settings that decide the texts."""
        if self.kind == "api":
            return super().digest()
        return digest_of([self.kind, self.format] if self.format else self.kind)


Schedule = Literal["constant", "cosine", "wsd"]


class TrainingConfig(Config):
    """What every training run has: an optimiser, a schedule, and validations on dev documents."""

    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0)
    validations: int = Field(default=4, ge=1)
    """How often the dev metric is computed during the run."""
    validation_examples: int = Field(default=128, ge=2)


class SupervisedConfig(TrainingConfig):
    """One supervised training run (AV or AR)."""

    examples: int = Field(ge=1)
    """Training examples seen in one epoch, drawn by key from the split."""
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=16, ge=1)


class AVConfig(SupervisedConfig):
    """Activation verbalizer: a copy of the target that reads injected vectors."""

    slots: int = Field(default=1, ge=1)
    injection: Literal["replace", "add"] = "replace"
    """`replace` the marker's embedding by alpha * h/|h|; `add` norm-matched after block 1."""
    alpha: float | None = Field(default=None, gt=0)
    """Norm of the injected vector; None: the 75th percentile of the training activations' norms."""
    lora_rank: int = Field(default=32, ge=0)
    """Rank of the adapters; 0: full fine-tuning."""
    max_explanation_tokens: int = Field(default=72, ge=1)


class ARConfig(SupervisedConfig):
    """Activation reconstructor training, the same for every arm.

    `epochs` are those of the published AR; a smaller AR may pass over its examples more often, up
    to the same number of floating-point operations. `validations` are those of one epoch.
    """

    av_examples: int = Field(ge=0)
    """AV explanations (of the rl split) added to the `examples` teacher explanations."""
    most_epochs: int = Field(default=1, ge=1)
    """The most passes over the examples, however small an AR is."""
    max_explanation_tokens: int = Field(default=96, ge=1)


class RLConfig(TrainingConfig):
    """Reinforcement learning of a warm-started AV against an AR that learns from the same samples.

    `learning_rate` is the AV's. One step samples `activations` x `samples` explanations.
    """

    algorithm: Literal["grpo", "best_of"] = "grpo"
    """`best_of`: supervised steps on only the best sample of each group (rejection sampling)."""
    trained: Literal["both", "av", "ar"] = "both"
    """Which model learns; the other one stays frozen."""
    steps: int = Field(ge=0)
    """Number of rollouts; 0 tests the warm start itself."""
    activations: int = Field(default=8, ge=1)
    samples: int = Field(default=8, ge=2)
    """G, the size of a group: explanations of one activation."""
    temperature: float = Field(default=1.0, gt=0)
    optimizer_steps: int = Field(default=1, ge=1)
    """Optimiser steps on the samples of one rollout; each takes its share of the groups."""
    micro_batches: int = Field(default=1, ge=1)
    """Parts of an optimiser step, one after another: the same gradient in less memory."""
    lora_rank: int = Field(default=16, ge=1)
    """Rank of the new adapters on the frozen warm start, which is the reference of the KL."""
    ar_learning_rate: float = Field(default=5e-5, gt=0)
    ar_warmup_fraction: float = Field(default=0.0, ge=0, lt=1)
    schedule: Schedule = "constant"
    """The AV's schedule after the warm-up; `wsd` stays constant and decays in the last third."""
    ar_schedule: Schedule | None = None
    """The AR's schedule; None: as `schedule`."""
    patience: int = Field(default=0, ge=0)
    """A run ends after so many validations in a row without a better `dev_fve`; 0: never early."""
    clip: float = Field(default=0.2, gt=0)
    """The importance ratio is clipped to [1 - clip, 1 + clip]."""
    kl: float = Field(default=0.01, ge=0)
    """Weight of the KL loss (nats per token) to the warm start."""
    scale_advantages: bool = True
    """Divide the advantages by the standard deviation of the group's rewards."""
    reward: Literal["mse", "log_mse"] = "mse"
    invalid_reward: float = -2.0
    """Reward of an invalid explanation: one that is empty, or that did not end where it must."""
    must_end: bool = True
    """Whether an explanation that was cut off at the maximum number of tokens is invalid."""
    credit_after: int = Field(default=0, ge=0)
    """Number of first tokens, which are credited with the whole reward; later tokens are credited
    with what they add to the reward of the first ones. 0: the whole reward for every token."""
    length_penalty: float = Field(default=0.0, ge=0)
    """Reward lost by an explanation of the greatest length; shorter ones lose in proportion."""
    truncation: int = Field(default=0, ge=0)
    """The AR reads the first 1 to `truncation` tokens, the same number in a whole group; 0: all."""
    splice: float = Field(default=0.0, ge=0)
    """Reward lost per nat of KL when the reconstruction takes the activation's place."""

    @model_validator(mode="after")
    def _divides(self) -> "RLConfig":
        parts = self.optimizer_steps * self.micro_batches
        if self.activations % parts:
            what = f"activations = {self.activations} must be a multiple of"
            raise ValueError(f"{what} optimizer_steps * micro_batches = {parts}")
        if self.credit_after and self.truncation:
            raise ValueError("credit_after is for whole explanations: set it or truncation to 0")
        if self.algorithm == "best_of" and (self.credit_after or self.kl):
            raise ValueError("credit_after and kl are for grpo: set them to 0 for best_of")
        return self


class RolloutConfig(Config):
    """Sampling of explanations."""

    operational = frozenset({"batch_size", "vllm_memory"})

    batch_size: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    """0: greedy."""
    engine: Literal["own", "vllm"] = "own"
    """`vllm` is worth it for large AVs on a GPU; it must be installed, and holds a second copy."""
    vllm_memory: float = Field(default=0.4, gt=0, lt=1)
    """Share of the GPU's memory that vLLM may take, its weights included."""


class TuningConfig(Config):
    """The tuning budget, the same for every arm."""

    trials: int = Field(ge=1)
    examples: int = Field(ge=1)
    """Training examples of one trial (a final run uses ARConfig.examples)."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the final runs of the best setting."""
    storage: str | None = None
    """Optuna storage URL; None: `optuna.db` in the repository root."""


class EvaluationConfig(Config):
    """What is measured on the test documents."""

    prefix_lengths: tuple[int, ...] = (4, 8, 16, 24, 32, 48)
    distractors: int = Field(default=7, ge=1)
    paraphrase: Literal["offline", "api"] = "offline"
    """`api`: full paraphrases by the teacher's language model besides the offline ones."""
    resamples: int = Field(default=2000, ge=100)
    batch_size: int = Field(default=64, ge=1)
    neutral_examples: int = Field(default=400, ge=1)
    """Explanations of training activations that each trained AV writes for a neutral AR."""
    best_of_activations: int = Field(default=100, ge=1)
    """Test activations that are explained several times, for the best of n."""
    positions_per_document: int | None = Field(default=None, ge=1)
    """Test activations that are read of each document; None: all that there are."""
    damaged_documents: int = Field(default=150, ge=1)
    """Test documents whose explanations are also read damaged, shortened or swapped."""
    neutral_readers: int = Field(default=3, ge=1)
    """How many neutral ARs, each with its own order of examples, read what all arms write."""
    embedder: str = "target"
    """Encoder of the ridge floor: `target` (its mean state), a folder, a hub name or a package."""
    embedder_sha256: str | None = None
    """`path_digest` of the folder in the package; for packages only."""


class TrainerConfig(Config):
    """Handed to Lightning's Trainer as it is."""

    accelerator: str = "auto"
    devices: int | str = 1
    num_nodes: int = 1
    strategy: str = "auto"
    """Lightning's strategy (several devices: `ddp`); `fsdp2`, a sharded model, is not for runs."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """`auto`: bf16-mixed where the machine is faster with it, else 32-true."""
