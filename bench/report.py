"""The measurements as `reports/bench.md`, and every single one of them in `reports/bench.json`."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.charts import Charted
from bench.extraction import TOLERANCE, Extraction
from bench.policy_step import ACTIVATIONS as POLICY_ACTIVATIONS
from bench.policy_step import SAMPLES as POLICY_SAMPLES
from bench.policy_step import Stepped
from bench.rollouts import ACTIVATIONS, SAMPLES, Rolled
from bench.startup import GOALS
from bench.timing import Rates, Ratio
from bench.training import Training
from common.report.markdown import ABSENT, amount, table

Peaks = dict[str, float]
"""FLOP/s of a large matrix product, by dtype."""


class Measured(NamedTuple):
    """All that one run of the bench found; what was not asked for is None or empty."""

    facts: dict[str, str]
    judged: bool
    """Whether the goals apply: they are about the real model, on which arithmetic dominates."""
    peaks: Peaks
    extraction: Extraction | None
    missing: dict[str, str]
    """Alternatives that could not run here, and why."""
    training: dict[str, Training]
    startup: Rates
    rollouts: Rolled | None = None
    policy: Stepped | None = None
    charts: Charted | None = None


def write_report(measured: Measured, folder: Path) -> Path:
    """Write `bench.md` and `bench.json` into the folder; return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "bench.md"
    out.write_text("\n\n".join(_parts(measured)) + "\n")
    values = {name: _plain(value) for name, value in measured._asdict().items()}
    out.with_suffix(".json").write_text(json.dumps(values, indent=2) + "\n")
    return out


def _parts(measured: Measured) -> Iterator[str]:
    yield "# Speed against the public alternatives"
    yield (
        "Written by `make bench`. Alternatives take turns (A, B, C, A, B, C, ...) on the same "
        "model, inputs and threads; a ratio is taken within a round, and the median over rounds "
        "is shown with its range. Where the range is wide, the machine was not idle."
    )
    yield table([{"": name, "value": value} for name, value in measured.facts.items()])
    if measured.extraction:
        yield from _extraction(measured.extraction, measured.missing, measured.judged)
    if measured.training:
        yield from _training(measured)
    if measured.rollouts:
        yield from _rollouts(measured.rollouts, measured.judged)
    if measured.policy:
        yield from _policy(measured.policy, measured.judged)
    if measured.charts:
        yield from _charts(measured.charts, measured.judged)
    if measured.startup:
        yield "## Waiting before any work"
        yield table([_waiting(name, seconds) for name, seconds in measured.startup.items()])


def _extraction(found: Extraction, missing: dict[str, str], judged: bool) -> Iterator[str]:
    yield "## Reading activations"
    yield (
        f"{found.activations} activations of the same documents at the same positions. In fp32 all "
        f"readers agree: the largest relative difference is {found.difference:.1e} (allowed "
        f"{TOLERANCE:.0e}). Ours is the whole stage, from texts to Parquet; theirs is given token "
        "ids and keeps activations in memory, in padded batches in document order. Ours cuts a "
        "document after its last sampled position, theirs at the longest that is read. nnsight and "
        "TransformerLens stop after the block that is read; plain transformers cannot. Ours in "
        "bfloat16 is for information: nobody else runs in it here."
    )
    yield from _rates(found, "activations/s", judged)
    yield from (f"{name} is left out: {reason}." for name, reason in missing.items())


def _rollouts(found: Rolled, judged: bool) -> Iterator[str]:
    yield "## Rollouts"
    yield (
        f"{ACTIVATIONS} activations x {SAMPLES} samples x {found.tokens} tokens, sampled at "
        "temperature 1 by an untrained AV whose texts do not end, in the same precision. "
        "`generate` is transformers' with `inputs_embeds`, on all rows in one batch; `vllm`, where "
        "it is installed, is our other engine. On a GPU `nla` replays a token's work as a graph, "
        "`nla, no graph` starts each kernel anew. Getting weights ready is not timed. Memory is "
        "the peak of the process while one of them works, the AV and ready weights included."
    )
    yield table(
        [
            _rate(name, values, "new tokens/s") | {"peak memory, GiB": f"{found.peaks[name]:.1f}"}
            for name, values in found.rates.items()
        ]
    )
    yield table([_ratio(one, judged) for one in found.ratios])


