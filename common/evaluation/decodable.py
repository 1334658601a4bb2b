"""What a linear classifier reads from explanations: topic, syntax, kind of next token, sentence.

It is fitted to explanations of training activations and tested on those of the test activations.
Beside it stand its floor (other documents' explanations), its ceiling (the same kind of classifier
on the activation) and the source text as a writer.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from common.evaluation.conditions import other_documents
from common.evaluation.floors import FloorError, counted
from common.evaluation.known import Known, known_of
from common.evaluation.spoken import Spoken, measures_of
from common.schema import AR_SFT, EXPLANATION, KEY, SPLIT
from common.target.text import decode

LABELS: Mapping[str, Callable[[Known], str | None]] = {
    "topic": lambda known: known.topic,
    "syntax": lambda known: known.syntax,
    "next": lambda known: known.next_class,
    "ordinal": lambda known: known.ordinal,
}
SWAPPED, CEILING, SOURCE = "shuffled", "own_activation", "source_text"
"""What else is classified, each in the measures `decodable_<label>_<name>`."""
FEWEST = 2
"""Examples of a class in training, and in the test, below which the class is left out."""
LEAST_RANGE = 0.1
"""How far the ceiling must lie above the floor for a share between them to mean anything."""
MOST_FEATURES = 4096
FOLDS = 5
TEXT_PENALTIES, ACTIVATION_PENALTIES = (0.1, 1.0, 10.0), (1e2, 1e3, 1e4)


class Features(NamedTuple):
    """What a classifier gets of the training and the test activations [rows, width]."""

    train: np.ndarray
    test: np.ndarray
    penalties: Sequence[float]


class Kept(NamedTuple):
    """The rows of one kind of label whose classes have enough examples."""

    train: list[int]
    test: list[int]


def decodable_measures(spoken: Spoken) -> pl.DataFrame:
    """Values of which the mean over the rows is a balanced accuracy, and `decodable`.

    For each kind of label `decodable_<label>`, the same followed by `_shuffled`, `_own_activation`
    and `_source_text`, and `decodable_<label>_dropped`: 1 for a test row without a label or of a
    class that was left out, which has no row of the others. `decodable` is a share of what can be
    decoded from the activation, see `shares`.
    """
    tests, trunk = spoken.tests, spoken.tests.trunk
    written = spoken.written.filter(pl.col(SPLIT) == AR_SFT).sort(KEY)
    train_keys, limit = written[KEY].to_list(), tests.profile.ar.max_explanation_tokens
    train, train_ids = known_of(trunk, train_keys)
    test, _ = known_of(trunk, tests.keys)
    sources = decode(trunk.tokenizer, [ids[-limit:] for ids in train_ids])
    features = {
        "": tfidf(written[EXPLANATION].to_list(), spoken.texts),
        SOURCE: tfidf(sources, tests.source_texts),
    }
    if train_keys:
        features[CEILING] = standardised(trunk.store[train_keys], trunk.store[tests.keys])
    values = decoded(features, train, test)
    values["decodable"] = shares(values)
    frames = []
    for name, found in values.items():
        rows = np.flatnonzero(~np.isnan(found))
        if len(rows):
            present = {name: torch.from_numpy(found[rows])}
            frames.append(measures_of(tests.table[rows.tolist()], present))
    return pl.concat(frames)


def decoded(
    features: Mapping[str, Features], train: Sequence[Known], test: Sequence[Known]
) -> dict[str, np.ndarray]:
    """Values by measure, one for each test row; NaN where its class was left out."""
    swapped = np.array(other_documents([one.doc_id for one in test]))
    documents = [one.doc_id for one in train]
    found: dict[str, np.ndarray] = {}
    for label, of in LABELS.items():
        own, true = [of(one) for one in train], [of(one) for one in test]
        kept = kept_rows(own, true)
        measure = f"decodable_{label}"
        found[f"{measure}_dropped"] = np.isin(range(len(test)), kept.test, invert=True) * 1.0
        if not kept.test:
            continue
        classes, truth = np.array(own)[kept.train], np.array(true)[kept.test]
        for name, given in features.items():
            said = predicted(given, kept.train, classes, [documents[row] for row in kept.train])
            answers = {name: said[kept.test]}
            if not name:
                answers[SWAPPED] = said[swapped[kept.test]]
            for which, answer in answers.items():
                values = np.full(len(test), np.nan)
                values[kept.test] = balanced(truth, answer)
                found[f"{measure}_{which}".rstrip("_")] = values
    return found


def kept_rows(train: Sequence[str | None], test: Sequence[str | None]) -> Kept:
    """Rows of the classes that have two examples on either side; none where one class is left."""
    counts = [Counter(train), Counter(test)]
    classes = {one for one in counts[0] if one and min(c[one] for c in counts) >= FEWEST}
    if len(classes) < 2:
        return Kept([], [])
    return Kept(
        *([row for row, one in enumerate(rows) if one in classes] for rows in (train, test))
    )


def balanced(truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """For a right answer N / (C n), else 0, with N rows, C classes and n rows of this class.

    The mean is the balanced accuracy: the mean over classes of the share of right answers.
    """
    _, places, counts = np.unique(truth, return_inverse=True, return_counts=True)
    return len(truth) / (len(counts) * counts[places]) * (truth == answers)


def shares(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of each row a share of what can be decoded from the activation; NaN where nothing can.

    The mean over rows is the mean over labels of (accuracy - floor) / (ceiling - floor), without
    the labels whose ceiling is not above the floor.
    """
    parts = []
    for label in LABELS:
        own, floor, ceiling = (
            values.get(f"decodable_{label}{name}") for name in ("", f"_{SWAPPED}", f"_{CEILING}")
        )
        if own is None or floor is None or ceiling is None:
            continue
        low, high = float(np.nanmean(floor)), float(np.nanmean(ceiling))
        if high - low >= LEAST_RANGE:
            parts.append((own - low) / (high - low))
    if not parts:
        return np.full(len(next(iter(values.values()))), np.nan)
    present = ~np.isnan(parts)
    rows = present.any(0)
    weights = rows.sum() / present.sum(1) / len(parts)  # a label of fewer rows counts as much
    found = np.nansum(np.array(parts) * weights[:, None], axis=0)
    return np.where(rows, found, np.nan)


