"""Results that need no AR: mean direction, ridge, and the target's own blocks as the ceiling."""

import polars as pl

from common.code import code_digest
from common.evaluation.conditions import ORIGINAL
from common.evaluation.test_set import TestSet
from common.evaluation.trunk_floors import ceiling, fit_floors, floors_made_of
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
    tests, fitted = TestSet(trunk), fit_floors(trunk, trunk.ar_examples())
    frames = [
        tests.judge.rows(predict, {ORIGINAL: tests.table[source].to_list()}, source).with_columns(
            arm=pl.lit(name)
        )
        for source in (TEACHER, AV)
        for name, predict in fitted.readers.items()
    ]
    table = pl.concat([*frames, ceiling(tests, [TEACHER, AV])])
    place.parent.mkdir(parents=True, exist_ok=True)
    write_artefact(table, place, code, kind="floors", **made_of, missing=fitted.missing)
