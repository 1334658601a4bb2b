"""A fitted AR is fitted again to what an AV has written."""

from typing import Any

import torch

from ar_variants.flowchart.fitted import FittedReconstructor
from ar_variants.flowchart.refitting import Refitting
from common.evaluation.floors import Lesson
from common.schema import PolicyBatch, readings_of
from common.target.load import Target
from common.training.reward import Scored


class Noted(FittedReconstructor):
    """Notes what it is fitted to."""

    lessons: list[Lesson]

    def fit(self, lesson: Lesson) -> None:
        self.lessons = [*getattr(self, "lessons", []), lesson]
        self.start.data = self.start.data + 1


def scored(number: int) -> Scored:
    """One rollout: two activations, two explanations of each, the last one invalid."""
    texts = [f"text {number}.{row}" for row in range(4)]
    no_rollouts: Any = None
    valid = torch.tensor([True, True, True, False])
    nothing = torch.zeros(4)
    return Scored(
        no_rollouts, texts, readings_of(texts), valid, nothing, nothing[:, None], nothing, None
    )


def refitting(target: Target) -> tuple[Noted, Refitting]:
    from ar_variants.flowchart.fitted import Frame

    model = Noted(Frame(target.tokenizer, 96, 3))
    taught = Lesson(["taught"], torch.zeros(1, 3), ["d0"])
    return model, Refitting(model, taught, lambda keys: [f"of {key}" for key in keys], every=2)


def rollout(hook: Refitting, number: int) -> None:
    activations = torch.tensor([[1.0, 0.0, 0.0], [0.0, float(number), 0.0]])
    hook(scored(number), PolicyBatch(["a", "b"], activations, activations), number)


def test_it_is_fitted_after_every_second_rollout_to_valid_texts_of_these_two(target: Target):
    model, hook = refitting(target)
    for number in range(4):
        rollout(hook, number)
        assert len(getattr(model, "lessons", [])) == (number + 1) // 2
    last = model.lessons[1]
    assert last.texts == ["taught", *(f"text {n}.{row}" for n in (2, 3) for row in range(3))]
    assert last.documents == ["d0", *["of a", "of a", "of b"] * 2]
    assert last.activations[[3, 6]].tolist() == [[0.0, 2.0, 0.0], [0.0, 3.0, 0.0]]


def test_model_and_texts_survive_a_resume(target: Target):
    model, hook = refitting(target)
    for number in range(3):
        rollout(hook, number)
    state = hook.get_extra_state()
    again, resumed = refitting(target)
    resumed.set_extra_state(state)
    assert torch.equal(again.start, model.start)
    for one, other in ((hook, model), (resumed, again)):
        rollout(one, 3)
        assert other.lessons[-1].texts[1:4] == ["text 2.0", "text 2.1", "text 2.2"]
