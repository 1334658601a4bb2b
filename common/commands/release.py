"""Release a finished run: small files, and a model card with what was measured on them."""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from jaxtyping import Float
from torch import Tensor

from common.commands.pair import arm_of, load_pair, round_trip, standing_with, tests_of
from common.device import best_device
from common.evaluation.test_set import TestSet
from common.files import replace_text
from common.lifecycle.check import check_current
from common.metrics.fve import cosines, squared_errors
from common.metrics.statistics import Interval, fve_interval
from common.profile import Profile
from common.release.released import (
    CARD,
    Released,
    Spoken,
    load_released,
    save_released,
    save_standing,
)
from common.report.markdown import bounds, percent, plain
from common.report.render import fill_template
from common.rollout.reading import reconstruct
from common.rollout.sampler import sample_explanations
from common.runs import RunFolder
from common.schema import AR_SFT, AV, DOC_ID, EXPLANATION, KEY, RL, SPLIT, TEXT, readings_of
from common.tracking.note import commit_of

EXAMPLES, SOURCE_CHARACTERS = 5, 200
SPOKEN = 300
"""How many explanations decide which weights are kept."""
RATES = ("learning_rate", "ar_learning_rate")


def release(folder: RunFolder, out: Path, profile: Profile) -> None:
    """Write a release from a run; NlaError names what it lacks.

    The card's FVE, and what `nla explain` compares with, are those of the released files, read
    back, on the test activations.
    """
    arm = arm_of(folder, profile)
    check_current(arm, folder.seed)
    tests = tests_of(folder, arm)
    trunk = tests.trunk
    pair = load_pair(trunk, folder.path)
    save_released(
        out,
        pair.verbalizer,
        pair.reconstructor,
        trunk.target,
        _spoken(tests, folder),
        layer=pair.layer,
        variance=pair.variance,
        run=str(folder.path),
        run_digest=folder.summary["digest"],
        commit=commit_of(folder),
    )
    found = load_released(out, trunk.target)
    result = _test(tests, found)
    settings = profile.activations
    reads = {"min_position": settings.min_position, "max_tokens": settings.max_tokens}
    save_standing(out, standing_with(tests, result.cosines, result.fve.estimate), reads=reads)
    rows, resamples = round_trip(folder), profile.evaluation.resamples
    of_run = fve_interval(rows["squared_error"].to_numpy(), rows[DOC_ID], pair.variance, resamples)
    card = (
        _facts(tests, folder, found.manifest)
        | _of_test(tests, result)
        | {"release": out.name, "profile": profile.name, "fve_of_run": bounds(of_run)}
    )
    replace_text(out / CARD, fill_template("card.md.j2", **card))


class Result(NamedTuple):
    """The round trip of the released files on the test activations."""

    texts: list[str]
    cosines: Float[Tensor, " rows"]
    fve: Interval


def _spoken(tests: TestSet, folder: RunFolder) -> Spoken:
    """Explanations of training activations: the run's own, or the warm-started AV's."""
    if folder.texts_file.exists():
        table = folder.table(folder.texts_file).filter(pl.col(SPLIT) == AR_SFT)
    else:
        table = tests.trunk.explanations(AV).filter(pl.col(SPLIT) == RL)
    table = table.head(SPOKEN)
    return Spoken(table[EXPLANATION].to_list(), tests.trunk.inputs[table[KEY].to_list()])


def _test(tests: TestSet, found: Released) -> Result:
    profile, table = tests.profile, tests.table
    precision, variance = profile.trainer.precision, found.manifest["variance"]
    for model in (found.verbalizer, found.reconstructor):
        model.to(best_device())
    inputs, vectors = tests.trunk.inputs[tests.keys], tests.judge.activations
    greedy = profile.rollout.replace(temperature=0.0)
    texts = sample_explanations(found.verbalizer, inputs, greedy, precision=precision)
    size, readings = profile.evaluation.batch_size, readings_of(texts)
    read = reconstruct(found.reconstructor, readings, size, precision)
    errors = squared_errors(read, vectors).numpy()
    fve = fve_interval(errors, table[DOC_ID].to_list(), variance, profile.evaluation.resamples)
    return Result(texts, cosines(read, vectors), fve)


def _of_test(tests: TestSet, result: Result) -> dict[str, Any]:
    """The test results for the card, and some examples."""
    table = tests.table
    shown = list(zip(table[TEXT], result.texts, result.cosines.tolist(), strict=True))
    return {
        "fve": bounds(result.fve),
        "activations": table.height,
        "documents": table[DOC_ID].n_unique(),
        "examples": [
            {"source": plain(source[-SOURCE_CHARACTERS:]), "text": plain(text), "cosine": cosine}
            for source, text, cosine in shown[:: max(1, len(shown) // EXAMPLES)][:EXAMPLES]
        ],
    }


def _facts(tests: TestSet, folder: RunFolder, manifest: dict[str, Any]) -> dict[str, Any]:
    profile, trunk, summary = tests.profile, tests.trunk, folder.summary
    rates = {name: summary[name] for name in RATES if name in summary}
    return {
        "manifest": manifest,
        "kept": {name: percent(share) for name, share in manifest["kept"].items()},
        "corpus": profile.corpus.source,
        "blocks": trunk.target.manifest["blocks"],
        "av_examples": trunk.av_run.summary["examples"],
        "teacher": profile.teacher.name,
        "min_position": profile.activations.min_position,
        "tuned": folder.config["trained"]["tuned"] | rates,
        "seconds": round(summary["train_seconds"]),
        "device": summary.get("device", "unknown"),
    }
