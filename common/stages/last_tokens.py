"""What a position's last tokens alone give away of its activation: needs no explanation."""

from common.code import code_digest
from common.evaluation.last_tokens import tails
from common.manifest import is_current, write_artefact
from common.trunk.artefacts import Trunk
from common.trunk.choice import TrunkChoice


def make(choice: TrunkChoice) -> None:
    """Write the answers for dev and test activations; a table that is up to date is left alone."""
    trunk = Trunk(choice)
    place, code = trunk.places.last_tokens, code_digest(__name__, tests=False)
    made_from = trunk.last_tokens_made_from
    if is_current(place, code, kind="last_tokens", **made_from):
        return
    table, rows = tails(trunk)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_artefact(table, place, code, kind="last_tokens", fitted_to=rows, **made_from)
