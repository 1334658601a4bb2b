"""What an experiment can replace in reinforcement learning, besides models and settings."""

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
"""Texts of the AV and their keys → as many texts, as the AR gets them.

They depend on text and key alone, or a resumed run would not be the same.
"""
AfterRollout = Callable[[Scored, PolicyBatch, int], None]
"""A rollout, its batch (with several processes: this one's share), and its number from 0."""


def unchanged(texts: list[str], keys: Sequence[str]) -> list[str]:
    """The channel that leaves texts as they are."""
    return texts


def nothing_visible(key: str) -> tuple[int, ...]:
    """The view of an AR that reads explanations alone."""
    return ()


def do_nothing(scored: Scored, batch: PolicyBatch, number: int) -> None:
    """The default hook."""


class PolicyContext(NamedTuple):
    """Everything but `variance` and `seed` has a default, as in the control.

    A part that is an `nn.Module` becomes part of the PolicyModule: its buffers and its
    `get_extra_state` survive a resume. With several processes, those of the first are kept.
    """

    variance: float
    """Variance of the dev activations, the fixed denominator of `dev_fve`."""
    seed: int
    precision: str = "32-true"
    """As in TrainerConfig."""
    engine: Engine = own_engine
    """The engine that samples explanations."""
    splice: Splice | None = None
    channel: Channel = unchanged
    """Between AV and AR: what rewards, the AR's training and dev metrics of reconstructions get.
    Log-probabilities and monitors of the AV use the text as it was written."""
    view: Callable[[str], tuple[int, ...]] = nothing_visible
    """Key → token ids of the part of the input that the AR may see."""
    rewarder: Rewarder | None = None
    """What reads explanations for the reward; None: the AR that learns."""
    after_rollout: AfterRollout = do_nothing
    """Called with each rollout before training on it: to log, or to adapt."""
