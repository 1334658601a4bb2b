"""The closed-form reader of explanations, and nearest neighbours."""

import pytest
import torch
from torch import Tensor

from common.evaluation.floors import FloorError, Lesson
from common.evaluation.look_up import look_up, quoted_features
from common.evaluation.nearest import nearest, nearest_words
from common.evaluation.word_vectors import WordVectors
from common.metrics.fve import fve, normalize, squared_errors, training_mean, variance
from common.schema import readings_of
from common.target.load import Target

WORDS = ("river", "king", "music", "bread", "lake", "north", "stone", "field")


@pytest.fixture
def vectors(target: Target) -> WordVectors:
    return WordVectors(target)


def last_vector(vectors: WordVectors, word: str) -> Tensor:
    ids = vectors.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    return vectors.table[ids[-1]]


def mean_vector(vectors: WordVectors, word: str) -> Tensor:
    ids = vectors.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    return vectors.table[ids].mean(0)


def test_the_first_quotation_ends_in_the_last_word_and_the_others_come_next(vectors: WordVectors):
    texts = [
        'Ends with "the old river". Next probably "king", else "lake".',
        'On "music".',
        "A note on bread",
        "",
    ]
    last, following = quoted_features(texts, vectors)
    for row, word in enumerate(("river", "music", "bread")):
        assert torch.equal(last[row], last_vector(vectors, word))
    expected = (mean_vector(vectors, "king") + mean_vector(vectors, "lake")) / 2
    assert torch.allclose(following[0], expected, atol=1e-6)
    assert (following[1:] == 0).all()
    assert (last[3] == 0).all()


def test_words_that_are_quoted_are_looked_up(vectors: WordVectors):
    """The last word decides the activation; it stands in no other text as often."""
    torch.manual_seed(0)
    place = {word: torch.randn(16) for word in WORDS}
    pairs = [(first, second) for first in WORDS for second in WORDS] * 3
    texts = [f'Ends with "{a} and {b}". Next may be "{a}".' for a, b in pairs]
    activations = torch.stack([place[b] + 0.5 * place[a] for a, b in pairs])
    documents = [str(row // 4) for row in range(len(texts))]
    read = look_up(Lesson(texts, activations, documents), vectors)
    errors = squared_errors(read(readings_of(texts)), activations)
    assert fve(errors, variance(activations, training_mean(activations))) > 0.9
    odd = read(readings_of(["", "no quotation", 'x "']))
    assert odd.shape == (3, 16)
    assert odd.isfinite().all()


def test_texts_without_quotations_are_read_by_their_words(vectors: WordVectors):
    torch.manual_seed(0)
    place = {word: torch.randn(16) for word in WORDS}
    texts = [f"On {word}, number {row}" for row in range(12) for word in WORDS]
    activations = torch.stack([place[word] for _ in range(12) for word in WORDS])
    documents = [str(row // 3) for row in range(len(texts))]
    read = look_up(Lesson(texts, activations, documents), vectors)
    found = read(readings_of([f"On {word}, number 77" for word in WORDS]))
    truth = torch.stack([*place.values()])
    assert fve(squared_errors(found, truth), variance(truth, training_mean(truth))) > 0.9


def test_why_it_cannot_be_fitted(vectors: WordVectors):
    with pytest.raises(FloorError, match="a single document"):
        look_up(Lesson(["a lake"] * 4, torch.randn(4, 8), ["a"] * 4), vectors)
    with pytest.raises(FloorError, match="no word stands in two"):
        look_up(Lesson(["lake", "river"], torch.randn(2, 8), ["a", "b"]), vectors)


def test_nearest_words_answer_with_a_training_activation():
    texts = ["the river and the king", "music of the north", "the river and the king"]
    activations, mean = torch.randn(3, 8), torch.randn(8)
    read = nearest_words(Lesson(texts, activations, ["a", "b", "c"]), mean)
    found = read(readings_of(["king of the river", "zebra", texts[0]]))
    assert torch.equal(found[0], normalize(activations)[0]), "the first of equals"
    assert torch.equal(found[1], mean), "no known word"
    assert torch.equal(found[2], normalize(activations)[0])
    assert read([]).shape == (0, 8)


def test_the_nearest_activation_is_that_of_the_largest_cosine_from_the_mean():
    """From μ, the first two lie above and below; raw cosines would tell them apart by little."""
    known = torch.tensor([[10.0, 1.0], [10.0, -1.0], [1.0, 30.0]])
    mean = torch.tensor([2**0.5, 0.0])
    asked = torch.tensor([[20.0, 3.0], [3.0, -1.0], [-1.0, 10.0]])
    assert nearest(asked, known, mean).tolist() == [0, 1, 2]
    assert nearest(known, known, mean).tolist() == [0, 1, 2]
