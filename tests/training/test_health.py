import pytest

from common.training.health import COLLAPSED_ROLLOUTS, CollapseDetector

WELL = {"valid": 0.9, "repetition": 0.1, "sameness": 0.4, "fve": 0.2}


@pytest.mark.parametrize(
    ("sign", "said"),
    [
        ({"valid": 0.4}, "valid"),
        ({"repetition": 0.6}, "said before"),
        ({"sameness": 0.95}, "different activations said the same"),
        ({"fve": -1.1}, "FVE below -1"),
    ],
)
def test_a_sign_of_collapse_ends_a_run_when_it_stays(sign: dict[str, float], said: str):
    detector = CollapseDetector(av_learns=True)
    for _ in range(COLLAPSED_ROLLOUTS - 1):
        assert not detector.update(**WELL | sign)
    assert not detector.update(**WELL), "one good rollout in between"
    found = [detector.update(**WELL | sign) for _ in range(COLLAPSED_ROLLOUTS)]
    assert not any(found[:-1])
    assert found[-1].startswith("collapsed")
    assert said in found[-1]


def test_a_frozen_av_is_not_watched_but_its_ar_is():
    detector = CollapseDetector(av_learns=False)
    silent = {"valid": 0.0, "repetition": 1.0, "sameness": 1.0}
    assert not any(detector.update(**WELL | silent) for _ in range(COLLAPSED_ROLLOUTS))
    assert [detector.update(**WELL | {"fve": -2.0}) for _ in range(COLLAPSED_ROLLOUTS)][-1]


def test_what_cannot_be_measured_is_no_sign():
    detector = CollapseDetector(av_learns=True)
    assert not any(
        detector.update(**WELL | {"fve": float("nan")}) for _ in range(COLLAPSED_ROLLOUTS)
    )
