"""Text and tokens: the one place where text from outside becomes token ids, and ids become text.

Text from outside is plain text: `<|im_end|>` in a document or an explanation is ten characters, and
no control token. What the target expects at the beginning of every text (BOS, where its tokenizer
adds one) is separate: `beginning`, for code that builds an input.
"""

from collections.abc import Sequence
from typing import Any

from common.errors import NlaError

HALF = "\ufffd"
"""What decoding gives for the first bytes of a character that is not complete yet."""
CONTEXT = 8
"""Earlier tokens that affect how one is written: spaces, and characters of several tokens."""


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, control tokens spelled out and nothing added before or after."""
    if not texts:
        return []
    return tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]


def beginning(tokenizer: Any) -> list[int]:
    """Ids that `tokenizer(text)` puts before a text: a BOS, or nothing.

    NlaError for a tokenizer that splits a text differently when it puts something before it.
    """
    whole = tokenizer("a")["input_ids"]
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    starts = [at for at in range(len(whole)) if whole[at : at + len(plain)] == plain]
    if not starts:
        what, remedy = "the tokenizer does not begin texts with tokens of their own", "use another"
        raise NlaError(what, where=type(tokenizer).__name__, remedy=remedy)
    return whole[: starts[0]]


def encode_document(tokenizer: Any, text: str) -> list[int]:
    """What the target reads of a document: its beginning, then the text. Positions count both."""
    return [*beginning(tokenizer), *encode(tokenizer, [text])[0]]


def decode(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """The text of each row of token ids, unchanged, without what `beginning` puts before it."""
    before = beginning(tokenizer)
    texts = [list(ids) for ids in rows]
    texts = [ids[len(before) :] if ids[: len(before)] == before else ids for ids in texts]
    return tokenizer.batch_decode(texts, clean_up_tokenization_spaces=False)


def decode_next(tokenizer: Any, ids: Sequence[int], choices: Sequence[int]) -> list[str]:
    """What each of several possible next tokens would add to the text of `ids`, spaces included.

    Decoded alone, a token of a SentencePiece vocabulary loses the space that it starts with.
    """
    tail = list(ids[-CONTEXT:])
    rows = [tail, *([*tail, choice] for choice in choices)]
    before, *after = tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False)
    written = len(before.rstrip(HALF))
    return [text[written:] for text in after]


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text; a character of several tokens is added by its last one."""
    found = []
    for place, token in enumerate(ids):
        (piece,) = decode_next(tokenizer, ids[max(0, place - CONTEXT) : place], [token])
        found.append(piece if place == len(ids) - 1 else piece.rstrip(HALF))
    return found
