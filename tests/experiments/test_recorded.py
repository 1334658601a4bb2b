"""Rules as data decide what the functions decided that they took the place of.

tests/golden/decisions.json was recorded with those functions: shown or not, paired difference with
its bounds, and corrected p-value of each decision, for the random results of scenarios.py.
"""

import json
from pathlib import Path

import pytest

from common.report.rule import load_rule
from common.report.verdict import SHOWN, Finding
from tests.experiments.scenarios import COUNT, SCENARIOS

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "decisions.json").read_text())
EITHER = "depth or another"
CLAUSES = {
    "size": EITHER,
    "channel teacher": "Quotes are the channel of teacher text",
    "channel av": "Quotes are the channel of AV text",
    "reliance": "The smallest transformer arm leans on quotes more",
    "quoting": "A weaker AR makes the AV quote less",
    "saying": "A weaker AR makes the AV say more",
    "worth": "Weakening the AR is worth it",
    "since": "It quotes less than before reinforcement",
    "learned": "It says more than before reinforcement",
    "copying": "It copies no more without quotation marks",
    "works": "The round trip improves",
    "part": "Learning to speak is part of it",
    "words": "The words carry more",
    "alone": "The AV's learning alone improves the round trip",
    "larger": "The AV's learning is the larger part",
    "quotes": "It learns to quote",
}
FIGURES = {
    "less": "A weaker AR makes the AV quote less",
    "more": "A weaker AR makes the AV say more",
    "between": "The AV's learning is the larger part",
}
"""Their clauses require more than they did, so that only the figures are the same."""
FLIPPED = ("less", "since")
"""Recorded as the other arm minus the arm."""


def found(rows: dict[tuple[str, str], Finding], decision: str) -> tuple[str, Finding]:
    """The name of a recorded decision without its arm, and today's finding."""
    name, _, arm = decision.rpartition(" ")
    name, arm = (name, arm) if name else (decision, "")
    clause = (CLAUSES | FIGURES)[name]
    if clause == EITHER:
        depth = arm.startswith("blocks_")
        clause = f"{'An AR of fewer blocks' if depth else 'Another small AR'} reads as well"
    (row,) = [
        row
        for (one, contrast), row in rows.items()
        if one == clause and (not arm or contrast.split(" ")[0] == f"`{arm}`")
    ]
    return name, row


@pytest.mark.parametrize("number", range(COUNT))
@pytest.mark.parametrize("experiment", SCENARIOS)
def test_decisions_are_those_recorded(experiment: str, number: int):
    results = SCENARIOS[experiment](number)
    verdict = load_rule(experiment).judge(results)
    rows = {(row.clause, row.contrast): row for row in verdict.findings}
    fallen = [run.partition("/")[0] for run in results.facts.get("stopped_early", {})]
    for decision, then in RECORDED[experiment][str(number)].items():
        name, now = found(rows, decision)
        if name == "copying" and decision.rpartition(" ")[2] in fallen:
            continue  # nothing at all is shown for it, which was told elsewhere
        if name in CLAUSES:
            assert (now.status == SHOWN) == then["shown"], (decision, now)
        if "difference" in then:
            assert now.difference
            low, high = now.difference[1:]
            turned = (-now.difference.estimate, -high, -low)
            interval = turned if name in FLIPPED else now.difference
            assert interval == pytest.approx(then["difference"], abs=1e-9), decision
        if then.get("p") is not None:
            assert now.p_value == pytest.approx(then["p"]), decision


def test_the_scenarios_decide_both_ways():
    for name in CLAUSES:
        seen = {
            then["shown"]
            for scenarios in RECORDED.values()
            for decisions in scenarios.values()
            for decision, then in decisions.items()
            if decision == name or decision.startswith(f"{name} ")
        }
        assert seen == ({True} if name == "part" else {True, False})
