import math

import pytest
import torch

from common.errors import NlaError
from common.metrics import fve as metric

TWO = torch.tensor([[3.0, 0.0], [0.0, 5.0]])
ROOT = math.sqrt(2)


def test_normalize_gives_length_root_d():
    torch.testing.assert_close(metric.normalize(TWO), torch.tensor([[ROOT, 0.0], [0.0, ROOT]]))
    torch.testing.assert_close(metric.normalize(TWO[0]), torch.tensor([ROOT, 0.0]))
    assert metric.normalize(torch.full((1, 4), 300.0, dtype=torch.float16)).dtype == torch.float32


def test_mean_is_not_scaled_up_again():
    mean = metric.training_mean(TWO)
    torch.testing.assert_close(mean, torch.tensor([ROOT / 2, ROOT / 2]))
    assert float(mean.norm()) == pytest.approx(1.0)


def test_fve_by_hand():
    variance = metric.variance(TWO, metric.training_mean(TWO))
    assert variance == pytest.approx(1.0)
    # The second prediction points at the first activation: ||(√2, -√2)||² = 4.
    errors = metric.squared_errors(torch.tensor([[1.0, 0.0], [7.0, 0.0]]), TWO)
    torch.testing.assert_close(errors, torch.tensor([0.0, 4.0]))
    assert metric.fve(errors, variance) == pytest.approx(1 - 2 / 1)


def test_anchors_of_the_scale():
    torch.manual_seed(0)
    activations = 200 * (torch.randn(64, 16) + 1)
    mean = metric.training_mean(activations)
    variance = metric.variance(activations, mean)
    assert metric.fve(metric.squared_errors(3 * activations, activations), variance) == (
        pytest.approx(1.0)
    )
    constant = (metric.normalize(activations) - mean).square().sum(-1)
    assert metric.fve(constant, variance) == pytest.approx(0.0, abs=1e-5)
    # μ scaled up to sqrt(d), as any prediction is, is worse than μ itself.
    direction = mean.expand_as(activations)
    assert metric.fve(metric.squared_errors(direction, activations), variance) < -0.01
    shuffled = metric.squared_errors(activations.roll(1, 0), activations)
    assert metric.fve(shuffled, variance) == pytest.approx(-1, abs=0.2)


def test_raw_fve_sees_lengths():
    mean_raw = TWO.mean(0)
    torch.testing.assert_close(metric.raw_squared_errors(2 * TWO, TWO), torch.tensor([9.0, 25.0]))
    # Distances from the mean (1.5, 2.5): both 1.5² + 2.5² = 8.5.
    assert metric.raw_fve(2 * TWO, TWO, mean_raw) == pytest.approx(1 - 17 / 8.5)
    assert metric.raw_fve(TWO, TWO, mean_raw) == 1.0


def test_loss_is_twice_one_minus_cosine():
    predictions = torch.tensor([[1.0, 1.0], [0.0, -2.0]])
    cosines = metric.cosines(predictions, TWO)
    torch.testing.assert_close(cosines, torch.tensor([1 / ROOT, -1.0]))
    loss = metric.normalized_mse(predictions, TWO)
    torch.testing.assert_close(loss, (2 * (1 - cosines)).mean())
    torch.testing.assert_close(loss, (metric.squared_errors(predictions, TWO) / 2).mean())


def test_gradient_is_finite_at_zero():
    predictions = torch.zeros(2, 2, requires_grad=True)
    loss = metric.normalized_mse(predictions, TWO)
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert predictions.grad is not None
    assert predictions.grad.isfinite().all()
    assert predictions.grad.abs().sum() > 0
    assert metric.cosines(predictions, TWO).tolist() == [0.0, 0.0]


def test_marginal_is_per_token():
    gains = metric.marginal_fve({8: 0.5, 0: -0.1, 4: 0.3})
    assert gains == {4: pytest.approx(0.1), 8: pytest.approx(0.05)}
    assert metric.marginal_fve({4: 0.3}) == {}


def test_refuses_nothing_to_explain():
    with pytest.raises(NlaError, match="no rows"):
        metric.fve(torch.zeros(0), 1.0)
    for variance in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(NlaError, match="vary"):
            metric.fve(torch.zeros(2), variance)


@pytest.mark.parametrize("length", [1e-38, 1e-30, 1e-6, 1e19, 1e30, 1e38])
def test_a_direction_is_the_same_at_every_length(length: float):
    """Squares of these leave float32, or vanish beside the epsilon."""
    direction = torch.tensor([[0.6, -0.8]])
    expected = ROOT * direction
    torch.testing.assert_close(metric.normalize(length * direction), expected)
    torch.testing.assert_close(metric.cosines(length * direction, direction), torch.ones(1))
    assert metric.squared_errors(length * direction, 3 * direction).item() < 1e-10


def test_the_gradient_is_that_of_a_direction():
    """Of sqrt(2) v / ||v|| at (3, 4) along x: sqrt(2) (1/5 - 9/125); halved at twice the length."""
    for scale in (1.0, 2.0):
        vector = torch.tensor([3.0 * scale, 4.0 * scale], requires_grad=True)
        metric.normalize(vector)[0].backward()
        assert vector.grad is not None
        expected = ROOT * torch.tensor([16 / 125, -12 / 125]) / scale
        torch.testing.assert_close(vector.grad, expected)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_errors_of_what_is_not_finite_are_refused(value: float):
    errors = metric.squared_errors(torch.tensor([[1.0, 0.0], [value, 1.0]]), TWO)
    assert errors.isnan().tolist() == [False, True]
    with pytest.raises(NlaError, match="1 of 2 squared errors are not finite"):
        metric.fve(errors, 1.0)
    broken = torch.tensor([[value, 0.0], [0.0, 1.0]])
    with pytest.raises(NlaError, match="no mean direction of 2 activations"):
        metric.training_mean(broken)
    with pytest.raises(NlaError, match="no variance of 2 activations"):
        metric.variance(broken, torch.zeros(2))


@pytest.mark.usefixtures("unchecked_types")
def test_other_row_counts_are_refused_and_not_broadcast():
    compare = (metric.squared_errors, metric.raw_squared_errors, metric.cosines)
    for function in (*compare, metric.normalized_mse):
        for other in (TWO[:1], TWO[0], torch.cat([TWO, TWO]), TWO[:, :1]):
            with pytest.raises(NlaError, match="cannot compare predictions"):
                function(other, TWO)
            with pytest.raises(NlaError, match="cannot compare predictions"):
                function(TWO, other)
    for mean in (torch.zeros(1), torch.zeros(3), torch.zeros(2, 2), torch.tensor(0.0)):
        with pytest.raises(NlaError, match="no mean direction"):
            metric.variance(TWO, mean)
        with pytest.raises(NlaError, match="no mean direction"):
            metric.raw_fve(TWO, TWO, mean)
    with pytest.raises(NlaError, match="not one each row"):
        metric.fve(TWO, 1.0)


def test_no_activations_have_no_mean_and_no_variance():
    with pytest.raises(NlaError, match="of 0 activations"):
        metric.training_mean(torch.zeros(0, 2))
    with pytest.raises(NlaError, match="of 0 activations"):
        metric.variance(torch.zeros(0, 2), torch.zeros(2))
