"""What reinforcement learning is given beside models and settings: the joints of an experiment."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from common.rollout.engine import Engine
from common.rollout.sampler import own_engine
from common.schema import PolicyBatch
from common.training.reward import Scored
from common.training.rewarder import Rewarder

Splice = Callable[[list[str], Tensor], Tensor]
"""Keys and reconstructions [keys x samples, d_model] → KL in nats of each row."""
Channel = Callable[[list[str], Sequence[str]], list[str]]
"""Texts of the AV and their keys → as many texts, as they arrive at the AR.

By text and key alone, or a resumed run would not be the same.
"""
AfterRollout = Callable[[Scored, PolicyBatch, int], None]
"""A rollout, what it explains (in several processes: this one's share), and its number from 0."""


def unchanged(texts: list[str], keys: Sequence[str]) -> list[str]:
    """The channel that passes texts as they are."""
    return texts


def nothing_visible(key: str) -> tuple[int, ...]:
    """The view of an AR that reads explanations alone."""
    return ()


def do_nothing(scored: Scored, batch: PolicyBatch, number: int) -> None:
    """No experiment wants to know of the rollout."""


class PolicyContext(NamedTuple):
    """All but `variance` and `seed` has a default: the control.

    A part that is an `nn.Module` becomes one of the PolicyModule: its buffers and its
    `get_extra_state` survive a resume. Of several processes the first one's are kept.
    """

    variance: float
    """Of the dev activations: the fixed denominator of `dev_fve`."""
    seed: int
    precision: str = "32-true"
    """As in TrainerConfig."""
    engine: Engine = own_engine
    """What samples."""
    splice: Splice | None = None
    channel: Channel = unchanged
    """Stands between AV and AR: for rewards, the AR's learning and dev metrics of reconstructions.
    Log-probabilities and monitors of the AV are of the text as it was written."""
    view: Callable[[str], tuple[int, ...]] = nothing_visible
    """Key → token ids of the input as far as the AR may see them."""
    rewarder: Rewarder | None = None
    """Who reads for the reward; None: the AR that learns."""
    after_rollout: AfterRollout = do_nothing
    """Called with each rollout before anything is learned from it: to log, or to adapt."""
