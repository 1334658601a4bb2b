"""Tiny random models of many decoder families, and tokenizers that begin texts in their own way."""

import copy
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing

from common.target.load import Target, fuse_norms
from common.target.tiny import tiny_target

WIDTHS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "qk_head_dim": 16,
}
"""Attention through latent vectors, as DeepSeek's models have it."""
LARGE_WEIGHTS = 0.25
"""Standard deviation that makes logits and attention scores large: what is left out shows."""


def tiny_settings(tokenizer: Any) -> dict[str, Any]:
    """Of a config: small, whatever the family calls its parts, with weights that are not."""
    end = tokenizer.eos_token_id
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": end, "eos_token_id": end}
    return WIDTHS | EXPERTS | tokens | {"bos_token_id": 0, "initializer_range": LARGE_WEIGHTS}


def tiny_model(family: str, tokenizer: Any, **settings: Any) -> Any:
    """A frozen causal LM of a family (transformers' `model_type`), its weights always the same."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[family](**tiny_settings(tokenizer) | settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.eval().requires_grad_(False)
    fuse_norms(model)
    return model


def tiny_family(family: str, **settings: Any) -> Target:
    """A target of a family, with the smoke target's tokenizer."""
    tokenizer = tiny_target()[1]
    return Target(tiny_model(family, tokenizer, **settings), tokenizer, {})


def with_bos(tokenizer: Any, bos: str = "<|endoftext|>") -> Any:
    """A copy that begins every text with a token, as those of Llama and Gemma do."""
    begins = copy.deepcopy(tokenizer)
    begins.bos_token = bos
    begins.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, begins.convert_tokens_to_ids(bos))]
    )
    return begins
