"""How others read the residual stream: plain transformers, nnsight, TransformerLens.

A process of its own, because it may belong to another environment (so nothing of this project is
imported): it reads a request, runs once unmeasured and saves what it read, then runs once for
every line on stdin and answers with the seconds. All load the model by their own defaults, take
padded batches in document order and, where the library can, stop after the last block needed.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Batch = tuple[torch.Tensor, torch.Tensor]
"""Token ids and attention mask [documents, time]."""
Reader = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(ids, mask) → residual stream after the block [documents, time, d_model]."""


def transformers_reader(folder: str, layer: int) -> Reader:
    """`AutoModel(..., output_hidden_states=True)`."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return lambda ids, mask: model(
        input_ids=ids, attention_mask=mask, output_hidden_states=True
    ).hidden_states[layer + 1]


def transformers_lm_reader(folder: str, layer: int) -> Reader:
    """The causal LM with hidden states and the five most probable next tokens."""
    model = _causal_lm(folder)

    def read(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        output = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        output.logits.topk(5)
        return output.hidden_states[layer + 1]

    return read


def nnsight_reader(folder: str, layer: int) -> Reader:
    """A trace that saves the block's output and stops there."""
    from nnsight import NNsight  # pyright: ignore[reportMissingImports]

    model = NNsight(_causal_lm(folder))

    def read(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with model.trace(input_ids=ids, attention_mask=mask) as tracer:
            hidden = model.model.layers[layer].output.save()
            tracer.stop()
        return hidden

    return read


def transformer_lens_reader(folder: str, layer: int) -> Reader:
    """`run_with_cache` of one hook, stopping after the block."""
    from transformer_lens.model_bridge import (  # pyright: ignore[reportMissingImports]
        TransformerBridge,
    )
    from transformers import AutoTokenizer

    name = f"blocks.{layer}.hook_resid_post"
    bridge = TransformerBridge.boot_transformers(
        folder,
        hf_model=_causal_lm(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device="cpu",
        dtype=torch.float32,
    )

    def read(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        settings: dict[str, Any] = {"names_filter": name, "stop_at_layer": layer + 1}
        _, cache = bridge.run_with_cache(ids, attention_mask=mask, return_type=None, **settings)
        return cache[name]

    return read


READERS = {
    "transformers": transformers_reader,
    "transformers with next tokens": transformers_lm_reader,
    "nnsight": nnsight_reader,
    "TransformerLens": transformer_lens_reader,
}


def batches(rows: list[list[int]], size: int) -> list[Batch]:
    """Right-padded batches in the order of the rows."""
    found = []
    for start in range(0, len(rows), size):
        texts = [torch.tensor(row) for row in rows[start : start + size]]
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        lengths = torch.tensor([len(text) for text in texts])
        found.append((ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()))
    return found


@torch.no_grad()
def read_all(
    reader: Reader, rows: list[list[int]], positions: list[list[int]], size: int
) -> torch.Tensor:
    """Activations [positions, d_model] at each row's positions, in order."""
    found = []
    for number, (ids, mask) in enumerate(batches(rows, size)):
        hidden = reader(ids, mask)
        for row, wanted in enumerate(positions[number * size : number * size + len(ids)]):
            found.append(hidden[row, wanted])
    return torch.cat(found).float()


def serve(request: dict) -> None:
    """Answer `ready` when the first reading is saved, then one time per line of stdin."""
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(request["threads"])
    reader = READERS[request["reader"]](request["target"], request["layer"])
    work = (reader, request["rows"], request["positions"], request["batch_size"])
    torch.save(read_all(*work), request["out"])
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        read_all(*work)
        print(time.perf_counter() - started, file=answers, flush=True)


def _causal_lm(folder: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    serve(json.loads(Path(sys.argv[1]).read_text()))
