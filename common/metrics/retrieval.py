"""Retrieval: does an explanation single out its own activation among others of its document?"""

from collections import defaultdict

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.errors import NlaError
from common.metrics.fve import normalize
from common.seeding import keyed_random


def distractor_indices(
    groups: list[str], doc_ids: list[str], count: int, key: object
) -> list[list[int]]:
    """Draw hard distractors for every row: its own document first, then its group, then any row.

    Distractors from anywhere are too easy: every method then scores near 1.

    Args:
        groups: topic of each row; rows without one share the empty string.
        doc_ids: document of each row.
        count: distractors for each row.
        key: seed of the draw; the same key and rows give the same distractors.

    Returns:
        `count` distinct row indices for each row, never the row itself.

    Raises:
        NlaError: for columns of different lengths or with None, or fewer than `count` other rows.
    """
    rows = len(doc_ids)
    if unknown := sum(label is None for label in (*groups, *doc_ids)):
        raise NlaError(f"{unknown} rows have no document or no group", remedy="name all of them")
    if len(groups) != rows or not 0 <= count < rows:
        raise NlaError(
            f"cannot draw {count} distractors from {rows} rows with {len(groups)} groups",
            remedy="evaluate more activations or ask for fewer distractors",
        )
    by_document, by_group = _members(doc_ids), _members(groups)
    drawn = []
    for row, (doc_id, group) in enumerate(zip(doc_ids, groups, strict=True)):
        generator = keyed_random("distractors", key, row)
        chosen: list[int] = []
        for pool in (by_document[doc_id], by_group[group], range(rows)):
            taken, missing = {row, *chosen}, count - len(chosen)
            # Drawing more by the number already taken leaves enough after those are dropped.
            candidates = generator.sample(pool, min(len(pool), missing + len(taken)))
            chosen += [other for other in candidates if other not in taken][:missing]
        drawn.append(chosen)
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


def _members(labels: list[str]) -> dict[str, list[int]]:
    """Rows of each label, in order."""
    members = defaultdict(list)
    for row, label in enumerate(labels):
        members[label].append(row)
    return members
