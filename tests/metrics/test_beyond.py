"""By hand, in the plane, where n(h) has length sqrt(2)."""

import pytest
import torch
from torch import Tensor

from common.errors import NlaError
from common.metrics.beyond import better_form, beyond, fit_stack, stack_errors
from common.metrics.fve import normalize

ROOT = 2**0.5
MEAN = torch.zeros(2)
EAST, NORTH = [ROOT, 0.0], [0.0, ROOT]
TRUTH = torch.tensor([EAST, NORTH])


def scored(base: Tensor, answers: Tensor, truth: Tensor = TRUTH, mean: Tensor = MEAN) -> float:
    """The rows are dev and test at once."""
    stack, alone = fit_stack(mean, truth, [base, answers]), fit_stack(mean, truth, [base])
    errors = stack_errors(stack, mean, truth, [base, answers])
    return beyond(errors, float(stack_errors(alone, mean, truth, [base]).mean()))


def test_by_hand():
    """The base knows the first row, and half of the second; the answer the rest of that."""
    base = torch.tensor([EAST, [0.0, 0.5 * ROOT]])
    answers = torch.tensor([[0.0, 0.0], NORTH])
    # a₀ = <base, n(h)> / <base, base> = (2 + 1) / (2 + 0.5) = 1.2
    alone = fit_stack(MEAN, TRUTH, [base])
    assert alone == pytest.approx((1.2,))
    # left: 2 (1 - 1.2)² = 0.08 and 2 (1 - 0.6)² = 0.32
    assert stack_errors(alone, MEAN, TRUTH, [base]).tolist() == pytest.approx([0.08, 0.32])
    # a = 1, b = 0.5: nothing is left
    both = fit_stack(MEAN, TRUTH, [base, answers])
    assert both == pytest.approx((1, 0.5))
    assert scored(base, answers) == pytest.approx(1)
    # half of b: 2 (1 - 0.75)² is left in the second row, of a mean of 0.2
    errors = stack_errors((1.0, 0.25), MEAN, TRUTH, [base, answers])
    assert errors.tolist() == pytest.approx([0, 0.125], abs=1e-6)
    assert beyond(errors, 0.2) == pytest.approx(1 - 0.0625 / 0.2)


def test_the_mean_is_taken_away_from_all():
    mean = torch.tensor([1.0, 0.0])
    base = torch.tensor([EAST, [1.0, 0.3]])
    answers = torch.tensor([[5.0, 0.0], [1.0, -2.0]])
    moved = scored(base, answers, mean=mean)
    a, b = stack = fit_stack(mean, TRUTH, [base, answers])
    by_hand = mean + a * (base - mean) + b * (answers - mean)
    errors = (TRUTH - by_hand).square().sum(1)
    found = stack_errors(stack, mean, TRUTH, [base, answers])
    assert found.tolist() == pytest.approx(errors.tolist(), abs=1e-6)
    assert 0 < moved < 1


