"""An AR that reads visible tokens behind the explanation."""

import pytest
import torch

from ar_variants.input_aware.seeing import SeeingReconstructor
from common.errors import NlaError
from common.models.reconstructor import TruncatedReconstructor
from common.schema import Reading
from common.target.load import Target
from tests.families import with_bos

SEEN = (5, 9, 7)


@pytest.fixture
def model(target: Target) -> SeeingReconstructor:
    return SeeingReconstructor(target.model, target.tokenizer, 3, 96, 16).eval()


def test_visible_tokens_stand_behind_the_prompt(model: SeeingReconstructor):
    tokens = model.encode([Reading("Music.", SEEN), Reading("Music, and more of it.")])
    rows = [ids[mask].tolist() for ids, mask in zip(*tokens, strict=True)]
    after = list(model.template.after)
    assert rows[0][-3:] == list(SEEN)
    assert rows[0][: len(model.template.before)] == list(model.template.before)
    assert rows[0][-3 - len(after) : -3] == after
    assert rows[1][-len(after) :] == after


@torch.no_grad()
def test_without_anything_visible_it_is_the_published_ar(
    model: SeeingReconstructor, target: Target
):
    published = TruncatedReconstructor(target.model, target.tokenizer, 3, 96).eval()
    readings = [Reading("Music."), Reading("On rivers, cold and deep.")]
    found = model(model.encode(readings))
    assert torch.allclose(found, published(published.encode(readings)), atol=1e-4)


@torch.no_grad()
def test_words_and_tokens_both_matter_and_batches_do_not(model: SeeingReconstructor):
    readings = [Reading("Music.", SEEN), Reading("Rivers and more.", SEEN), Reading("", (8, *SEEN))]
    readings.append(Reading("Music.", (9, 7)))
    found = model(model.encode(readings))
    alone = torch.cat([model(model.encode([one])) for one in readings])
    assert torch.allclose(found, alone, atol=1e-3)
    for row in range(3):
        assert not torch.allclose(found[row], found[row + 1], atol=0.1)


def test_what_begins_every_text_is_not_read_twice(target: Target):
    tokenizer = with_bos(target.tokenizer)
    model = SeeingReconstructor(target.model, tokenizer, 3, 96, 16)
    begins = tokenizer.bos_token_id
    (row,) = model.encode([Reading("Music.", (begins, *SEEN))]).ids.tolist()
    assert row.count(begins) == 1
    assert row[-3:] == list(SEEN)


def test_a_view_longer_than_the_window_is_refused(target: Target):
    room = target.model.config.max_position_embeddings
    with pytest.raises(NlaError, match=r"a view of \d+ tokens.*`tokens`"):
        SeeingReconstructor(target.model, target.tokenizer, 3, 96, room)
