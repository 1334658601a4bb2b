"""Results that need no AR: readers of explanations and of the source text, and the ceiling."""

from common.code import code_digest
from common.evaluation.test_set import TestSet
from common.evaluation.trunk_floors import fit_references, floors_made_of, reference_rows
from common.manifest import is_current, write_artefact
from common.schema import AV, TEACHER
from common.trunk.artefacts import Trunk
from common.trunk.choice import TrunkChoice


def make(choice: TrunkChoice) -> None:
    """Write a table for each pair; one that is up to date is left alone."""
    for pair in range(choice.profile.warm_starts):
        _write(Trunk(choice, pair))


def _write(trunk: Trunk) -> None:
    place, made_of, code = (
        trunk.places.floors(trunk.pair),
        floors_made_of(trunk),
        code_digest(__name__, tests=False),
    )
    if is_current(place, code, kind="floors", **made_of):
        return
    tests = TestSet(trunk)
    references = fit_references(tests, trunk.ar_examples())
    written = {source: tests.written_by(source) for source in (TEACHER, AV)}
    table = reference_rows(tests, references, written)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_artefact(table, place, code, kind="floors", **made_of, missing=references.missing)
