"""Questions that a language model proposes, and questions that one answers."""

import copy
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.config import TeacherConfig
from common.data.api import ask
from common.device import best_device
from common.errors import NlaError
from common.progress import progress
from common.seeding import keyed_random
from common.target.load import Target
from common.target.parts import logits_of
from common.target.text import beginning

READ = "Explanation of what a language model has in mind:\n{}\n"
ASKS = "\nQuestion: {} Answer yes or no.\nAnswer:"
WORDS = {"yes": (" yes", " Yes", "yes", "Yes"), "no": (" no", " No", "no", "No")}
LEAST = 0.01
"""Probability of yes and no together below which an answer counts as neither, and so as no."""
SHOWN = 30
"""Explanations in one request for questions, and questions that are asked for."""
LONGEST = 30
"""Tokens of a question."""
_BULLET = re.compile(r"^[\s\-*\d.)]+")
INSTRUCTIONS = """\
You see explanations of what a language model has in mind at single places of texts. Write {} short
yes/no questions that tell such explanations apart: on subject, kind of word, grammar, style, what
comes next. Each must be plain to anybody, must be answered with yes by some of the explanations
and with no by others, and ends with a question mark. Write them one after another, not numbered,
between <explanation> and </explanation>, and nothing after them."""


class Judge:
    """Log odds of yes against no, by the next word of a frozen language model."""

    def __init__(self, target: Target, batch_size: int = 64) -> None:
        """NlaError if the tokenizer begins yes and no alike."""
        self.target, self.batch_size = target, batch_size
        target.model.to(best_device())
        self.known: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self.words = {
            word: sorted({self._ids(form)[0] for form in forms}) for word, forms in WORDS.items()
        }
        if {*self.words["yes"]} & {*self.words["no"]}:
            what = "its tokenizer begins yes and no with the same token"
            raise NlaError(what, where="target", remedy="set the arm's `proposed` to 0")

    def __deepcopy__(self, memo: dict) -> "Judge":
        """Itself: it never changes, and is large."""
        return self

    def __call__(self, texts: Sequence[str], questions: Sequence[str]) -> np.ndarray:
        """Log odds [texts, questions]; -inf where the model's next word is neither."""
        asked = {
            text: [one for one in questions if text not in self.known[one]]
            for text in dict.fromkeys(texts)
        }
        asked = {text: new for text, new in asked.items() if new}
        with progress("questions", len(asked), "texts") as bar:
            for text, new in asked.items():
                for question, odds in zip(new, self._odds(text, new), strict=True):
                    self.known[question][text] = odds
                bar.update(1)
        found = [[self.known[question][text] for question in questions] for text in texts]
        return np.array(found, dtype=np.float64).reshape(len(texts), len(questions))

    @torch.inference_mode()
    def _odds(self, text: str, questions: Sequence[str]) -> list[float]:
        """The text is read once for all questions."""
        decoder, odds = self.target.model.get_decoder(), []
        device = best_device()
        read = [*beginning(self.target.tokenizer), *self._ids(READ.format(text))]
        head = torch.tensor([read], device=device)
        kept = decoder(input_ids=head, use_cache=True).past_key_values
        for start in range(0, len(questions), self.batch_size):
            rows = [
                torch.tensor(self._ids(ASKS.format(one)))
                for one in questions[start : start + self.batch_size]
            ]
            last = torch.tensor([len(row) - 1 for row in rows])
            cache = copy.deepcopy(kept)
            cache.batch_repeat_interleave(len(rows))
            ids = pad_sequence(rows, batch_first=True).to(device)
            states = decoder(input_ids=ids, past_key_values=cache).last_hidden_state
            ends = states[torch.arange(len(rows), device=device), last.to(device)]
            odds += self._of_logits(logits_of(self.target.model, ends).float())
        return odds

    def _of_logits(self, logits: Tensor) -> list[float]:
        shares = logits.log_softmax(-1).cpu()
        yes, no = (shares[:, self.words[word]].logsumexp(-1) for word in ("yes", "no"))
        neither = torch.logaddexp(yes, no).exp() < LEAST
        return (yes - no).masked_fill(neither, -torch.inf).tolist()

    def _ids(self, text: str) -> list[int]:
        return self.target.tokenizer(text, add_special_tokens=False)["input_ids"]


def proposed(
    texts: Sequence[str], count: int, config: TeacherConfig, cache_folder: Path
) -> list[str]:
    """About `count` questions by the model of `teacher`; none where none is named.

    Each request shows some explanations, drawn by their number. Errors as in `common.data.api.ask`.
    """
    if not (config.model and texts and count):
        return []
    wanted = min(count, SHOWN)
    drawn = [
        keyed_random("questions", number).sample([*texts], min(SHOWN, len(texts)))
        for number in range(-(-count // wanted))
    ]
    system = {"role": "system", "content": INSTRUCTIONS.format(wanted)}
    asked = [[system, {"role": "user", "content": "\n".join(shown)}] for shown in drawn]
    room = config.model_copy(update={"max_tokens": max(config.max_tokens, LONGEST * wanted)})
    answers = [answer for answer in ask(asked, room, cache_folder) if answer]
    return [*dict.fromkeys(line for answer in answers for line in _lines(answer))][:count]


def _lines(answer: str) -> list[str]:
    """What ends with a question mark, without numbers and bullets before it."""
    parts = [_BULLET.sub("", part) for part in answer.split("?")[:-1]]
    return [f"{part}?" for part in parts if part]
