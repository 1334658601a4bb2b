"""Let the warm-started AV of every pair explain dev, test and some rl activations."""

import polars as pl

from common.arms.verbalizer import load_av
from common.code import code_digest
from common.device import best_device
from common.errors import NlaError
from common.manifest import is_current, write_artefact
from common.rollout.sampler import sample_explanations
from common.schema import DEV, DOC_ID, EXPLANATION, KEY, POSITION, RL, SPLIT, TEST
from common.trunk.artefacts import Trunk
from common.trunk.choice import TrunkChoice


def make(choice: TrunkChoice) -> None:
    """Write a table for each pair; one that is up to date is left alone."""
    for pair in range(choice.profile.warm_starts):
        _write(Trunk(choice, pair))


def _write(trunk: Trunk) -> None:
    place, profile, code = (
        trunk.places.av_text(trunk.pair),
        trunk.profile,
        code_digest(__name__, tests=False),
    )
    made_from = {
        "tokenizer": trunk.manifest["tokenizer"],
        "activations": trunk.manifest["digest"],
        "av": trunk.av_run.summary["digest"],
        "rollout": profile.rollout.digest(),
        "rl_rows": profile.ar.av_examples,
    }
    if is_current(place, code, kind="av_text", **made_from):
        return
    rows = trunk.activations([DEV, TEST, RL], [KEY, DOC_ID, SPLIT, POSITION])
    heard = _some(rows.filter(pl.col(SPLIT) == RL), profile.ar.av_examples)
    wanted = pl.concat([rows.filter(pl.col(SPLIT) != RL), heard])
    verbalizer = load_av(trunk)
    verbalizer.to(best_device())
    inputs, precision = trunk.inputs[wanted[KEY].to_list()], profile.trainer.precision
    texts = sample_explanations(verbalizer, inputs, profile.rollout, precision=precision)
    place.parent.mkdir(parents=True, exist_ok=True)
    table = wanted.with_columns(pl.Series(EXPLANATION, texts))
    facts = {"rows": wanted.height, "template": verbalizer.template.digest()}
    write_artefact(table, place, code, kind="av_text", **facts, **made_from)


def _some(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    if count > rows.height:
        what = f"ar.av_examples = {count}, but only {rows.height} rl activations exist"
        raise NlaError(what, remedy="raise activations.documents.rl in the profile")
    return rows.sample(count, seed=0) if count else rows.clear()
