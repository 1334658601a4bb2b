"""An optional engine for large AVs: vLLM, given prompt embeddings and the AV's own weights.

vLLM runs in this process and holds a second copy of the model on the same device. Each rollout
first sends what may have changed: the adapters, or all weights of an AV without any.
"""

import gc
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.errors import NlaError
from common.models.verbalizer import Verbalizer
from common.rollout.adapters import adapters_of, rank_of, save_adapters
from common.rollout.engine import Engine, Rollouts, Write, room_of

REMEDY = "set rollout.engine to `own`"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters for which vLLM has kernels."""
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # weights are handed over, not sent to a process
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
}


class VllmEngine:
    """vLLM with a model of one architecture; `sync` gives it the weights of an AV."""

    def __init__(self, verbalizer: Verbalizer, rank: int, low_precision: bool, memory: float):
        """`rank` of adapters (0: none); `memory` is the share of a GPU that vLLM may take."""
        os.environ.update({name: os.environ.get(name, v) for name, v in ENVIRONMENT.items()})
        self.folder = tempfile.TemporaryDirectory(prefix="nla-vllm-")
        verbalizer.language_model.config.save_pretrained(self.folder.name)
        on_cpu = next(verbalizer.parameters()).device.type == "cpu"
        adapted = {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1} if rank else {}
        threads = torch.get_num_threads()
        with _undisturbed(), torch.random.fork_rng():
            self.model = import_module("vllm").LLM(
                self.folder.name,
                load_format="dummy",
                skip_tokenizer_init=True,
                enable_prompt_embeds=True,
                logprobs_mode="processed_logprobs",
                dtype="bfloat16" if low_precision else "float32",
                max_model_len=_longest(verbalizer),
                gpu_memory_utilization=memory,
                enforce_eager=on_cpu,
                **adapted,
            )
        torch.set_num_threads(threads)  # vLLM changes it, as if it had the process to itself
        gc.unfreeze()
        self._holds: weakref.ref[Verbalizer] | None = None
        self._adapters: Any = None
        self._syncs = 0

    def close(self) -> None:
        """Free what it uses on the device, so that another engine can start in this process."""
        self.model.llm_engine.engine_core.shutdown()
        del self.model
        import_module("vllm.distributed").cleanup_dist_env_and_memory()
        self.folder.cleanup()

    def sync(self, verbalizer: Verbalizer) -> None:
        """Send the adapters; for another AV, or one without adapters, all weights."""
        adapters = adapters_of(verbalizer)
        known = self._holds is not None and self._holds() is verbalizer
        if not (known and adapters):
            weights, self._holds = _weights(verbalizer), None
            with _undisturbed():
                self.model.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
                self.model.apply_model(_prepare_head)
        self._holds = weakref.ref(verbalizer)
        if adapters:
            self._syncs += 1
            folder = Path(self.folder.name) / "adapters"
            save_adapters(verbalizer, adapters, folder)
            request = import_module("vllm.lora.request").LoRARequest
            self._adapters = request(f"av-{self._syncs}", self._syncs, str(folder))
        self.model.reset_prefix_cache()  # it was computed with the earlier weights

    @torch.no_grad()
    def roll_out(
        self,
        verbalizer: Verbalizer,
        inputs: Float[Tensor, "batch width"],
        samples: int = 1,
        temperature: float = 0.0,
        draws: Float[Tensor, "rows time"] | None = None,
    ) -> Rollouts:
        """As `engine.roll_out`, but a row's first two draws are the seed of all its tokens."""
        device, end = inputs.device, verbalizer.template.end_id
        prompt = torch.tensor(verbalizer.template.prompt_ids, device=device)
        embeddings = verbalizer.embed(prompt.expand(len(inputs), -1), inputs)
        rows = embeddings.to(self.model.llm_engine.model_config.dtype).cpu()
        rows = rows.repeat_interleave(samples, 0)
        seeds: list[int | None] = [None] * len(rows)
        if draws is not None and temperature:
            high, low = (draws[:, :2].cpu() * 2**24).long().unbind(1)
            seeds = (high * 2**24 + low).tolist()
        wanted = partial(
            import_module("vllm").SamplingParams,
            temperature=temperature,
            max_tokens=room_of(verbalizer),
            stop_token_ids=[end],
            ignore_eos=True,
            logprobs=0,
            detokenize=False,
        )
        with _undisturbed():
            outputs = self.model.generate(
                [{"prompt_embeds": row} for row in rows],
                [wanted(seed=seed) for seed in seeds],
                use_tqdm=False,
                lora_request=self._adapters,
            )
        return _collected([output.outputs[0] for output in outputs], end, device)


