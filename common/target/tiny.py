"""The smoke target: a tiny seeded random Llama with a tokenizer trained on the tiny corpus."""

from typing import Any

import torch

from common.target.tiny_corpus import tiny_documents

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>")
PROMPTS = """Summary of the following text: <text></text> <summary>
<|im_start|>user
Explain this concept: <concept></concept><|im_end|>
<|im_start|>assistant"""
TEACHER = """Ends with "". The text stops at "". Last words: "". Next almost surely "".
Next probably "", else "". Next perhaps "" or "". Next is open: "", "". Perhaps "" or "" follows.
Probably "", or else "". Text on geography: Topic biology: On history: Text about The subject:
Mentions Words such as Speaks of In the first sentence, second sentence, third sentence, fourth
sentence, Syntax: Here after a content word, after a preposition, noun phrase next, after an
article, noun next, inside an unfinished word, after a comma, after a connective, new clause next,
after a past form, inside parentheses, a name"""


def tiny_target() -> tuple[Any, Any]:
    """Model (12 blocks, d_model 64) and tokenizer (1,400 tokens), the same on every machine."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=12,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config), tokenizer


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1400,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [document["text"] for document in tiny_documents()]
    backend.train_from_iterator([PROMPTS, TEACHER] * 20 + texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|endoftext|>", "<|im_start|>", "<repo_name>"],
    )
