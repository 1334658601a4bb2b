"""Which models learn in reinforcement learning, and with which parameters."""

from common.config import RLConfig
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer


def prepare_learners(
    verbalizer: Verbalizer, reconstructor: Reconstructor | None, config: RLConfig
) -> None:
    """Put new adapters on the warm-started AV; freeze what is not trained."""
    verbalizer.adapt_anew(config.lora_rank, trainable=config.trained != "ar")
    if reconstructor is not None and config.trained == "av":
        reconstructor.requires_grad_(False)
