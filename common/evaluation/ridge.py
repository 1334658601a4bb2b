"""Ridge regressions whose penalty is chosen by document."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from common.metrics.fve import normalize

FOLDS = 5


def fit_by_document(
    model: Any,
    penalties: Mapping[str, Sequence[float]],
    features: np.ndarray,
    activations: Tensor,
    documents: Sequence[str],
) -> Any:
    """A copy of the model, fitted to n(h) with the penalty of least error on left-out documents.

    `features` [rows, width], `activations` [rows, d_model] and `documents` are parallel. Rows are
    Whole documents are left out, not rows: positions of one document share its title.
    """
    from sklearn.model_selection import GridSearchCV, GroupKFold

    folds = GroupKFold(min(FOLDS, len(set(documents))))
    search = GridSearchCV(model, penalties, cv=folds, scoring="neg_mean_squared_error")
    search.fit(features, normalize(activations).numpy(), groups=list(documents))
    return search.best_estimator_
