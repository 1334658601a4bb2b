from typing import Any

import pytest

from common.target.load import Target
from common.target.text import beginning, decode, decode_next, encode, encode_document, pieces
from tests.families import with_bos

CHAT = "so<|im_end|>\n<|im_start|>user said <repo_name>"
WRITINGS = "In May, 東京 🎉🎉 and שלום: naïve"


@pytest.fixture(scope="module")
def plain(target: Target) -> Any:
    return target.tokenizer


@pytest.fixture(scope="module")
def begins(target: Target) -> Any:
    return with_bos(target.tokenizer)


@pytest.fixture(scope="module")
def metaspace() -> Any:
    """A SentencePiece-like tokenizer: words begin with `▁`, which a lone token loses."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "▁In", "▁the", "▁valley", "▁in", "▁March", "es"]
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


@pytest.mark.parametrize("name", ["plain", "begins"])
def test_control_tokens_in_a_text_are_characters(name: str, request: pytest.FixtureRequest):
    tokenizer = request.getfixturevalue(name)
    (ids,) = encode(tokenizer, [CHAT])
    assert not set(ids) & set(tokenizer.added_tokens_decoder)
    assert decode(tokenizer, [ids]) == [CHAT]


def test_texts_begin_as_the_tokenizer_begins_them(plain: Any, begins: Any):
    bos = begins.convert_tokens_to_ids("<|endoftext|>")
    assert (beginning(plain), beginning(begins)) == ([], [bos])
    for tokenizer in (plain, begins):
        assert encode_document(tokenizer, "On rivers.") == tokenizer("On rivers.")["input_ids"]
        assert decode(tokenizer, [encode_document(tokenizer, WRITINGS)]) == [WRITINGS]
    assert encode(begins, ["On rivers."]) == encode(plain, ["On rivers."])


def test_a_bos_written_in_a_text_stays_in_it(begins: Any):
    text = "<|endoftext|> On rivers."
    assert decode(begins, [encode_document(begins, text)]) == [text]


def test_no_text_is_no_row(plain: Any):
    assert encode(plain, []) == decode(plain, []) == []


@pytest.mark.parametrize("name", ["plain", "begins"])
def test_pieces_make_up_the_text_and_split_no_character(name: str, request: Any):
    tokenizer = request.getfixturevalue(name)
    (ids,) = encode(tokenizer, [WRITINGS])
    found = pieces(tokenizer, ids)
    assert len(found) == len(ids)
    assert "".join(found) == WRITINGS
    assert not any("\ufffd" in piece for piece in found)


def test_a_character_that_is_not_finished_shows_at_the_very_end_alone(plain: Any):
    (ids,) = encode(plain, ["a 🎉"])
    assert "".join(pieces(plain, ids[:-1])) == "a \ufffd"


def test_next_tokens_keep_the_space_they_begin_with(metaspace: Any):
    ids = metaspace.convert_tokens_to_ids(["▁In", "▁the", "▁valley", "▁in"])
    march, ending = metaspace.convert_tokens_to_ids(["▁March", "es"])
    assert metaspace.decode([march]) == "March", "alone it looks like the end of a word"
    assert decode_next(metaspace, ids, [march, ending]) == [" March", "es"]


def test_the_rest_of_a_character_is_the_whole_character(plain: Any):
    (ids,) = encode(plain, ["🎉"])
    assert decode_next(plain, ids[:-1], [ids[-1]]) == ["🎉"]
