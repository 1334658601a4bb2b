"""Small ARs that see some of the input, fitted to activations made by hand."""

import torch
from torch import Tensor

from ar_variants.input_aware.informed import ClosedForm, InformedReconstructor, Taught
from ar_variants.input_aware.views import LastTokens
from common.metrics.fve import normalize
from common.schema import Reading
from common.target.load import Target

ROWS, WIDTH, LAYER = 60, 64, 2
SOURCES = [(3, 5 + row % 7, 9 + row % 11) for row in range(ROWS)]
TEXTS = ["On rivers, cold and deep.", 'Ends with "the shore".', "Music, and more music, and song."]
READINGS = [Reading(text, SOURCES[row]) for row, text in enumerate(TEXTS)]


def activations() -> Tensor:
    """One direction for each last token, and some noise."""
    drawn = torch.Generator().manual_seed(0)
    own = torch.randn(64, WIDTH, generator=drawn)
    noise = 0.2 * torch.randn(ROWS, WIDTH, generator=drawn)
    return 30 * (own[[source[-1] for source in SOURCES]] + noise + 1)


def taught() -> Taught:
    """A document for each row."""
    return Taught(SOURCES, activations(), [str(row) for row in range(ROWS)])


def informed(
    target: Target, kind: type[InformedReconstructor] = InformedReconstructor
) -> InformedReconstructor:
    """Prepared, not trained."""
    torch.manual_seed(0)
    closed = ClosedForm(LastTokens(target, LAYER, 1, low=False), normalize(activations()).mean(0))
    model = kind(target.model, target.tokenizer, LAYER + 1, 96, closed, taught)
    rows = activations()[: len(READINGS)]
    model.prepare(READINGS, rows, ["a", "b", "c"])
    return model.eval()