def vllm_engine(memory: float) -> Engine:
    """The engine that a profile asks for; once started, it serves every AV of its architecture."""

    @contextmanager
    def ready(verbalizer: Verbalizer, low_precision: bool) -> Iterator[Write]:
        rank = rank_of(adapters_of(verbalizer))
        _check(verbalizer, rank, low_precision)
        engine = _started(verbalizer, rank, low_precision, memory)
        engine.sync(verbalizer)
        yield partial(engine.roll_out, verbalizer)

    return ready


_running: dict[tuple[Any, ...], VllmEngine] = {}


def _started(verbalizer: Verbalizer, rank: int, low_precision: bool, memory: float) -> VllmEngine:
    rank = next(most for most in RANKS if most >= rank) if rank else 0
    key = (
        verbalizer.language_model.config.to_json_string(),
        _longest(verbalizer),
        next(verbalizer.parameters()).device,
        rank,
        low_precision,
    )
    if key not in _running:
        while _running:  # one at a time: each reserves its share of the device
            _running.popitem()[1].close()
        try:
            _running[key] = VllmEngine(verbalizer, rank, low_precision, memory)
        except (ValueError, RuntimeError, AssertionError, ImportError) as error:
            remedy = f"lower rollout.vllm_memory if memory is short, or {REMEDY}"
            what = f"vLLM does not start ({error})"
            raise NlaError(what, where="rollout.engine", remedy=remedy) from error
    return _running[key]


def _longest(verbalizer: Verbalizer) -> int:
    """Number of tokens of the prompt and of the longest explanation."""
    return len(verbalizer.template.prompt_ids) + room_of(verbalizer)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Inference mode, so that weights can be replaced, and no autocast."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _check(verbalizer: Verbalizer, rank: int, low_precision: bool) -> None:
    """NlaError, before vLLM starts, for what it cannot do."""
    injection = verbalizer.config.injection
    on_cpu = next(verbalizer.parameters()).device.type == "cpu"
    refused = {
        "vLLM is not installed": (find_spec("vllm") is None, "pip install --editable '.[vllm]'"),
        f"vLLM cannot inject by `{injection}`": (
            injection != "replace",
            "set av.injection to replace",
        ),
        "vLLM samples for one process": (_several_processes(), "set trainer.devices to 1"),
        f"vLLM has no adapters of rank {rank}": (
            rank > RANKS[-1],
            f"keep av.lora_rank and rl.lora_rank together at most {RANKS[-1]}",
        ),
        "vLLM has no adapters in float32 on a GPU": (
            bool(rank) and not (low_precision or on_cpu),
            "set trainer.precision to bf16-mixed",
        ),
    }
    for what, (applies, remedy) in refused.items():
        if applies:
            raise NlaError(what, where="rollout.engine", remedy=f"{remedy}, or {REMEDY}")


def _several_processes() -> bool:
    distributed = torch.distributed
    return distributed.is_initialized() and distributed.get_world_size() > 1


def _weights(verbalizer: Verbalizer) -> Iterator[tuple[str, Tensor]]:
    """Each weight with its name in a model without adapters."""
    for name, parameter in verbalizer.language_model.named_parameters():
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), parameter.data


def _prepare_head(model: Any) -> None:
    """A head that is tied to the embeddings keeps its old packed copy on a CPU (vLLM 0.32)."""
    if head := getattr(model, "lm_head", None):
        head = getattr(head, "base_layer", head)
        head.quant_method.process_weights_after_loading(head)


def _collected(texts: list[Any], end_id: int, device: torch.device) -> Rollouts:
    ids = pad_sequence([torch.tensor(text.token_ids) for text in texts], True, end_id)
    log_probs = pad_sequence([_log_probs(text) for text in texts], True)
    lengths = torch.tensor([len(text.token_ids) for text in texts])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    ended = ids.gather(1, (lengths - 1)[:, None]).squeeze(1) == end_id
    return Rollouts(*(part.to(device) for part in (ids, log_probs, mask, ended)))


def _log_probs(text: Any) -> Float[Tensor, " time"]:
    steps = zip(text.token_ids, text.logprobs, strict=True)
    return torch.tensor([choices[token].logprob for token, choices in steps])