def _policy(found: Stepped, judged: bool) -> Iterator[str]:
    yield "## A GRPO step"
    yield (
        f"{POLICY_ACTIVATIONS} activations x {POLICY_SAMPLES} samples x {found.tokens} tokens: "
        "sampling, scoring by the AR, KL to the AV without adapters, gradient and optimiser of "
        "adapters of rank 16 and of the whole AR, one step per rollout, same precision. TRL's "
        "`GRPOTrainer` gets a prompt of the same length, and a reward function that runs the same "
        "AR and takes the AR's optimiser step, in padded batches. Each runs in a process of its "
        "own, idle while another works; memory is the peak of that process."
    )
    yield table([_stepped(name, found) for name in found.rates])
    yield table([_ratio(one, judged) for one in found.ratios])
    yield from (f"{name} is left out: {reason}." for name, reason in found.missing.items())
    yield (
        "Where a step's seconds go, medians. Our AR learns from the answers that were scored: its "
        "forward pass is in scoring, its gradient in backward. TRL shows only what its reward "
        "function does."
    )
    names = dict.fromkeys(part for parts in found.parts.values() for part in parts)
    yield table(
        [
            {"": name} | {part: amount(parts[part]) for part in names if part in parts}
            for name, parts in found.parts.items()
        ]
    )
    yield "Seconds of one step of ours at other sizes, in units of the step above (one step each):"
    yield table([{"size": name, "cost": f"{cost:.2f}"} for name, cost in found.scaling.items()])


def _charts(found: Charted, judged: bool) -> Iterator[str]:
    yield "## Reading explanations by a flow chart"
    yield (
        f"{found.explanations} of the teacher's explanations, read by a chart of {found.boxes} "
        "boxes, which looks words up and asks for words, and by an AR of all blocks up to the "
        "layer that is read, in batches of similar length. Neither has read them before."
    )
    yield from _rates(found, "explanations/s", judged)


def _rates(found: Extraction | Charted, unit: str, judged: bool) -> Iterator[str]:
    """What each way does in a second, and the ratios."""
    yield table([_rate(name, values, unit) for name, values in found.rates.items()])
    yield table([_ratio(one, judged) for one in found.ratios])


def _stepped(name: str, found: Stepped) -> dict[str, str]:
    row = _rate(name, [3600 / rate for rate in found.rates[name]], "seconds a step")
    return row | {"peak memory, GiB": f"{found.peaks[name]:.1f}"}


def _training(measured: Measured) -> Iterator[str]:
    yield "## Training"
    peaks = [f"{peak / 1e9:,.0f} GFLOP/s in {name}" for name, peak in measured.peaks.items()]
    yield (
        "Real tokens per second (no padding) of the same examples in batches of the same size, "
        "from fresh weights; a check asserts that both loops saw the same token rows. The other "
        "loop is transformers' `Trainer` with its defaults. The share is useful arithmetic (6 "
        "FLOPs per trained and 4 per frozen weight and token, the head's on explanation tokens "
        "only, and a prompt that rows share counted for each of them, though ours reads it once) "
        f"of the measured peak of a 2048³ matrix product: {', '.join(peaks)}."
    )
    for name, found in measured.training.items():
        yield f"### {name}"
        yield table([_trained(one, found, measured.peaks) for one in found.rates])
        yield table([_ratio(one, measured.judged) for one in found.ratios])


def _trained(name: str, found: Training, peaks: Peaks) -> dict[str, str]:
    row = _rate(name, found.rates[name], "tokens/s")
    reached = median(found.rates[name]) * found.flops_per_token
    return row | {f"share of {of} peak": f"{reached / peak:.0%}" for of, peak in peaks.items()}


def _rate(name: str, values: list[float], unit: str) -> dict[str, str]:
    return {"": name, f"{unit}, median": amount(median(values)), "range": _range(values)}


def _ratio(one: Ratio, judged: bool) -> dict[str, str]:
    goal = one.goal if judged else None
    return {
        "ratio": f"{one.ours} / {one.against}",
        "median": f"{one.value:.2f}",
        "range": f"{one.low:.2f} to {one.high:.2f}",
        "goal": _goal(goal, goal is not None and one.value >= goal, "at least"),
    }


def _waiting(name: str, seconds: list[float]) -> dict[str, str]:
    goal = GOALS[name]
    met = median(seconds) < goal
    row = {"": name, "seconds, median": f"{median(seconds):.2f}", "range": _range(seconds)}
    return row | {"goal": _goal(goal, met, "under")}


def _goal(goal: float | None, met: bool, bound: str) -> str:
    return ABSENT if goal is None else f"{bound} {goal:g}: {'met' if met else '**missed**'}"


def _range(values: list[float]) -> str:
    return f"{amount(min(values))} to {amount(max(values))}"


def _plain(value: Any) -> Any:
    """NamedTuples as dicts, all the way down."""
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value
