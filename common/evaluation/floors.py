"""Floors that are fitted to texts: a constant, words, an encoder's states."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from common.evaluation.embedder import Embedder
from common.evaluation.ridge import LinearMap, ridge_by_document
from common.metrics.words import SIGN, SPACED
from common.schema import Reader, Reading

MOST_FEATURES = 1024


class FloorError(Exception):
    """Why a floor cannot be fitted to some texts; a report prints it in the floor's place."""


class Floors(NamedTuple):
    """Floors by name: those that could be fitted, and for the others the reason why not."""

    readers: dict[str, Reader]
    missing: dict[str, str]


class Lesson(NamedTuple):
    """What a floor is fitted to: texts, the activations they explain, and their documents."""

    texts: Sequence[str]
    activations: Float[Tensor, "rows d_model"]
    documents: Sequence[str]


def fit_all(fits: Mapping[str, Callable[[], Reader]]) -> Floors:
    """Call each function that fits a floor."""
    found = Floors({}, {})
    for name, fit in fits.items():
        try:
            found.readers[name] = fit()
        except FloorError as error:
            found.missing[name] = str(error)
    return found


def mean_direction(mean: Float[Tensor, " d_model"]) -> Reader:
    """Always answers μ, whatever the text (its direction, because FVE normalises a prediction)."""
    return lambda readings: mean.expand(len(readings), -1)


def tfidf_ridge(lesson: Lesson) -> Reader:
    """TF-IDF of words and word pairs, in singular directions of equal weight, ridge to n(h).

    A quarter as many directions as texts, unless there are fewer words. FloorError where no word
    stands in two texts, or all are of one document.
    """
    words = WordDirections(lesson.texts, min(MOST_FEATURES, len(lesson.texts) // 4))
    features = words(lesson.texts)
    spread = features.std(0, correction=0)
    scale = spread.where(spread > 0, 1.0)
    found = fit_map([features / scale], lesson)
    return reads_texts(lambda texts: found(words(texts) / scale))


def embedding_ridge(lesson: Lesson, embed: Embedder) -> Reader:
    """A frozen sentence encoder, then ridge to n(h)."""
    found = fit_map([torch.from_numpy(embed(lesson.texts))], lesson)
    return reads_texts(lambda texts: found(torch.from_numpy(embed(texts))))


class WordDirections:
    """TF-IDF of words and word pairs, reduced to its singular directions."""

    def __init__(self, texts: Sequence[str], width: int) -> None:
        """Knows the words that stand in two of the texts; FloorError where there are none."""
        from sklearn.decomposition import TruncatedSVD

        self.vectorizer, counts = counted(texts)
        self.directions: Float[Tensor, "width words"] = torch.zeros(0, counts.shape[1])
        """None where the words themselves are few enough."""
        if counts.shape[1] > max(1, width):
            found = TruncatedSVD(max(1, width), random_state=0).fit(counts)
            self.directions = torch.from_numpy(found.components_)

    @classmethod
    def of(
        cls, words: list[str], weights: Float[Tensor, " words"], directions: Tensor
    ) -> "WordDirections":
        """From its `words`, `weights` and `directions`."""
        found = cls.__new__(cls)
        found.vectorizer, found.directions = vectorizer(words), directions
        found.vectorizer.idf_ = weights.double().numpy()
        return found

    @property
    def words(self) -> list[str]:
        """All words and word pairs that it knows, in their order."""
        return self.vectorizer.get_feature_names_out().tolist()

    @property
    def weights(self) -> Float[Tensor, " words"]:
        """The inverse document frequency of each."""
        return torch.from_numpy(self.vectorizer.idf_)

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "rows width"]:
        """The directions of some texts; zero for unknown words alone."""
        counts = self.vectorizer.transform(texts)
        if not len(self.directions):
            return torch.from_numpy(counts.toarray()).float()
        return torch.from_numpy(counts @ self.directions.numpy().T).float()


def counted(texts: Sequence[str], most: int | None = None) -> tuple[Any, Any]:
    """A fitted TF-IDF of words and word pairs that stand in at least two texts, and its matrix.

    Of all of them, or of the `most` frequent. Rows have length 1. FloorError where no word is left.
    """
    found = vectorizer(most=most)
    try:
        return found, found.fit_transform(texts)
    except ValueError as error:  # scikit-learn raises it for an empty vocabulary
        raise FloorError(f"no word stands in two of the {len(texts)} texts") from error


def vectorizer(known: list[str] | None = None, most: int | None = None) -> Any:
    """TF-IDF of words and word pairs: of those that are `known`, or to be fitted."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, 2),
        min_df=2,
        max_features=most,
        sublinear_tf=True,
        token_pattern=rf"{SIGN}|{SPACED}|[^\w\s]",
        vocabulary=known,
    )


def fit_map(blocks: Sequence[Float[Tensor, "rows _"]], lesson: Lesson) -> LinearMap:
    """As `ridge_by_document`; FloorError for texts of a single document."""
    if len(set(lesson.documents)) < 2:
        raise FloorError("the texts are of a single document")
    return ridge_by_document(blocks, lesson.activations, lesson.documents)


def reads_texts(answer: Callable[[Sequence[str]], Float[Tensor, "rows d_model"]]) -> Reader:
    """The reader that sees explanations only, no source."""

    def read(readings: Sequence[Reading]) -> Float[Tensor, "rows d_model"]:
        return answer([one.text for one in readings])

    return read
