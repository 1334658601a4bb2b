"""Release a finished run: small files, and a model card with what was measured on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from common.commands.card import goodness, report_of, told_by_report
from common.commands.pair import arm_of, load_pair, round_trip, standing_with, tests_of
from common.device import best_device
from common.errors import NlaError
from common.evaluation.conditions import ORIGINAL
from common.evaluation.domains import CHUNK, POSITIONS, Domain, by_domain, own_texts
from common.evaluation.test_set import TestSet
from common.files import replace_text
from common.lifecycle.check import check_current
from common.metrics.statistics import fve_interval
from common.profile import Profile
from common.release.released import (
    CARD,
    Released,
    Spoken,
    load_released,
    save_released,
    save_standing,
)
from common.report.markdown import bounds, percent, plain, table
from common.report.render import fill_template
from common.rollout.reading import reader_of
from common.rollout.sampler import sample_explanations
from common.runs import RunFolder
from common.schema import AR_SFT, AV, DOC_ID, EXPLANATION, KEY, RL, SPLIT, TEXT, nothing
from common.tracking.note import commit_of

EXAMPLES, SOURCE_CHARACTERS = 5, 200
SPOKEN = 300
"""How many explanations decide which weights are kept."""
RATES = ("learning_rate", "ar_learning_rate")


def release(folder: RunFolder, out: Path, profile: Profile) -> None:
    """Write a release from a run; NlaError names what it lacks.

    The card's FVE, and what `nla explain` compares with, are those of the released files, read
    back, on the test activations and on other kinds of text. What else the card tells is that of
    the run, from the experiment's collected or published results, if there are any.
    """
    arm = arm_of(folder, profile)
    check_current(arm, folder.seed)
    if arm.test_sees(folder.seed) is not nothing:
        what = "its AR sees some of the input, which a release cannot give it"
        raise NlaError(what, where=folder.path, remedy="release a run whose AR reads words alone")
    belongs = report_of(folder)
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
    fve = 1 - float(result.rows["squared_error"].to_numpy().mean()) / pair.variance
    cosines = torch.tensor(result.rows["cosine"].to_list())
    save_standing(out, standing_with(tests, cosines, fve), reads=reads)
    resamples, known = profile.evaluation.resamples, tests.denominators
    both = {"these files": result.rows, "the run before factoring": round_trip(folder)}
    measured = [goodness(name, rows, known, resamples) for name, rows in both.items()]
    card = (
        _facts(tests, folder, found.manifest)
        | _of_test(tests, result)
        | _of_domains(result.domains, resamples)
        | told_by_report(belongs)
        | {"release": out.name, "profile": profile.name, "goodness": table(measured)}
    )
    replace_text(out / CARD, fill_template("card.md.j2", **card))


class Result(NamedTuple):
    """The round trip of the released files on the test activations, and by domain."""

    texts: list[str]
    rows: pl.DataFrame
    """As those of a run, in the order of the test's table."""
    domains: dict[str, Domain]


def _spoken(tests: TestSet, folder: RunFolder) -> Spoken:
    """Explanations of training activations: the run's own, or the warm-started AV's."""
    if folder.texts_file.exists():
        table = folder.table(folder.texts_file).filter(pl.col(SPLIT) == AR_SFT)
    else:
        table = tests.trunk.explanations(AV).filter(pl.col(SPLIT) == RL)
    table = table.head(SPOKEN)
    return Spoken(table[EXPLANATION].to_list(), tests.trunk.inputs[table[KEY].to_list()])


def _test(tests: TestSet, found: Released) -> Result:
    profile = tests.profile
    precision = profile.trainer.precision
    for model in (found.verbalizer, found.reconstructor):
        model.to(best_device())
    greedy, inputs = profile.rollout.replace(temperature=0.0), tests.trunk.inputs

    def write(activations: Float[Tensor, "rows d_model"]) -> list[str]:
        return sample_explanations(found.verbalizer, activations, greedy, precision=precision)

    keys = tests.keys, tests.dev[KEY].to_list()
    texts, dev = (write(inputs[asked]) for asked in keys)
    read = reader_of(found.reconstructor, profile)
    rows = tests.judge.rows(read, {ORIGINAL: [*texts]}, AV, dev=dev)
    return Result(texts, rows, by_domain(tests.trunk, own_texts(tests.trunk), write, read))


def _of_domains(domains: Mapping[str, Domain], resamples: int) -> dict[str, Any]:
    """The table of kinds of text."""
    rows = [
        {
            "texts": name,
            "FVE": bounds(fve_interval(one.errors, one.chunks, one.variance, resamples)),
            "activations": str(len(one.chunks)),
        }
        for name, one in domains.items()
        if len({*one.chunks}) > 1
    ]
    return {"domains": table(rows), "domain_positions": POSITIONS, "domain_chunk": CHUNK}


def _of_test(tests: TestSet, result: Result) -> dict[str, Any]:
    """The test results for the card, and some examples."""
    held_out = tests.table
    shown = list(zip(held_out[TEXT], result.texts, result.rows["cosine"], strict=True))
    return {
        "activations": held_out.height,
        "documents": held_out[DOC_ID].n_unique(),
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
