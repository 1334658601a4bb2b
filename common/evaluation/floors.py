"""Comparison rows of every table: a constant, a bag of words, an encoder, and the ceiling."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.device import best_device
from common.errors import NlaError, first_line
from common.evaluation.ridge import fit_by_document
from common.metrics.words import SIGN, SPACED
from common.packages import source_path
from common.schema import Reader, Reading, TokenBatch
from common.target.load import Target, loading_errors
from common.target.residual import read_residual

ALPHAS = tuple(10.0**power for power in range(-2, 6))
MOST_FEATURES = 1024


class FloorError(Exception):
    """Why a floor cannot be fitted to some texts; a report prints it in the floor's place."""


class Floors(NamedTuple):
    """Floors by name: those that could be fitted, and for the others the reason why not."""

    readers: dict[str, Reader]
    missing: dict[str, str]


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


def tfidf_ridge(
    texts: Sequence[str], activations: Float[Tensor, "rows d_model"], documents: Sequence[str]
) -> Reader:
    """TF-IDF of words and word pairs, ridge regression to n(h).

    The words are those that occur in at least two texts. They are reduced to singular directions, a
    quarter as many as texts, unless there are fewer words. The penalty is cross-validated by
    document, because positions of one document share its title. FloorError where no word is left.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        min_df=2,
        sublinear_tf=True,
        token_pattern=rf"{SIGN}|{SPACED}|[^\w\s]",
    )
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError as error:  # scikit-learn raises it for an empty vocabulary
        raise FloorError(f"no word stands in two of the {len(texts)} texts") from error
    width = max(1, min(MOST_FEATURES, len(texts) // 4))
    dense = FunctionTransformer(lambda sparse: sparse.toarray(), accept_sparse=True)
    reduce = TruncatedSVD(width, random_state=0) if counts.shape[1] > width else dense
    features = reduce.fit_transform(counts)
    return _ridge(features, activations, documents, make_pipeline(vectorizer, reduce).transform)


def embedding_ridge(
    texts: Sequence[str],
    activations: Float[Tensor, "rows d_model"],
    documents: Sequence[str],
    embed: "Embedder",
) -> Reader:
    """A frozen sentence encoder, then ridge regression to n(h); the rest as in `tfidf_ridge`."""
    return _ridge(embed(texts), activations, documents, embed)


def own_blocks(
    target: Target, layer: int, token_ids: list[list[int]]
) -> Float[Tensor, "rows d_model"]:
    """The target's own first blocks on the source text: FVE > 0.999, or the layer is off by one."""
    device = next(target.model.parameters()).device
    rows = []
    for ids in token_ids:
        tokens = torch.tensor([ids], device=device)
        batch = TokenBatch(tokens, torch.ones_like(tokens, dtype=torch.bool))
        last = (torch.tensor([0], device=device), torch.tensor([len(ids) - 1], device=device))
        rows.append(read_residual(target.model, batch, [layer], last, choices=0).activations[layer])
    return torch.cat(rows)


class Embedder:
    """Mean-pooled, unit-length embeddings of a frozen encoder; each text is encoded once."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int = 64) -> None:
        """`model` gives `last_hidden_state`."""
        self.model = model.eval().to(best_device())
        self.tokenizer, self.batch_size = tokenizer, batch_size
        self.known: dict[str, np.ndarray] = {}

    @classmethod
    def load(cls, source: str, sha256: str | None, target: Target) -> "Embedder":
        """`target` (its own hidden states), a folder, a hub name or a package."""
        path = source_path(source, sha256)
        if path == "target":
            return cls(target.model.get_decoder(), target.tokenizer)
        from transformers import AutoModel, AutoTokenizer

        try:
            return cls(AutoModel.from_pretrained(path), AutoTokenizer.from_pretrained(path))
        except loading_errors() as error:
            what = f"no such embedder, or a damaged one ({first_line(error)})"
            remedy = "correct evaluation.embedder, or set it to `target`, which needs no download"
            raise NlaError(what, where=source, remedy=remedy) from error

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings [len(texts), width]."""
        new = sorted(
            {text for text in texts if text not in self.known}, key=lambda text: (len(text), text)
        )
        for start in range(0, len(new), self.batch_size):
            chunk = new[start : start + self.batch_size]
            batch = self.tokenizer(
                [text or " " for text in chunk],
                padding=True,
                truncation=True,
                max_length=256,
                split_special_tokens=True,
                return_tensors="pt",
            )
            inputs = {
                name: batch[name].to(best_device()) for name in ("input_ids", "attention_mask")
            }
            hidden = self.model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].float()
            pooled = ((hidden * mask).sum(1) / mask.sum(1).clamp(min=1)).cpu()
            self.known |= zip(
                chunk, torch.nn.functional.normalize(pooled, dim=1).numpy(), strict=True
            )
        return np.stack([self.known[text] for text in texts])


def _ridge(
    features: np.ndarray, activations: Tensor, documents: Sequence[str], transform: Any
) -> Reader:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(set(documents)) < 2:
        raise FloorError("the texts are of a single document")
    model = make_pipeline(StandardScaler(), Ridge())
    found = fit_by_document(model, {"ridge__alpha": ALPHAS}, features, activations, documents)

    def read(readings: Sequence[Reading]) -> Float[Tensor, "rows d_model"]:
        """A floor sees explanations only, no source."""
        return torch.from_numpy(found.predict(transform([one.text for one in readings]))).float()

    return read
