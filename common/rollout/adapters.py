"""What adapters add to an AV's weights, for engines that merge them or apply them separately."""

import json
from pathlib import Path

from torch import nn

from common.models.adapters import Adapter, adapters_in, side_by_side
from common.models.verbalizer import Verbalizer

Adapters = dict[nn.Linear, list[Adapter]]
"""The adapters of each adapted layer."""


def adapters_of(verbalizer: Verbalizer) -> Adapters:
    """All active adapters, including those of the warm start."""
    return {
        layer.get_base_layer(): adapters_in(layer)
        for layer in verbalizer.model.modules()
        if hasattr(layer, "lora_A")
    }


def rank_of(adapters: Adapters) -> int:
    """The summed rank of a layer's adapters; 0 without any."""
    ranks = [sum(len(down) for _, down, _ in added) for added in adapters.values()]
    return max(ranks, default=0)


def save_adapters(verbalizer: Verbalizer, adapters: Adapters, folder: Path) -> None:
    """Write all as one adapter, in the format that peft and others read."""
    from safetensors.torch import save_file

    names = {module: name for name, module in verbalizer.language_model.named_modules()}
    tensors, targets = {}, set()
    for module, added in adapters.items():
        name = names[module].removesuffix(".base_layer")
        targets.add(name.rpartition(".")[2])
        up, down = side_by_side(added)
        for side, weight in (("A", down), ("B", up)):
            key = f"base_model.model.{name}.lora_{side}.weight"
            tensors[key] = weight.detach().cpu().contiguous()
    rank = rank_of(adapters)
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none"}
    settings |= {"r": rank, "lora_alpha": rank, "target_modules": sorted(targets)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file(tensors, folder / "adapter_model.safetensors")
