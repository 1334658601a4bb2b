"""The target's own first blocks as a reader of the source text: all of it, or its last tokens."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.data.activations import 
