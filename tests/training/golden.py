"""Golden training curves: what seeded runs of tiny models on the CPU log, in two precisions.

`python -m tests.training.golden` writes `tests/golden/*_curves.json` anew after an intended change;
`deviations(curves())` says what differs from them, in about 25 seconds on one core.

float32 holds to 2e-6 whatever the instruction set (SSE to AVX-512) and the number of threads. In
bfloat16 a sum depends on the order of its terms in the third digit, so that CPUs with and without
native products differ, by at most half of what is tolerated. Samples would differ by whole tokens:
where they would, each draw names a token (see `dictated`).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from common.config import TargetConfig
from common.models.verbalizer import Verbalizer
from common.rollout.engine import Rollouts, Write, keyed_draws, room_of
from common.rollout.sampler import own_engine
from common.runs import RunFolder
from common.target.load import prepare_target
from tests.training.runs import CONTEXT, CPU, ENDING, KINDS, Build, metrics, policy, train

GOLDEN = Path(__file__).parents[1] / "golden"
FLOAT32, BFLOAT16 = "32-true", "bf16-mixed"
PRECISIONS = (FLOAT32, BFLOAT16)
REINFORCED = ("train_loss", "rl_policy_loss", "rl_kl", "rl_ar_mse", "rl_reward", "rl_fve")
REINFORCED += ("rl_sampling_drift", "dev_fve", "dev_fve_untrained_ar", "dev_kl_greedy")
CURVES = {
    "ar": ("train_loss", "dev_fve"),
    "av": ("train_loss", "dev_gap"),
    "grpo": REINFORCED,
    "grpo_at_once": REINFORCED,
}
"""Which metrics are kept of each kind of training."""

Curves = dict[str, dict[str, list[float]]]
"""Precision → metric → every value that was logged, in order."""


def curves() -> dict[str, Curves]:
    """By kind of training."""
    return {
        kind: {precision: curve(kind, precision) for precision in PRECISIONS} for kind in CURVES
    }


def curve(kind: str, precision: str) -> dict[str, list[float]]:
    """One seeded run."""
    with TemporaryDirectory() as place:
        target, folder = Path(place) / "target", RunFolder(Path(place) / "smoke/golden/run/0")
        prepare_target(TargetConfig(model="tiny"), target)
        train(_build(kind, precision), target, folder, CPU.replace(precision=precision))
        return {name: [round(v, 6) for v in metrics(folder, name)] for name in CURVES[kind]}


def tolerance(precision: str, metric: str) -> float:
    """The largest difference that is none; means over few tokens or rows vary most in bfloat16."""
    if precision == FLOAT32:
        return 1e-4
    losses = ("train_loss", "rl_policy_loss", "rl_ar_mse", "rl_sampling_drift")
    return 1.2e-2 if metric in losses else 2.5e-3


def deviations(found: dict[str, Curves]) -> list[str]:
    """What is not as in the golden files: a line for each metric."""
    lines = []
    for kind, by_precision in found.items():
        golden = json.loads(golden_file(kind).read_text())
        for precision, values in by_precision.items():
            for name, curve in values.items():
                if off := _off(curve, golden[precision][name], tolerance(precision, name)):
                    lines.append(f"{kind}, {precision}, {name}: {off}")
    return lines


def _off(found: list[float], golden: list[float], most: float) -> str:
    if len(found) != len(golden):
        return f"{len(found)} values instead of {len(golden)}"
    apart = [abs(one - other) for one, other in zip(found, golden, strict=True)]
    wrong = [difference for difference in apart if not difference <= most]  # a NaN is wrong, too
    return f"off by {max(wrong):.2g}, more than {most:g}" if wrong else ""


def golden_file(kind: str) -> Path:
    return GOLDEN / f"{kind}_curves.json"


def _build(kind: str, precision: str) -> Build:
    """GRPO in parts and with credit by token, as the profiles for CPUs have it, or in one piece."""
    if not kind.startswith("grpo"):
        return KINDS[kind]
    context = CONTEXT._replace(precision=precision)
    if kind == "grpo" and precision == FLOAT32:
        return partial(policy, context=context, steps=4, micro_batches=2, credit_after=3)
    given: dict[str, Any] = {"context": context._replace(engine=dictated), "steps": 4}
    parts = {"micro_batches": 2, "credit_after": 3} if kind == "grpo" else {"optimizer_steps": 1}
    return partial(policy, **given, **parts, temperature=1.0)


@contextmanager
def dictated(verbalizer: Verbalizer, low_precision: bool) -> Iterator[Write]:
    """Our own engine, where a draw is a token whatever its probability: none hangs on rounding."""

    def write(activations: Tensor, samples: int = 1, *_: Any) -> Rollouts:
        draws = keyed_draws(("dictated",), len(activations) * samples, room_of(verbalizer))
        return own(activations, samples, 1.0, draws)

    with patch("common.rollout.engine.pick", _named), own_engine(verbalizer, low_precision) as own:
        yield write


def _named(probabilities: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Every tenth token ends the explanation."""
    chosen = (draws * probabilities.shape[1]).long()
    chosen = torch.where(draws < 0.1, ENDING, chosen)
    return chosen, probabilities.gather(1, chosen[:, None]).squeeze(1).log()


if __name__ == "__main__":
    for kind, found in curves().items():
        golden_file(kind).write_text(json.dumps(found, indent=1) + "\n")
