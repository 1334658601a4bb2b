"""Floors that are fitted to texts."""

import pytest
import torch
from torch import Tensor

from common.evaluation.embedder import Embedder
from common.evaluation.floors import (
    FloorError,
    Lesson,
    embedding_ridge,
    fit_all,
    mean_direction,
    tfidf_ridge,
)
from common.metrics.fve import fve, squared_errors, training_mean, variance
from common.schema import Reader, readings_of
from common.target.load import Target


def topic_ridges(target: Target, texts: list[str], activations: Tensor) -> dict[str, Reader]:
    embed = Embedder(target.model.model, target.tokenizer)
    documents = [str(row // 8) for row in range(len(texts))]
    return {
        "tfidf": tfidf_ridge(Lesson(texts, activations, documents)),
        "embedding": embedding_ridge(Lesson(texts, activations, documents), embed),
    }


def test_ridge_floors_find_what_the_words_give_away(target: Target):
    torch.manual_seed(0)
    topics = {name: torch.randn(16) for name in ("music", "rivers", "kings", "bread")}
    numbers = [str(number) for number in range(40)]
    texts = [f"A note on {topic}, number {number}." for number in numbers for topic in topics]
    activations = torch.stack([topics[topic] for _ in numbers for topic in topics])
    mean = training_mean(activations)
    held_out = readings_of([f"A note on {topic}, number 77." for topic in topics])
    truth = torch.stack(list(topics.values()))
    for name, read in topic_ridges(target, texts, activations).items():
        assert fve(squared_errors(read(held_out), truth), variance(truth, mean)) > 0.9, name


def test_signs_are_words_where_no_space_parts_them():
    torch.manual_seed(0)
    topics = {name: torch.randn(16) for name in ("音乐", "河流", "国王", "面包")}
    texts = [f"关于{topic}的第{n}篇" for n in range(40) for topic in topics]
    activations = torch.stack([topics[topic] for _ in range(40) for topic in topics])
    read = tfidf_ridge(Lesson(texts, activations, [str(row // 8) for row in range(160)]))
    truth, mean = torch.stack(list(topics.values())), training_mean(activations)
    found = read(readings_of([f"关于{topic}的文章" for topic in topics]))
    assert fve(squared_errors(found, truth), variance(truth, mean)) > 0.9


@pytest.mark.parametrize(
    "texts",
    [
        ["The same text about lakes."] * 190 + [f"Number {number}." for number in range(10)],
        ["The same text about lakes."] * 200,
        ["lake"] * 200,
        ["a lake", "a bay", "a lake"],
    ],
    ids=["nearly the same", "the same", "one word", "three"],
)
def test_a_floor_is_as_wide_as_its_texts_allow(texts: list[str]):
    documents = [str(row // 2) for row in range(len(texts))]
    read = tfidf_ridge(Lesson(texts, torch.randn(len(texts), 8), documents))
    found = read(readings_of([texts[0], "a word of no text", ""]))
    assert found.shape == (3, 8)
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("texts", "documents", "reason"),
    [
        (["one", "two", "three", "four"], list("aabb"), "no word stands in two of the 4 texts"),
        (["", "", " ", ""], list("aabb"), "no word stands in two of the 4 texts"),
        (["a lake"] * 4, ["a"] * 4, "the texts are of a single document"),
    ],
)
def test_a_floor_that_cannot_be_fitted_has_its_reason(texts: list, documents: list, reason: str):
    def fit() -> Reader:
        return tfidf_ridge(Lesson(texts, torch.randn(4, 8), documents))

    with pytest.raises(FloorError, match=reason):
        fit()
    found = fit_all({"tfidf_ridge": fit, "mean_direction": lambda: mean_direction(torch.ones(8))})
    assert found.missing == {"tfidf_ridge": reason}
    assert list(found.readers) == ["mean_direction"]


def test_a_sentence_embedding_does_not_depend_on_its_neighbours(target: Target):
    texts = ["a lake", "the long road to the northern hills and back", "salt"]
    together = Embedder(target.model.model, target.tokenizer)(texts)
    for text, found in zip(texts, together, strict=True):
        alone = Embedder(target.model.model, target.tokenizer)([text])[0]
        assert found == pytest.approx(alone, abs=1e-5)
        assert float((found**2).sum()) == pytest.approx(1, abs=1e-5)
