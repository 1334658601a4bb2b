"""Clean the documents and split them."""

from common.data.corpus import build_corpus
from common.trunk.choice import TrunkChoice


def make(choice: TrunkChoice) -> None:
    """Write the corpus."""
    build_corpus(choice.profile.corpus, choice.places.corpus)
