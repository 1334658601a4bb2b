"""AV: a copy of the target that reads an injected activation and writes an explanation."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from common.config import AVConfig
from common.models.frozen_head import log_probs_of, own_log_probs_of
from common.models.injection import add_norm_matched, replace
from common.models.templates import AVTemplate
from common.models.tree import read_tree
from common.schema import TokenBatch, VerbalizationBatch
from common.target.parts import embedding_scale, head_is_plain
from common.target.text import encode
from decomposition.protocol import Decomposition
from decomposition.repeat import Repeat
from decomposition.single import Single

ADDITION_BLOCK = 1
FRESH = "fresh"
"""Name of the adapters that `adapt_anew` makes; the warm start's have peft's default name."""


class Verbalizer(nn.Module):
    """The target's causal LM (with LoRA or whole), the decomposition and the injection."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        config: AVConfig,
        alpha: float,
        decomposition: Decomposition | None = None,
    ) -> None:
        """Wraps a causal LM; a vector of length 1 enters block 0 with norm `alpha`.

        The decomposition sets the number of slots; without one there are `config.slots`, which all
        hold the same vector.
        """
        super().__init__()
        if decomposition is None:
            decomposition = Single() if config.slots == 1 else Repeat(config.slots)
        self.tokenizer, self.config, self.alpha = tokenizer, config, alpha
        self.template = AVTemplate.of(tokenizer, decomposition.slots)
        self.plain_head, self.embedding_scale = head_is_plain(model), embedding_scale(model)
        self.model = _adapted(copy.deepcopy(model), config)
        self.decomposition = decomposition
        # In a tuple it is not part of the module: not trained, not rounded, not in a checkpoint.
        self._decomposition_before: tuple[Decomposition, ...] = ()

    @property
    def language_model(self) -> Any:
        """The causal LM inside peft's wrapper, if there is one."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def adapt_anew(self, rank: int, trainable: bool = True) -> None:
        """Freeze the AV, its adapters included, and add new adapters that change nothing yet.

        Its earlier adapters stay separate: folded into bfloat16 weights, they would be rounded to
        the spacing of those. A decomposition that learns continues to learn, and a frozen copy is
        kept. See `as_before` for the AV without the new adapters, and with that copy.
        """
        if learned := [p for p in self.decomposition.parameters() if p.requires_grad]:
            before = copy.deepcopy(self.decomposition).requires_grad_(False).eval()
            self._decomposition_before = (before,)
        for parameter in learned:
            parameter.requires_grad_(trainable)
        self.model.requires_grad_(False)
        if hasattr(self.model, "peft_config"):
            self.model.add_adapter(FRESH, _lora(rank))
            self.model.base_model.set_adapter([*self.model.active_adapters, FRESH])
        else:
            self.model = _with_adapters(self.model, rank, FRESH)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(trainable and f".{FRESH}." in name)

    @contextmanager
    def as_before(self) -> Iterator[None]:
        """Within this context it is the AV before `adapt_anew`: a reference without a second copy.

        Nothing is trained within it.
        """
        names = [name for name in self.model.active_adapters if name != FRESH]
        now = self.decomposition
        try:
            for before in self._decomposition_before:
                self.decomposition = before.to(next(self.parameters()).device)
            with self.adapted_by(names):
                yield
        finally:
            self.decomposition = now

    @contextmanager
    def adapted_by(self, names: list[str]) -> Iterator[None]:
        """Within this context only these adapters act; what learns is as before afterwards."""
        learning = [p.requires_grad for p in self.model.parameters()]
        active = list(self.model.active_adapters)
        try:
            self.model.base_model.set_adapter(names)
            yield
        finally:
            self.model.base_model.set_adapter(active)
            for parameter, learns in zip(self.model.parameters(), learning, strict=True):
                parameter.requires_grad_(learns)

    def encode(self, texts: list[str], inputs: Float[Tensor, "batch width"]) -> VerbalizationBatch:
        """Prompt + explanation + end token, right-padded; the loss counts after the prompt."""
        prompt, limit = list(self.template.prompt_ids), self.config.max_explanation_tokens
        written = encode(self.tokenizer, texts)
        rows = [torch.tensor(prompt + ids[:limit] + [self.template.end_id]) for ids in written]
        lengths = torch.tensor([len(row) for row in rows])
        ids = pad_sequence(rows, batch_first=True, padding_value=self.template.end_id)
        columns = torch.arange(ids.shape[1])
        mask = columns < lengths[:, None]
        return VerbalizationBatch(TokenBatch(ids, mask), inputs, mask & (columns >= len(prompt)))

    def forward(self, batch: VerbalizationBatch) -> Float[Tensor, " batch"]:
        """Mean cross-entropy (nats per token) of each explanation given its activation."""
        return -self.token_log_probs(batch).sum(1) / batch.is_explanation.sum(1)

    def token_log_probs(self, batch: VerbalizationBatch) -> Float[Tensor, "batch written"]:
        """Log-probability of each explanation token, after the prompt; 0 on padding."""
        ids, first = batch.tokens.ids, len(self.template.prompt_ids)
        counted = batch.is_explanation[:, first:]
        return self.sampled_log_probs(ids[:, first:], counted, batch.inputs, samples=1)

    def sampled_log_probs(
        self,
        ids: Int[Tensor, "rows time"],
        mask: Bool[Tensor, "rows time"],
        inputs: Float[Tensor, "batch width"],
        samples: int,
        temperature: float = 1.0,
    ) -> Float[Tensor, "rows time"]:
        """Log-probability of each written token; 0 where `mask` is False.

        Each `samples` consecutive rows belong to one activation: like the rollout, this reads the
        prompt before the slot once, and slot and suffix once for each activation.
        """
        shared = self.template.slot_columns[0]
        prompt = torch.tensor(self.template.prompt_ids, device=ids.device)
        embeddings = self.embed(prompt.expand(len(inputs), -1), inputs)
        written = self.language_model.get_input_embeddings()(ids[:, :-1]).float()
        levels = embeddings[:1, :shared], embeddings[:, shared:], written
        with self.injected(inputs, first_column=shared):
            _, asked, states = read_tree(self.language_model.get_decoder(), levels, mask[:, 1:])
        first = asked[:, -1:].repeat_interleave(samples, 0)
        return self._picked(torch.cat([first, states], 1), ids, mask, temperature)

    def _picked(
        self,
        hidden: Float[Tensor, "rows time d_model"],
        ids: Int[Tensor, "rows time"],
        mask: Bool[Tensor, "rows time"],
        temperature: float = 1.0,
    ) -> Float[Tensor, "rows time"]:
        """Log-probability of the token that follows each state."""
        model, chosen = self.language_model, (hidden[mask], ids[mask], temperature)
        if self.plain_head:
            picked = log_probs_of(model.get_output_embeddings(), *chosen)
        else:
            picked = own_log_probs_of(model, *chosen)
        return torch.zeros(mask.shape, device=picked.device).masked_scatter(mask, picked)

    def embed(self, ids: Tensor, inputs: Tensor) -> Float[Tensor, "batch time d_model"]:
        """Token embeddings; with `replace` injection the slots already hold their vectors."""
        embeddings = self.language_model.get_input_embeddings()(ids).float()
        if self.config.injection == "add":
            return embeddings
        norm = self.alpha / self.embedding_scale
        return replace(embeddings, self.template.slot_columns, self.decomposed(inputs), norm)

    def decomposed(
        self, inputs: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch slots d_model"]:
        """The vectors of the slots, in units of alpha.

        Never in low precision: sampling and training must make the same discrete choices.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            return self.decomposition(inputs)

    @contextmanager
    def injected(self, inputs: Tensor, first_column: int = 0) -> Iterator[None]:
        """Within this context `add` injection acts after block 1, on inputs from `first_column` on.

        In a tree it acts on the second level, which has a row for each activation.
        """
        if self.config.injection != "add":
            yield
            return
        vectors = self.decomposed(inputs)
        columns = [column - first_column for column in self.template.slot_columns]

        def hook(_module: Any, _inputs: Any, options: Any, output: Tensor) -> Tensor:
            if "tree" not in options:
                return add_norm_matched(output, columns, vectors)
            levels = options["tree"].split(output[0])
            levels[1] = add_norm_matched(levels[1], columns, vectors)
            return options["tree"].join(levels)[None]

        block = self.language_model.get_decoder().layers[ADDITION_BLOCK]
        handle = block.register_forward_hook(hook, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def _adapted(model: Any, config: AVConfig) -> Any:
    """The model with new LoRA adapters on all linear layers, or with all blocks trainable."""
    if config.lora_rank == 0:
        model.requires_grad_(True)
        model.get_input_embeddings().requires_grad_(False)
        model.get_output_embeddings().requires_grad_(False)
        return model
    return _with_adapters(model, config.lora_rank)


def _with_adapters(model: Any, rank: int, name: str = "default") -> Any:
    from peft import get_peft_model

    return get_peft_model(model, _lora(rank), adapter_name=name)


def _lora(rank: int) -> Any:
    from peft import LoraConfig

    from common.models.low_rank import LowRankLinear

    config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear")
    config._register_custom_module({nn.Linear: LowRankLinear})
    return config


def freeze_in_bfloat16(verbalizer: Verbalizer) -> None:
    """Hold frozen linear weights in bf16, so that autocast need not cast them at every step.

    Only weights of the language model: autocast does not act inside a decomposition.
    """
    for module in verbalizer.model.modules():
        if isinstance(module, nn.Linear) and not module.weight.requires_grad:
            module.weight.data = module.weight.data.bfloat16()
