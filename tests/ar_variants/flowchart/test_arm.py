"""Fitted arms as runs: made, tested, loaded, and current."""

from math import isfinite

import polars as pl
import pytest
import torch

from ar_variants.flowchart.arm import FittedArm
from ar_variants.flowchart.fitted import FittedReconstructor
from common.lifecycle.check import check_current
from common.profile import Profile
from common.schema import AV, NEAREST_TEXT, NEXT_TOKENS_TEXT, TEACHER, readings_of
from tests.arms.made import arm_named, arms_of, run_of


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(("experiment", "arm"), arms_of(FittedArm))
def test_a_fitted_arm_is_made_and_tested(experiment: str, arm: str, two_steps: Profile):
    one = arm_named(f"{experiment}/{arm}", two_steps)
    folder = run_of(one)
    assert all(isfinite(folder.summary[name]) for name in ("dev_fve", "dev_fve_best"))
    assert folder.summary["boxes"] >= 1
    rows = pl.read_parquet(folder.rows_file)
    assert set(rows["source"]) == {TEACHER, AV, NEAREST_TEXT, NEXT_TOKENS_TEXT}
    assert rows.filter("applied")["squared_error"].is_finite().all()
    assert {"original", "shuffled", "prefix_4"} <= set(rows["transform"])
    check_current(one, 0)

    texts = one.trunk(0).explanations(TEACHER)["explanation"].head(8).to_list()
    loaded = one.load(folder)
    assert isinstance(loaded, FittedReconstructor)
    answers = loaded(loaded.encode(readings_of(texts)))
    assert answers.isfinite().all()
    again = one.load(folder)
    assert torch.equal(answers, again(again.encode(readings_of(texts))))
    if steps := loaded.steps(texts[0]):
        total = loaded.start + sum(step.vector for step in steps)
        torch.testing.assert_close(total, answers[0], atol=1e-4, rtol=1e-4)
