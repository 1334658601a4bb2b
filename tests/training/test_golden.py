import json

import pytest

from tests.training.golden import (
    BFLOAT16,
    CURVES,
    FLOAT32,
    PRECISIONS,
    curve,
    deviations,
    golden_file,
)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", CURVES)
def test_curves_are_the_golden_ones(kind: str, precision: str):
    assert deviations({kind: {precision: curve(kind, precision)}}) == []


def test_every_curve_is_recorded():
    for kind, names in CURVES.items():
        golden = json.loads(golden_file(kind).read_text())
        assert {precision: tuple(values) for precision, values in golden.items()} == {
            precision: names for precision in PRECISIONS
        }


def test_a_deviation_is_named():
    golden = json.loads(golden_file("ar").read_text())
    shorter = golden[BFLOAT16]["dev_fve"][:2]
    golden[FLOAT32]["dev_fve"][1] += 2e-4
    found = {"ar": {FLOAT32: golden[FLOAT32], BFLOAT16: {"dev_fve": shorter}}}
    assert deviations(found) == [
        "ar, 32-true, dev_fve: off by 0.0002, more than 0.0001",
        "ar, bf16-mixed, dev_fve: 2 values instead of 3",
    ]
    shorter.append(float("nan"))
    assert deviations({"ar": {BFLOAT16: {"dev_fve": shorter}}}) != []


def test_the_golden_curves_show_learning():
    ar, av, grpo = (json.loads(golden_file(kind).read_text()) for kind in ("ar", "av", "grpo"))
    for precision in PRECISIONS:
        assert len(ar[precision]["train_loss"]) == len(av[precision]["train_loss"]) == 12
        assert ar[precision]["dev_fve"][-1] > ar[precision]["dev_fve"][0]
        assert av[precision]["train_loss"][-1] < av[precision]["train_loss"][0]
        assert grpo[precision]["dev_fve"][-1] > grpo[precision]["dev_fve"][0]
        assert grpo[precision]["rl_kl"][-1] > 1e-3, "the policy has moved"
