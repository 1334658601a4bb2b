"""Retrieval: does an explanation single out its own activation among others with its last word?"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.errors import NlaError
from common.metrics.fve import normalize
from common.seeding import keyed_random


def distractor_indices(
    last_tokens: Sequence[int],
    doc_ids: Sequence[str],
    predictions: Float[Tensor, "rows d_model"],
    count: int,
    key: object,
) -> list[list[int]]:
    """The other documents' rows that are the hardest to tell apart by the last word alone.

    First those that share the row's last token, drawn by key; then those with the nearest
    prediction from the last token. Among others, a copied last word would decide alone, and among
    rows of the same document, which hardly ever share one, too.

    Args:
        last_tokens: id of the last token of each row's source text.
        doc_ids: document of each row.
        predictions: of n(h) from the last token alone.
        count: distractors for each row.
        key: seed of the draw; the same key and rows give the same distractors.

    Returns:
        `count` distinct row indices for each row, never of the row's own document.

    Raises:
        NlaError: for columns of different lengths or with None, or fewer than `count` rows of other
            documents.
    """
    tokens, documents = np.array(last_tokens, object), np.array(doc_ids, object)
    rows = len(documents)
    if unknown := sum(label is None for label in (*tokens, *documents)):
        raise NlaError(f"{unknown} rows have no document or no last token")
    if len(tokens) != rows or len(predictions) != rows:
        what = f"{len(tokens)} last tokens and {len(predictions)} predictions of {rows} rows"
        raise NlaError(f"cannot draw distractors with {what}")
    draw = np.array(keyed_random("distractors", key).sample(range(rows), rows))
    drawn = []
    for row in range(rows):
        others = np.flatnonzero(documents != documents[row])
        if not 0 <= count <= len(others):
            what = f"cannot draw {count} distractors from {len(others)} rows of other documents"
            remedy = "evaluate more documents or ask for fewer distractors"
            raise NlaError(what, remedy=remedy)
        distances = (predictions[others] - predictions[row]).norm(dim=1).numpy()
        order = np.lexsort((draw[others], distances, tokens[others] != tokens[row]))
        drawn.append(others[order[:count]].tolist())
    return drawn


def retrieval_ranks(
    predictions: Float[Tensor, "batch d_model"],
    activations: Float[Tensor, "batch d_model"],
    distractors: list[list[int]],
    mean: Float[Tensor, "d_model"],
) -> Int[Tensor, "batch"]:
    """Rank of each row's own activation among itself and its distractors; 1 is best.

    Scores are cosines of `n(ĥ) - μ` and `n(h) - μ`: without centring, the one direction that all
    activations share hides the rest. Ties, and predictions that are not numbers, rank last.

    Args:
        predictions: reconstruction of each row.
        activations: the rows' own activations, which are also the pool of distractors.
        distractors: equally many row indices for each row, from `distractor_indices`.
        mean: μ of the training documents.

    Raises:
        NlaError: for shapes that differ, or distractors that are not equally many other rows.
    """
    if predictions.shape != activations.shape or mean.shape != activations.shape[1:]:
        shapes = [tuple(tensor.shape) for tensor in (predictions, activations, mean)]
        raise NlaError(f"cannot rank predictions, activations and mean of shapes {shapes}")
    _check_distractors(distractors, len(activations))
    queries = normalize(normalize(predictions) - mean)
    candidates = normalize(normalize(activations) - mean)
    own = (queries * candidates).sum(-1)
    ranks = torch.ones(len(own), dtype=torch.long, device=own.device)
    for others in torch.tensor(distractors, device=own.device).unbind(1):
        scores = (queries * candidates[others]).sum(-1)
        ranks += ~(scores < own)
    return ranks


def retrieval_summary(ranks: Int[Tensor, "batch"]) -> dict[str, float]:
    """Share of rows ranked first (`top_1`) and mean reciprocal rank (`mrr`), both in [0, 1].

    Raises:
        NlaError: without rows, or for ranks below 1.
    """
    if not ranks.numel() or int(ranks.min()) < 1:
        raise NlaError(f"retrieval of {ranks.numel()} rows with ranks that do not start at 1")
    ranks = ranks.double()
    return {"top_1": float((ranks == 1).double().mean()), "mrr": float((1 / ranks).mean())}


def _check_distractors(distractors: list[list[int]], rows: int) -> None:
    """A negative index would count from the end, and a row's own index would be a tie."""
    if not rows or len(distractors) != rows or len({len(others) for others in distractors}) > 1:
        raise NlaError(f"distractors of {len(distractors)} rows for {rows}, or not equally many")
    for row, others in enumerate(distractors):
        if not all(0 <= other < rows and other != row for other in others):
            raise NlaError(f"distractors {others} of row {row} are not other rows below {rows}")
