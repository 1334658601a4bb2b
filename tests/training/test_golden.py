import json

import pytest

from tests.training.golden import CURVES, curves, golden_file


@pytest.mark.parametrize("kind", CURVES)
def test_curves_are_the_golden_ones(kind: str):
    expected = json.loads(golden_file(kind).read_text())
    found = curves(kind)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values == pytest.approx(expected[name], abs=1e-4), name


def test_the_golden_curves_show_learning():
    ar, av = (json.loads(golden_file(kind).read_text()) for kind in ("ar", "av"))
    assert len(ar["train_loss"]) == len(av["train_loss"]) == 12
    assert ar["dev_fve"][-1] > ar["dev_fve"][0]
    assert av["train_loss"][-1] < av["train_loss"][0]