def tfidf(train: Sequence[str], test: Sequence[str]) -> Features:
    """TF-IDF of the commonest words, signs and pairs that stand in two training texts.

    Rotated to as many coordinates as there are training texts, in which a ridge finds the same.
    """
    try:
        vectorizer, counts = counted(train, MOST_FEATURES)
    except FloorError:
        return Features(np.zeros((len(train), 1)), np.zeros((len(test), 1)), TEXT_PENALTIES)
    asked = vectorizer.transform(test)
    turn, _ = np.linalg.qr(counts.toarray().T)
    return Features(counts @ turn, asked @ turn, TEXT_PENALTIES)


def standardised(train: torch.Tensor, test: torch.Tensor) -> Features:
    """Activations with mean 0 and variance 1 in training; a constant coordinate is 0."""
    mean, spread = train.mean(0), train.std(0, correction=0)
    scale = torch.where(spread > 0, 1 / spread.clamp(min=1e-12), 0)
    inputs, asked = (((given - mean) * scale).double().numpy() for given in (train, test))
    return Features(inputs, asked, ACTIVATION_PENALTIES)


def predicted(
    features: Features, rows: Sequence[int], classes: np.ndarray, documents: Sequence[str]
) -> np.ndarray:
    """The class of each test row, by the classifier fitted to some training rows.

    Classes count alike. The penalty is the best on left-out documents, whose positions share their
    topic; with a single document it is the middle one.
    """
    from sklearn.model_selection import GroupKFold

    inputs = features.train[list(rows)]
    penalty = features.penalties[len(features.penalties) // 2]
    if len(set(documents)) > 1:
        folds = GroupKFold(min(FOLDS, len(set(documents))))
        parts = list(folds.split(inputs, groups=list(documents)))
        penalty = max(features.penalties, key=lambda one: _score(one, inputs, classes, parts))
    return _fit(penalty, inputs, classes).predict(features.test)


def _score(penalty: float, inputs: np.ndarray, targets: np.ndarray, parts: Sequence[Any]) -> float:
    """Balanced accuracy on left-out documents, all folds together."""
    answers = np.empty_like(targets)
    for train, left_out in parts:
        answers[left_out] = _fit(penalty, inputs[train], targets[train]).predict(inputs[left_out])
    return float(balanced(targets, answers).mean())


def _fit(penalty: float, inputs: np.ndarray, targets: np.ndarray) -> Any:
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import RidgeClassifier

    if len(set(targets)) < 2:  # a fold may hold one class
        return DummyClassifier().fit(inputs, targets)
    return RidgeClassifier(alpha=penalty, class_weight="balanced").fit(inputs, targets)