@pytest.mark.parametrize("scale", [1.0, 0.3, -2.0, 1e-6])
def test_a_copied_base_scores_nothing(scale: float):
    """Whatever its length, on documents that the scalars were not fitted to, too."""
    torch.manual_seed(0)
    truth, mean = torch.randn(80, 6) * 30 + 10, torch.zeros(6)
    base = normalize(truth) * 0.4 + torch.randn(80, 6)
    dev, test = slice(0, 20), slice(20, None)
    stack = fit_stack(mean, truth[dev], [base[dev], scale * base[dev]])
    alone = fit_stack(mean, truth[dev], [base[dev]])
    errors = stack_errors(stack, mean, truth[test], [base[test], scale * base[test]])
    of_base = stack_errors(alone, mean, truth[test], [base[test]]).mean()
    assert beyond(errors, float(of_base)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("right", [0.0, 0.35, 0.8, 1.0])
def test_a_word_that_is_copied_more_often_scores_no_more(right: float):
    """The answer is what the claimed word says, and a little more: only that counts."""
    generator = torch.Generator().manual_seed(0)
    rows, width = 4000, 8
    words = torch.randn(50, width, generator=generator)
    true = torch.randint(50, (rows,), generator=generator)
    other = torch.randint(50, (rows,), generator=generator)
    copied = torch.rand(rows, generator=generator) < right
    base, claim = words[true], words[torch.where(copied, true, other)]
    more = 0.5 * torch.randn(rows, width, generator=generator)
    truth = base + more + torch.randn(rows, width, generator=generator)
    mean = torch.zeros(width)
    dev, test = slice(0, 1000), slice(1000, None)

    def score(*parts: Tensor) -> float:
        stack, alone = (
            fit_stack(mean, truth[dev], [part[dev] for part in given])
            for given in ([base, *parts], [base])
        )
        errors = stack_errors(stack, mean, truth[test], [base[test], *(p[test] for p in parts)])
        return beyond(errors, float(stack_errors(alone, mean, truth[test], [base[test]]).mean()))

    assert score(claim, claim + more) == pytest.approx(score(more), abs=0.01)
    assert score(claim, claim) == pytest.approx(0, abs=0.01)
    if right < 1:
        assert score(claim + more) < 0.8 * score(more), "without the claim it would score less"


def test_a_base_as_its_own_answer_is_taken_as_given():
    """Its lengths say how certain it is: normalised, it would be another answer."""
    torch.manual_seed(0)
    words = torch.randn(4, 6)
    truth = (words.repeat(20, 1) + torch.randn(80, 6)) * 10
    certain = torch.tensor([1.0, 0.2, 0.7, 0.1]).repeat(20)[:, None]
    base = normalize(words).repeat(20, 1) * certain
    truth = base + normalize(torch.randn(80, 6)) * (1 - certain)
    form, is_normal = better_form(torch.zeros(6), truth, base)
    assert not is_normal
    assert torch.equal(form, base)


def test_an_answer_whose_lengths_mean_nothing_is_normalised():
    lengths = torch.tensor([[3.0], [400.0]])
    form, is_normal = better_form(MEAN, TRUTH, TRUTH * lengths)
    assert is_normal
    assert torch.allclose(form, TRUTH, atol=1e-5)
    for alike in (TRUTH, torch.zeros(2, 2)):
        assert not better_form(MEAN, TRUTH, alike)[1], "as given, where it makes no difference"


def test_beyond_nothing_is_fve_with_the_best_length():
    answers = torch.tensor([[0.5, 0.0], [0.0, 0.5]])
    stack = fit_stack(MEAN, TRUTH, [answers])
    errors = stack_errors(stack, MEAN, TRUTH, [answers])
    nothing = stack_errors(fit_stack(MEAN, TRUTH, []), MEAN, TRUTH, [])
    assert nothing.tolist() == pytest.approx([2, 2]), "n(h) - μ"
    assert beyond(errors, float(nothing.mean())) == pytest.approx(1)
    assert stack == pytest.approx((2 * ROOT,))
    assert fit_stack(MEAN, TRUTH, [MEAN.expand(2, 2), answers]) == pytest.approx((0, 2 * ROOT)), (
        "a base that is μ gets 0"
    )


@pytest.mark.parametrize(
    "answers",
    [MEAN.expand(2, 2), torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [0.0, 0.0]])],
)
def test_an_answer_that_is_the_mean_adds_nothing(answers: Tensor):
    base = torch.tensor([EAST, [0.1, 0.2]])
    assert fit_stack(MEAN, TRUTH, [base, answers])[1] == 0
    assert scored(base, answers) == pytest.approx(0, abs=1e-7)


def test_a_constant_answer_is_an_offset():
    """It can only say what all rows have in common."""
    base = torch.tensor([EAST, [0.0, 0.0]])
    constant = torch.tensor([NORTH, NORTH])
    stack = fit_stack(MEAN, TRUTH, [base, constant])
    assert stack == pytest.approx((1, 0.5))
    assert scored(base, constant) == pytest.approx(0.5)


def test_one_row_is_enough_and_none_is_refused():
    one = slice(0, 1)
    base = torch.tensor([[1.0, 1.0]])
    assert fit_stack(MEAN, TRUTH[one], [base, 2 * base])[1] == pytest.approx(ROOT / 8)
    narrow = torch.tensor([[5.0]])
    stack = fit_stack(torch.zeros(1), narrow, [narrow, narrow])
    assert stack == pytest.approx((0.1, 0.1)), "fewer numbers than scalars: the smallest"
    nothing = torch.zeros(0, 2)
    with pytest.raises(NlaError, match="at least one activation"):
        fit_stack(MEAN, nothing, [nothing, nothing])
    assert len(stack_errors((1.0, 1.0), MEAN, nothing, [nothing, nothing])) == 0


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_answers_that_are_not_finite_are_refused(wrong: float):
    answers = torch.tensor([EAST, [wrong, 0.0]])
    with pytest.raises(NlaError, match="1 of 2 rows are not finite"):
        fit_stack(MEAN, TRUTH, [TRUTH, answers])
    with pytest.raises(NlaError, match="1 of 2 rows are not finite"):
        stack_errors((1.0, 1.0), MEAN, TRUTH, [TRUTH, answers])


@pytest.mark.usefixtures("unchecked_types")
def test_other_shapes_are_refused():
    with pytest.raises(NlaError, match=r"cannot stack \(1, 2\) on activations of shape \(2, 2\)"):
        fit_stack(MEAN, TRUTH, [TRUTH[:1]])


def test_a_base_that_leaves_nothing_open_is_refused():
    with pytest.raises(NlaError, match="variance"):
        beyond(torch.zeros(2), 0.0)
