"""An AR that reads visible tokens behind the explanation."""

import pytest
import torch

from ar_variants.input_aware.informed import ClosedForm
from ar_variants.input_aware.seeing import SeeingReconstructor
from ar_variants.input_aware.views import LastTokens
from common.errors import NlaError
from common.metrics.fve import normalize
from common.models.reconstructor import TruncatedReconstructor
from common.schema import Reading
from common.target.load import Target
from tests.ar_variants.input_aware.made import LAYER, READINGS, activations, taught
from tests.families import with_bos

SEEN = (5, 9, 7)


def seeing(target: Target, tokenizer: object = None, count: int = 16) -> SeeingReconstructor:
    closed = ClosedForm(
        LastTokens(target, LAYER, count, low=False), normalize(activations()).mean(0)
    )
    parts = target.model, tokenizer or target.tokenizer, LAYER + 1, 96, closed, taught
    return SeeingReconstructor(count, *parts).eval()


@pytest.fixture
def model(target: Target) -> SeeingReconstructor:
    found = seeing(target)
    found.prepare(READINGS, activations()[: len(READINGS)], ["a", "b", "c"])
    return found


def test_visible_tokens_stand_behind_the_prompt(model: SeeingReconstructor):
    readings = [Reading("Music.", SEEN), Reading("Music, and more of it.")]
    tokens = model.encode(readings).tokens
    rows = [ids[mask].tolist() for ids, mask in zip(*tokens, strict=True)]
    after = list(model.template.after)
    assert rows[0][-3:] == list(SEEN)
    assert rows[0][: len(model.template.before)] == list(model.template.before)
    assert rows[0][-3 - len(after) : -3] == after
    assert rows[1][-len(after) :] == after
    assert model.tokens_in(readings) == sum(map(len, rows))


@torch.no_grad()
def test_without_anything_visible_it_reads_as_the_published_ar(
    model: SeeingReconstructor, target: Target
):
    published = TruncatedReconstructor(target.model, target.tokenizer, LAYER + 1, 96).eval()
    readings = [Reading("Music."), Reading("On rivers, cold and deep.")]
    states = published.last_state(published.encode(readings))
    assert torch.allclose(model.last_state_of(model.encode(readings)), states, atol=1e-4)
    expected = model.mean + (states + model.head.bias) / model.closed.unit
    assert torch.allclose(model(model.encode(readings)), expected, atol=1e-3)


@torch.no_grad()
def test_words_and_tokens_both_matter_and_batches_do_not(model: SeeingReconstructor):
    readings = [Reading("Music.", SEEN), Reading("Rivers and more.", SEEN), Reading("", (8, *SEEN))]
    readings += [Reading("Music.", (9, 7)), Reading("Music.")]
    found = model(model.encode(readings))
    alone = torch.cat([model(model.encode([one])) for one in readings])
    assert torch.allclose(found, alone, atol=1e-3)
    for row in range(4):
        assert not torch.allclose(found[row], found[row + 1], atol=0.1)


def test_what_begins_every_text_is_not_read_twice(target: Target):
    tokenizer = with_bos(target.tokenizer)
    begins = tokenizer.bos_token_id
    model = seeing(target, tokenizer)
    (row,) = model.encode([Reading("Music.", (begins, *SEEN))]).tokens.ids.tolist()
    assert row.count(begins) == 1
    assert row[-3:] == list(SEEN)


def test_a_view_longer_than_the_window_is_refused(target: Target):
    room = target.model.config.max_position_embeddings
    with pytest.raises(NlaError, match=r"a view of \d+ tokens.*`tokens`"):
        seeing(target, count=room)
