"""The same statements in ways that no cure knows, to ask whether an AR reads meaning or form."""

from collections.abc import Sequence

from ar_variants.regularized.channels import SEEN_PHRASES
from common.evaluation.conditions import Conditions
from common.evaluation.statements import outline
from common.evaluation.synonyms import SYNONYMS
from common.evaluation.transforms import reordered, reworded

UNSEEN_PHRASES = frozenset(SYNONYMS) - SEEN_PHRASES
OTHER_WORDS, OTHER_ORDER, OTHER_FORMAT = "other_words", "other_order", "other_format"


def changed(texts: Sequence[str], keys: Sequence[str]) -> Conditions:
    """Every text in other words, in another order and in another format; None where it is equal.

    The words are synonyms that no channel uses, the order is one of those that `paraphrase` makes,
    too, and the format is none of those of `format_mix`.
    """
    found = {
        OTHER_WORDS: [reworded(text, UNSEEN_PHRASES) for text in texts],
        OTHER_ORDER: [reordered(text, key) for text, key in zip(texts, keys, strict=True)],
        OTHER_FORMAT: [as_fields(text) for text in texts],
    }
    return {
        name: [None if new == old else new for new, old in zip(others, texts, strict=True)]
        for name, others in found.items()
    }


def as_fields(text: str) -> str:
    """Each statement behind the name of its kind, such as `topic: ... | next: ...`."""
    parts = [
        (one.kind, text[one.start : one.end].rstrip(" .;")) for one in outline(text).statements
    ]
    return " | ".join(f"{kind}: {part}" for kind, part in parts)
