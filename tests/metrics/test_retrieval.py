import pytest
import torch

from common.errors import NlaError
from common.metrics.fve import training_mean
from common.metrics.retrieval import distractor_indices, retrieval_ranks, retrieval_summary

DOCUMENTS = ["d0", "d0", "d0", "d1", "d1", "d2", "d3", "d3"]
TOKENS = [7, 7, 5, 7, 9, 7, 5, 4]
PLACES = {4: 0.0, 5: 10.0, 7: 13.0, 9: 20.0}
"""Where the ridge on the last token puts each token, on a line."""
PREDICTIONS = torch.tensor([[PLACES[token]] for token in TOKENS])


def drawn(count: int, key: str = "k") -> list[list[int]]:
    return distractor_indices(TOKENS, DOCUMENTS, PREDICTIONS, count, key)


def test_distractors_are_distinct_and_of_other_documents():
    for count in range(6):
        for row, chosen in enumerate(drawn(count)):
            assert len(chosen) == len(set(chosen)) == count
            assert all(DOCUMENTS[other] != DOCUMENTS[row] for other in chosen)


def test_the_same_last_token_comes_first_then_the_nearest_prediction():
    chosen = drawn(4)
    assert set(chosen[0][:2]) == {3, 5}, "token 7 of other documents"
    assert chosen[0][2:] == [6, 4], "10 and 20 are nearer to 13 than 0"
    assert chosen[2] == [6, *chosen[2][1:3], 4], "the other 5, then both 7"
    assert set(chosen[2][1:3]) == {3, 5}
    assert set(chosen[7][:1]) == {2}, "no other 4: the 5 of another document is the nearest"


def test_the_draw_among_equals_depends_on_the_key_alone():
    alike, documents = [7] * 50, [f"d{row}" for row in range(50)]
    same = torch.zeros(50, 3)
    first = distractor_indices(alike, documents, same, 5, "k")
    assert first == distractor_indices(alike, documents, same, 5, "k")
    assert first != distractor_indices(alike, documents, same, 5, "other")
    assert len({other for chosen in first for other in chosen}) > 1


def test_refuses_too_few_rows_of_other_documents():
    assert len(drawn(5)[0]) == 5
    with pytest.raises(NlaError, match="cannot draw 6 distractors from 5 rows of other documents"):
        drawn(6)
    with pytest.raises(NlaError, match="7 last tokens"):
        distractor_indices(TOKENS[:-1], DOCUMENTS, PREDICTIONS, 2, "k")


def test_ranks_by_hand():
    activations = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    mean = torch.zeros(2)
    predictions = torch.tensor([[1.0, 0.1], [0.1, 1.0], [1.0, 0.0]])
    ranks = retrieval_ranks(predictions, activations, [[1, 2], [0, 2], [0, 1]], mean)
    assert ranks.tolist() == [1, 2, 3]
    assert retrieval_summary(ranks) == {
        "top_1": pytest.approx(1 / 3),
        "mrr": pytest.approx((1 + 1 / 2 + 1 / 3) / 3),
    }


def test_ties_and_missing_numbers_rank_last():
    activations = torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
    predictions = torch.stack([activations[0], activations[1], torch.full((2,), torch.nan)])
    ranks = retrieval_ranks(predictions, activations, [[1, 2], [2, 0], [0, 1]], torch.zeros(2))
    assert ranks.tolist() == [2, 2, 3]


def test_true_activations_win_and_the_mean_direction_does_not():
    torch.manual_seed(0)
    activations = torch.randn(40, 16) + 10
    mean = training_mean(activations)
    documents = [f"d{row}" for row in range(40)]
    distractors = distractor_indices([1] * 40, documents, mean.expand(40, 16), 7, "k")
    assert (retrieval_ranks(activations, activations, distractors, mean) == 1).all()
    constant = retrieval_ranks(mean.expand(40, 16), activations, distractors, mean)
    assert retrieval_summary(constant)["top_1"] < 0.5


def test_centring_ignores_the_common_direction():
    # n(ĥ) has the right tilt from μ but too little of it: raw cosines would pick the distractor.
    common = torch.tensor([10.0, 0.0, 0.0])
    activations = common + torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 0.1]])
    predictions = common + torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 0.1]])
    others = [[1], [0]]
    mean = torch.tensor([3.0**0.5, 0.0, 0.0])
    assert retrieval_ranks(predictions, activations, others, torch.zeros(3)).tolist() == [2, 1]
    assert retrieval_ranks(predictions, activations, others, mean).tolist() == [1, 1]


@pytest.mark.usefixtures("unchecked_types")
def test_shapes_that_differ_are_refused():
    rows, others, mean = torch.eye(2), [[1], [0]], torch.zeros(2)
    wrong = [
        (rows[:1], rows, others, mean),
        (rows, rows[:1], others, mean),
        (rows, rows, others, torch.zeros(1)),
    ]
    for arguments in wrong:
        with pytest.raises(NlaError, match="cannot rank"):
            retrieval_ranks(*arguments)


@pytest.mark.parametrize("others", [[[1]], [[1], []], [[1], [-2]], [[1], [2]], [[1], [1]]])
def test_distractors_that_are_not_other_rows_are_refused(others: list[list[int]]):
    with pytest.raises(NlaError, match="distractors"):
        retrieval_ranks(torch.eye(2), torch.eye(2), others, torch.zeros(2))


@pytest.mark.usefixtures("unchecked_types")
def test_nothing_and_none_are_refused():
    with pytest.raises(NlaError, match="retrieval of 0 rows"):
        retrieval_summary(torch.zeros(0, dtype=torch.long))
    with pytest.raises(NlaError, match="start at 1"):
        retrieval_summary(torch.tensor([1, 0]))
    with pytest.raises(NlaError, match="distractors of 0 rows"):
        retrieval_ranks(torch.zeros(0, 2), torch.zeros(0, 2), [], torch.zeros(2))
    for tokens, documents in (([1, None], ["a", "b"]), ([1, 2], [None, "b"])):
        with pytest.raises(NlaError, match="1 rows have no document or no last token"):
            distractor_indices(tokens, documents, torch.zeros(2, 2), 1, "k")
