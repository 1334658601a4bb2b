"""The reference rows of a report: readers and writers that are no arms, and what they know."""

from common.params import CONTROL
from common.schema import AV, AV_NEUTRAL_AR, TEACHER

SHUFFLED, LOOK_UP, LAST_TOKEN = "shuffled", "look_up", "last_token"
COPIED, LINEAR = "own_blocks_last_", "_linear"
"""The target's own blocks on the last k tokens of the source text, as they are or with a linear
map, are called `own_blocks_last_<k>` and `own_blocks_last_<k>_linear`."""
TEXT_READERS = (LOOK_UP, "nearest_words", "tfidf_ridge", "embedding_ridge")
"""References that read an explanation, as an AR does, and are fitted in closed form."""
KNOW_MORE = (LAST_TOKEN, "last_token_few", "next_tokens", "next_tokens_text", "nearest_text")
"""References that know the source text, or the activation itself."""
DRAWN = ("mean_direction", LAST_TOKEN, LOOK_UP, "own_blocks")
"""References that stand as lines in a figure, where all would hide it."""
LEGEND = {
    "mean_direction": "always answers the mean activation",
    LAST_TOKEN: "a ridge on the embedding of the source text's true last token",
    "last_token_few": f"`{LAST_TOKEN}`, fitted to only as many activations as an AR has texts of",
    "next_tokens": "a ridge on the target's own five likeliest next tokens",
    LOOK_UP: "linear maps of the last quoted word, the quoted next tokens and the other words of"
    " the text",
    "nearest_words": "the activation of the training text whose words are nearest",
    "nearest_text": f"`{CONTROL}`'s AR reads the teacher's text of the nearest training activation",
    "next_tokens_text": f"`{CONTROL}`'s AR reads a list of the target's five likeliest next tokens",
    "tfidf_ridge": "a ridge on the words of the text",
    "embedding_ridge": "a ridge on a sentence embedding of the text",
    "own_blocks": "the target's own blocks on the whole source text",
    SHUFFLED: f"`{CONTROL}`'s AR reads the explanation of another document",
}
"""What each reference row does; other arms are explained by the experiment."""


def knows_more(name: str) -> bool:
    """Whether a reference knows more than the text: its source, or the activation itself."""
    return name in KNOW_MORE or name.startswith("own_blocks")


def is_copied(name: str) -> bool:
    """Whether it is a point of the curve of copied tokens."""
    return name.startswith(COPIED)


def main_source(sources: list[str]) -> str:
    """The source of a report's main column: the arms' own texts, read by their own ARs."""
    return AV if AV in sources else sources[0]


def shares_texts(has_own_texts: bool, source: str) -> bool:
    """Whether every arm, and the references beside them, read the same texts of a source.

    Where each arm has texts of its own, references read those of the control.
    """
    return source == TEACHER or not (has_own_texts and source in (AV, AV_NEUTRAL_AR))
