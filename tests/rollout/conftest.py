from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from common.config import AVConfig
from common.models.verbalizer import Verbalizer
from common.target.load import Target
from decomposition.protocol import Decomposition
from tests.adapters import stir

ROWS = 8


@pytest.fixture(scope="module")
def activations() -> Tensor:
    return 30 * torch.randn(ROWS, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def make(target: Target, av_config: AVConfig) -> Callable[..., Verbalizer]:
    """AVs whose adapters have learned something: fresh ones do nothing."""

    def build(decomposition: Decomposition | None = None, **settings: object) -> Verbalizer:
        torch.manual_seed(0)
        config = av_config.replace(**settings)
        verbalizer = Verbalizer(target.model, target.tokenizer, config, 5.0, decomposition)
        generator = torch.Generator().manual_seed(0)
        return stir(verbalizer, generator=generator).eval()

    return build
