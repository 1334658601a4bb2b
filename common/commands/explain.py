"""Explain one activation of the user's own text: what the AV says, and what the AR makes of it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from common.errors import NlaError
from common.experiment import load_experiment
from common.material import Material
from common.metrics.fve import cosines, squared_errors
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer
from common.paths import run_folder
from common.profile import Profile
from common.release.released import FOLDER, load_released
from common.rollout.reading import reconstruct
from common.rollout.sampler import sample_explanations
from common.runs import RunFolder
from common.schema import TokenBatch
from common.target.residual import read_residual


def explain_text(text: str, position: int, reconstructor: str, profile: Profile) -> None:
    """Print the tokens, the explanation, and the AR's cosine and FVE for that explanation.

    FVE uses the test split's denominator, so that it compares with the reports. NlaError for a text
    that is too short or a position outside of it.
    """
    material = Material(profile)
    tokenizer = material.tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False)
    column = check_position(position, len(ids), profile.activations.min_position)
    pair = load_pair(material, reconstructor)
    activation = _activation(material.target.model, ids, column, pair.layer)
    precision = profile.trainer.precision
    (explanation,) = sample_explanations(
        pair.verbalizer, activation, profile.rollout, precision=precision
    )
    prediction = reconstruct(pair.reconstructor, [explanation], 1, precision)
    error = float(squared_errors(prediction, activation)[0])
    table = Table(show_header=False, box=None)
    shown = [tokenizer.decode([token]) for token in ids]
    table.add_row(
        "tokens",
        " ".join(json.dumps(token, ensure_ascii=False) for token in shown[: column + 1][-12:]),
    )
    table.add_row(
        "position", f"{column} of {len(ids)} ({json.dumps(shown[column])}), layer {pair.layer}"
    )
    table.add_row("explanation", explanation)
    table.add_row("NLA", pair.place)
    table.add_row("cosine", f"{float(cosines(prediction, activation)[0]):.3f}")
    table.add_row("FVE", f"{1 - error / pair.variance:.3f}")
    Console(markup=False, emoji=False).print(table)


def check_position(position: int, length: int, minimum: int) -> int:
    """The column of a position (negative: from the end); NlaError outside [minimum, length)."""
    column = position + length if position < 0 else position
    if length <= minimum:
        what = f"the text has {length} tokens, but activations are read from position {minimum} on"
        raise NlaError(what, remedy="give a longer text")
    if not minimum <= column < length:
        what = f"position {position} is outside {minimum} to {length - 1}"
        raise NlaError(what, where="--position", remedy="choose a position inside")
    return column


class Pair(NamedTuple):
    """An AV and an AR that belong together."""

    place: str
    """The run, or the folder of a release."""
    verbalizer: Verbalizer
    reconstructor: Reconstructor
    layer: int
    variance: float
    """The denominator of FVE."""


def load_pair(material: Material, name: str) -> Pair:
    """AV and AR of `<experiment>/<arm>/<seed>`, of `released/<name>`, or of the newest control."""
    if name.startswith(f"{FOLDER}/"):
        found = load_released(Path(name), material.target)
        facts = found.manifest
        models = (found.verbalizer, found.reconstructor)
        return Pair(name, *models, layer=facts["layer"], variance=facts["variance"])
    profile = material.profile.name
    folder = _newest(profile) if name == "newest" else named_run(profile, name)
    folder.summary  # noqa: B018 - raises when the run is unfinished
    models, variance = arm_of(folder, material).load(folder), material.test_variance()[0]
    return Pair(str(folder.path), *models, layer=material.layer, variance=variance)


def named_run(profile: str, name: str) -> RunFolder:
    """The run `<experiment>/<arm>/<seed>`; NlaError when there is none of that name."""
    parts = name.split("/")
    if len(parts) == 3 and (place := run_folder(profile, *parts)).exists():
        return RunFolder(place)
    remedy = "give <experiment>/<arm>/<seed> of a finished run"
    raise NlaError(f"{name!r} names no run", where=f"runs/{profile}", remedy=remedy)


def arm_of(folder: RunFolder, material: Material) -> Any:
    """The arm that a run belongs to."""
    _, experiment, name, _ = folder.identity
    one = load_experiment(experiment)
    return one.arm_class(one, name, material.profile, material)


def _newest(profile: str) -> RunFolder:
    pattern = run_folder(profile, "*", "control", "*") / "checkpoint" / "ar.safetensors"
    made = sorted(Path().glob(str(pattern)), key=lambda file: file.stat().st_mtime)
    runs = [RunFolder(file.parent.parent) for file in made]
    if not (found := [run for run in runs if run.summary_file.exists()]):
        remedy = "name a release with --ar, or train with `dvc repro experiments/ar_small`"
        raise NlaError("no trained AR", where=f"runs/{profile}", remedy=remedy)
    return found[-1]


def _activation(model: Any, ids: list[int], column: int, layer: int) -> torch.Tensor:
    tokens = torch.tensor([ids[: column + 1]])
    batch = TokenBatch(tokens, torch.ones_like(tokens, dtype=torch.bool))
    place = (torch.tensor([0]), torch.tensor([column]))
    return read_residual(model, batch, [layer], place, 0).activations[layer]
