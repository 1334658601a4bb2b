"""Read the residual stream at sampled positions."""

from common.code import code_digest
from common.data.activations import extract_activations
from common.data.corpus import load_corpus
from common.device import best_device
from common.manifest import read_manifest
from common.target.load import load_target
from common.trunk.choice import TrunkChoice


def make(choice: TrunkChoice) -> None:
    """Write the activations, shard by shard."""
    places, settings = choice.places, choice.profile.activations
    documents, target = load_corpus(places.corpus), load_target(places.target)
    target.model.to(best_device())
    provenance = {"corpus": read_manifest(places.corpus, "corpus")["digest"]}
    out, code = places.activations, code_digest(__name__, tests=False)
    extract_activations(settings, documents, target, out, provenance, code)
