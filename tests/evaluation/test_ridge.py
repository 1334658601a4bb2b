import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from common.errors import NlaError
from common.evaluation.ridge import FOLDS, LEAST, LinearMap, folds_of, ridge_by_document
from common.metrics.fve import normalize


def made(rows: int = 120, width: int = 7, d_model: int = 5) -> tuple[Tensor, Tensor, list[str]]:
    """Features, activations that follow them with noise, and documents of three rows."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(rows, width, generator=generator) + 3
    weight = torch.randn(width, d_model, generator=generator)
    noise = torch.randn(rows, d_model, generator=generator)
    return features, features @ weight + 4 * noise, [str(row // 3) for row in range(rows)]


def by_hand(features: Tensor, activations: Tensor, penalty: float) -> Tensor:
    """scikit-learn's prediction, with the penalty in our units."""
    x, y = features.double().numpy(), normalize(activations).double().numpy()
    alpha = penalty * len(x) * x.var(0).mean()
    return torch.from_numpy(Ridge(alpha=alpha).fit(x, y).predict(x))


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_the_solution_is_that_of_scikit_learn(penalty: float):
    features, activations, documents = made()
    found = ridge_by_document([features], activations, documents, [penalty])
    assert found.penalties == (penalty,)
    expected = by_hand(features, activations, penalty).float()
    assert torch.allclose(found(features), expected, atol=1e-4)


def test_the_penalty_is_that_of_least_error_on_left_out_documents():
    features, activations, documents = made()
    penalties = [1e-3, 0.03, 0.3, 3.0, 30.0]
    found = ridge_by_document([features], activations, documents, penalties)
    x, y = features.double().numpy(), normalize(activations).double().numpy()
    folds = folds_of(documents).numpy()
    errors = []
    for penalty in penalties:
        error = 0.0
        for fold in range(FOLDS):
            rest = folds != fold
            # Blocks are scaled by all rows: the unit of the penalty is that of all.
            alpha = penalty * rest.sum() * x.var(0).mean()
            model = Ridge(alpha=alpha).fit(x[rest], y[rest])
            error += ((model.predict(x[~rest]) - y[~rest]) ** 2).sum()
        errors.append(error)
    assert found.penalties == (penalties[int(np.argmin(errors))],)


def test_a_block_of_noise_is_penalised_more():
    features, activations, documents = made(300)
    noise = torch.randn(300, 40, generator=torch.Generator().manual_seed(1))
    both = ridge_by_document([features, noise], activations, documents, [0.01, 0.1, 1.0])
    assert both.penalties[1] > both.penalties[0]
    assert both(torch.cat([features, noise], 1)).shape == (300, 5)


def test_whole_documents_are_left_out_and_folds_are_of_similar_size():
    documents = [*"aaaaabbbccddefghij"]
    folds = folds_of(documents)
    for name in set(documents):
        assert len({int(folds[row]) for row, other in enumerate(documents) if other == name}) == 1
    sizes = torch.bincount(folds)
    assert len(sizes) == min(FOLDS, 10)
    assert sizes.max() - sizes.min() <= 2
    assert len(folds_of(["a", "b", "b"]).unique()) == 2


def test_fewer_rows_than_features_are_enough():
    features, activations, documents = made(rows=12, width=40)
    found = ridge_by_document([features], activations, documents)
    assert found(features).isfinite().all()
    assert torch.allclose(
        ridge_by_document([features], activations, documents, [0.1])(features),
        by_hand(features, activations, 0.1).float(),
        atol=1e-4,
    )


@pytest.mark.parametrize("constant", [0.0, 1.0, 1e6, 0.1])
def test_features_that_do_not_vary_give_the_mean(constant: float):
    _, activations, documents = made()
    features = torch.full((120, 3), constant)
    found = ridge_by_document([features], activations, documents)
    mean = normalize(activations).mean(0)
    assert torch.allclose(found(features), mean.expand(120, -1), atol=1e-4)
    varied = made()[0]
    both = ridge_by_document([features, varied], activations, documents, [0.1])
    alone = ridge_by_document([varied], activations, documents, [0.1])
    assert torch.allclose(both(torch.cat([features, varied], 1)), alone(varied), atol=1e-4)


def test_a_single_document_and_what_is_not_finite_are_refused():
    features, activations, documents = made()
    with pytest.raises(NlaError, match="all 120 rows are of one"):
        ridge_by_document([features], activations, ["a"] * 120)
    for broken in (float("nan"), float("inf")):
        with pytest.raises(NlaError, match="not finite"):
            ridge_by_document([features.clone().fill_(broken)], activations, documents)


def test_a_map_is_a_product_and_a_sum():
    weight, bias = torch.tensor([[1.0, 0.0], [2.0, -1.0]]).double(), torch.tensor([1.0, 1.0])
    read = LinearMap(weight, bias.double(), (1.0,))
    assert read(torch.tensor([[3.0, 4.0]])).tolist() == [[12.0, -3.0]]
    assert read(torch.zeros(1, 2)).dtype == torch.float32


def test_a_penalty_of_data_without_noise_does_not_shrink_for_ever() -> None:
    """Less is always better there, until the sums can no longer be solved."""
    drawn = torch.Generator().manual_seed(0)
    blocks = [torch.randn(60, 5, generator=drawn) for _ in range(2)]
    targets = torch.cat(blocks, 1) @ torch.randn(10, 8, generator=drawn) + 5
    found = ridge_by_document(blocks, targets, [str(row // 2) for row in range(60)])
    assert all(penalty >= LEAST for penalty in found.penalties)
