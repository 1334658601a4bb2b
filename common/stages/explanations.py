"""Let the teacher explain every activation."""

from common.data.activations import SOURCE_COLUMNS, load_activations
from common.data.corpus import load_corpus
from common.data.explanations import write_explanations
from common.manifest import read_manifest
from common.target.load import load_tokenizer
from common.trunk.choice import TrunkChoice


def make(choice: TrunkChoice) -> None:
    """Write the table of the teacher's explanations."""
    places = choice.places
    made_from = read_manifest(places.activations, "activations")
    provenance = {"tokenizer": made_from["tokenizer"], "activations": made_from["digest"]}
    rows = load_activations(places.activations, columns=SOURCE_COLUMNS)
    corpus, tokenizer = load_corpus(places.corpus), load_tokenizer(places.target)
    write_explanations(rows, corpus, tokenizer, places, choice.profile.teacher, provenance)
