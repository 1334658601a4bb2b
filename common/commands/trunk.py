"""The trunk's stages: each wires one pure function to its config and its place on disk.

Each imports what it needs by itself: a stage is a process, and an import costs seconds.
"""

from collections.abc import Callable

import polars as pl

from common.errors import NlaError
from common.manifest import read_manifest, write_artefact
from common.paths import Trunk
from common.profile import Profile
from common.seeding import keyed_seed


def target(profile: Profile) -> None:
    """Fetch the target model and save it once."""
    from common.device import best_device
    from common.evaluation.own_paths import check_own_paths
    from common.target.load import Target, prepare_target
    from common.target.residual import check_layers

    def check(made: Target) -> None:
        made.model.to(best_device())
        layers = check_layers(profile.activations.layers, made.manifest["blocks"])
        for layer in layers:
            check_own_paths(made, layer, profile.av)

    prepare_target(profile.target, Trunk(profile.name).target, check)


def corpus(profile: Profile) -> None:
    """Clean the documents and split them."""
    from common.data.corpus import build_corpus

    build_corpus(profile.corpus, Trunk(profile.name).corpus)


def activations(profile: Profile) -> None:
    """Read the residual stream at sampled positions."""
    from common.data.activations import extract_activations
    from common.data.corpus import load_corpus
    from common.device import best_device
    from common.target.load import load_target

    trunk = Trunk(profile.name)
    documents, target = load_corpus(trunk.corpus), load_target(trunk.target)
    target.model.to(best_device())
    provenance = {"corpus": read_manifest(trunk.corpus, "corpus")["digest"]}
    extract_activations(profile.activations, documents, target, trunk.activations, provenance)


def explanations(profile: Profile) -> None:
    """Let the teacher explain every activation."""
    from common.data.activations import SOURCE_COLUMNS, load_activations
    from common.data.corpus import load_corpus
    from common.data.explanations import write_explanations
    from common.target.load import load_tokenizer

    trunk = Trunk(profile.name)
    made_from = read_manifest(trunk.activations, "activations")
    provenance = {"tokenizer": made_from["tokenizer"], "activations": made_from["digest"]}
    rows = load_activations(trunk.activations, columns=SOURCE_COLUMNS)
    tokenizer = load_tokenizer(trunk.target)
    write_explanations(
        rows, load_corpus(trunk.corpus), tokenizer, trunk.explanations, profile.teacher, provenance
    )


def av(profile: Profile) -> None:
    """Warm-start the AV on the teacher's explanations."""
    from common.material import Material
    from common.warm_start import train_av

    train_av(Material(profile))


def av_text(profile: Profile) -> None:
    """Let the warm-started AV explain dev, test and some rl activations."""
    from common.data.activations import load_activations
    from common.device import best_device
    from common.material import Material
    from common.rollout.sampler import sample_explanations
    from common.schema import DEV, DOC_ID, EXPLANATION, KEY, POSITION, RL, SPLIT, TEST
    from common.warm_start import load_av

    material, trunk = Material(profile), Trunk(profile.name)
    rows = load_activations(trunk.activations, [DEV, TEST, RL], [KEY, DOC_ID, SPLIT, POSITION])
    wanted = pl.concat(
        [
            rows.filter(pl.col(SPLIT) != RL),
            _some(rows.filter(pl.col(SPLIT) == RL), profile.ar.av_examples),
        ]
    )
    verbalizer = load_av(material)
    verbalizer.to(best_device())
    vectors = material.store[wanted[KEY].to_list()]
    texts = sample_explanations(
        verbalizer, vectors, profile.rollout, precision=profile.trainer.precision
    )
    write_artefact(
        wanted.with_columns(pl.Series(EXPLANATION, texts)),
        trunk.av_text,
        kind="av_text",
        rows=wanted.height,
        tokenizer=material.manifest["tokenizer"],
        activations=material.manifest["digest"],
        template=verbalizer.template.digest(),
        av=material.av_run.summary["digest"],
        rollout=profile.rollout.digest(),
    )


def ar(profile: Profile) -> None:
    """Warm-start the published AR on teacher and AV texts, for experiments that go on with it."""
    from common.material import Material
    from common.warm_start import train_ar

    train_ar(Material(profile))


def floors(profile: Profile) -> None:
    """What needs no AR: mean direction, ridge rows, and the target's own blocks as the ceiling."""
    from common.material import Material
    from common.schema import AV, TEACHER

    material = Material(profile)
    fitted = material.fit_floors(material.ar_examples())
    frames = []
    for source in (TEACHER, AV):
        found = {"original": material.test_conditions(source)["original"]}
        frames += [
            material.judge.rows(predict, found, source).with_columns(arm=pl.lit(name))
            for name, predict in fitted.readers.items()
        ]
    ceiling = material.ceiling([TEACHER, AV])
    table, missing = pl.concat([*frames, ceiling]), fitted.missing
    facts = material.floors_of() | {"missing": missing}
    write_artefact(table, material.trunk.floors, kind="floors", **facts)


STAGES: dict[str, Callable[[Profile], None]] = {
    stage.__name__: stage
    for stage in (target, corpus, activations, explanations, av, av_text, ar, floors)
}


def check_stage(name: str) -> None:
    """NlaError lists the stages when there is none of that name."""
    if name not in STAGES:
        raise NlaError(f"unknown stage {name!r}", remedy=f"choose one of {', '.join(STAGES)}")


def run_stage(name: str, profile: Profile) -> None:
    """Run one stage of the trunk by its DVC name."""
    check_stage(name)
    import torch

    torch.manual_seed(keyed_seed("stage", name) % 2**31)
    STAGES[name](profile)


def _some(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    if count > rows.height:
        what = f"ar.av_examples = {count}, but only {rows.height} rl activations exist"
        raise NlaError(what, remedy="raise activations.documents.rl in the profile")
    return rows.sample(count, seed=0) if count else rows.clear()
