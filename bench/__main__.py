"""`python -m bench`: everything, in under twenty minutes; `--quick` for a look.

What is whole and of a real model goes to reports/, all else to .bench/.
"""

import logging
import platform
import warnings
from contextlib import chdir
from typing import Annotated

import torch
import typer

from bench.alternatives import interpreters
from bench.charts import measure_charts
from bench.extraction import Extraction, measure_extraction
from bench.peak import matmul_peak
from bench.policy_step import measure_policy_steps
from bench.report import Measured, write_report
from bench.rollouts import measure_rollouts
from bench.startup import measure_startup
from bench.tasks import ar_task, av_task
from bench.training import Training, measure_training
from bench.workload import ROOT, TINY, Workload, workload
from common.allocator import choose_allocator
from common.device import device_name
from common.provenance import git_commit

LORA_RANK = 32
PARTS = ("startup", "extraction", "training", "rollouts", "policy", "charts")


def main(
    quick: Annotated[bool, typer.Option(help="Tiny model, one round, to .bench/.")] = False,
    only: Annotated[str, typer.Option(help=f"One of {', '.join(PARTS)}, to .bench/.")] = "",
    packages: Annotated[bool, typer.Option(help="With nnsight, TransformerLens and TRL.")] = True,
) -> None:
    """Measure speed against the public alternatives and write reports/bench.md."""
    if only and only not in PARTS:
        raise typer.BadParameter(f"choose one of {', '.join(PARTS)}", param_hint="--only")
    parts = (only,) if only else PARTS
    # As `nla` does; what it is compared with runs under the same allocator, here and in workers.
    choose_allocator()
    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    work = workload(quick)
    with chdir(work.place):
        startup = measure_startup(work.scale.rounds) if "startup" in parts else {}
        found, missing = _extraction(work, packages) if "extraction" in parts else (None, {})
        training = _training(work) if "training" in parts else {}
        peaks = _peaks(work.scale.rounds) if "training" in parts else {}
        rolled = measure_rollouts(work) if "rollouts" in parts else None
        stepped = measure_policy_steps(work, packages) if "policy" in parts else None
        charted = measure_charts(work) if "charts" in parts else None
    facts = _facts(work)
    measured = Measured(
        facts, work.is_real, peaks, found, missing, training, startup, rolled, stepped, charted
    )
    out = write_report(measured, ROOT / "reports" if work.is_real and not only else TINY)
    print(out.read_text())
    print(out.relative_to(ROOT))


def _extraction(work: Workload, packages: bool) -> tuple[Extraction, dict[str, str]]:
    found, missing = interpreters(packages)
    return measure_extraction(work, found), missing


def _training(work: Workload) -> dict[str, Training]:
    """AR and AV against the Trainer in our precision and in fp32; the AV with LoRA in ours only."""
    rounds, low = work.scale.rounds, work.low_precision
    found = {}
    for task in (ar_task(work), av_task(work, 0)):
        found[task.name] = measure_training(task, rounds, low, also_full=low)
    adapted = av_task(work, work.profile.av.lora_rank or LORA_RANK)
    return found | {adapted.name: measure_training(adapted, rounds, low)}


def _peaks(rounds: int) -> dict[str, float]:
    types = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    return {name: matmul_peak(dtype, rounds=rounds) for name, dtype in types.items()}


def _facts(work: Workload) -> dict[str, str]:
    import transformers

    return {
        "model": work.note,
        "device": device_name(),
        "rounds": str(work.scale.rounds),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
        "commit": git_commit(),
    }


if __name__ == "__main__":
    typer.run(main)
