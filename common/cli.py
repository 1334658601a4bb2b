"""The `nla` command. Heavy imports happen inside the commands, so that `--help` answers at once."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from common.commands import options
from common.entry import begin, exit_cleanly, part_of_many
from common.errors import NlaError
from common.root import as_typed

USAGE_ERROR: Any = typer.BadParameter.__base__
"""What typer raises for arguments that it cannot parse; it has no public name."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Natural Language Autoencoder lab.",
)


@app.command()
def profile(
    name: Annotated[str, typer.Argument(help="smoke, quick, laptop, gemma, gpu, hub or your own.")],
) -> None:
    """Choose the profile that DVC uses: writes the word into params.yaml."""
    from common.profile import choose_profile

    choose_profile(name)


@app.command()
def stage(
    name: str,
    trunk: Annotated[str, typer.Option(help="<experiment>/<trunk>; default: the profile's.")] = "",
    profile: options.ProfileOption = None,
) -> None:
    """Run one stage of the trunk: target, corpus, activations, explanations, av, ..."""
    from common.commands.asked import profile_asked, trunk_asked
    from common.stages.run import check_stage, run_stage

    check_stage(name)
    run_stage(name, trunk_asked(trunk, profile_asked(profile)))


@app.command()
def code(profile: options.ProfileOption = None) -> None:
    """Write data/code.json: digests of the code behind each stage, for DVC."""
    from common.commands.asked import profile_read
    from common.commands.stage_code import write_code

    write_code(profile_read(profile))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the folder below experiments/.")],
    like: Annotated[str, typer.Option(help="The experiment that it begins as.")] = "ar_small",
) -> None:
    """Make the folder of a new experiment, and its entries in the pipeline."""
    from common.commands.new import make_experiment

    for file in make_experiment(name, like):
        typer.echo(file)


@app.command()
def pipeline() -> None:
    """Write all dvc.yaml files; needed after arms, trunks or experiments were added or removed."""
    from common.commands.pipeline import write_pipeline

    for file in write_pipeline():
        typer.echo(file)


@app.command()
def run(
    experiment: options.ExperimentName,
    arm: options.ArmOption = None,
    seed: Annotated[int | None, typer.Option(help="One seed; default: all of the arm.")] = None,
    profile: options.ProfileOption = None,
    workers: options.WorkersOption = 1,
) -> None:
    """Tune and run arms of an experiment; what is finished already is not run again."""
    from common.commands.asked import arms_asked, spawn_sweep

    for one in arms_asked(experiment, arm, profile, seed):
        from common.lifecycle.make import has_finished, make_run
        from common.lifecycle.tune import tune

        seeds = one.seeds if seed is None else (seed,)
        if has_finished(one, seeds):
            continue
        spawn_sweep(one, workers)
        best = tune(one)
        for each in seeds:
            make_run(one, each, best)


@app.command()
def sweep(
    experiment: options.ExperimentName,
    arm: options.ArmOption = None,
    profile: options.ProfileOption = None,
    workers: options.WorkersOption = 1,
) -> None:
    """Spend each arm's tuning budget; start it on as many machines as share the storage."""
    from common.commands.asked import arms_asked, spawn_sweep

    for one in arms_asked(experiment, arm, profile):
        from common.lifecycle.tune import tune

        spawn_sweep(one, workers)
        best = tune(one)
        found = "nothing is tuned (`search` in params.yaml is empty)"
        if best.values:
            found = f"trial {best.number} of {best.trials}, {best.values[0]:.4f} with {best.params}"
        typer.echo(f"{one.name}: {found}")


@app.command()
def evaluate(
    experiment: options.ExperimentName,
    name: Annotated[str | None, typer.Argument(help="One evaluation; default: all.")] = None,
    profile: options.ProfileOption = None,
) -> None:
    """Evaluate all arms together: for example, train a neutral AR that reads the texts of all."""
    from common.commands.asked import experiment_asked

    one, scale = experiment_asked(experiment, profile)
    known = {each.name: each for each in one.evaluations if each.has_stage}
    if name not in (None, *known):
        remedy = f"choose one of {', '.join(known) or 'none: it has none to run'}"
        raise NlaError(f"{experiment} has no evaluation {name!r}", remedy=remedy)
    arms = one.arms_at(scale)
    for each in known.values() if name is None else [known[name]]:
        each.run(arms)


@app.command()
def adopt(
    experiment: options.ExperimentName,
    reason: Annotated[str, typer.Option(help="Why the new code changes no number.")],
    profile: options.ProfileOption = None,
) -> None:
    """Keep finished runs under new code that changes no number; the golden curves must pass."""
    from common.commands.asked import experiment_asked

    one, scale = experiment_asked(experiment, profile)
    from common.lifecycle.adopt import adopt as stamp

    for line in stamp(one.arms_made_at(scale), reason):
        typer.echo(f"adopted {line}")


@app.command()
def collect(experiment: options.ExperimentName, profile: options.ProfileOption = None) -> None:
    """Gather finished runs into the tables that a report reads."""
    from common.commands.asked import experiment_asked

    asked = experiment_asked(experiment, profile)
    from common.commands.collect import collect as gather

    gather(*asked)


@app.command()
def report(experiment: options.ExperimentName, profile: options.ProfileOption = None) -> None:
    """Render `reports/<profile>/<experiment>.md` and the index from collected results.

    The tables behind it are published beside it; without collected results, those are used.
    """
    from common.commands.asked import profile_asked
    from common.report.rule import load_rule

    rule, scale = load_rule(experiment), profile_asked(profile)
    from common.commands.render import render

    typer.echo(render(experiment, scale, rule))


@app.command()
def sync(
    folder: Annotated[Path, typer.Argument(help="runs/<profile>/<experiment>/<arm>/<seed>")],
) -> None:
    """Import a finished run folder (from a machine without MLflow) into MLflow."""
    from common.runs import RunFolder
    from common.tracking.tracker import sync as replay

    typer.echo(replay(RunFolder(as_typed(folder))))


@app.command()
def explain(
    text: Annotated[str, typer.Argument(help="Any text of more than min_position (16) tokens.")],
    position: options.PositionOption = -1,
    pair: options.PairOption = "newest",
    profile: options.ProfileOption = None,
) -> None:
    """Explain an activation in words, and measure how well the words give it back."""
    from common.commands.asked import profile_asked, profile_read
    from common.commands.places import check_text, find_pair

    check_text(text)
    place = find_pair(pair, as_typed(pair), profile_read(profile).name)
    scale = profile_asked(profile)
    from common.commands.explain import explain_text

    explain_text(text, position, place, scale)


@app.command()
def chart(
    run: options.RunArgument, svg: bool = False, profile: options.ProfileOption = None
) -> None:
    """Print an AR that a person can follow: its boxes, in order, as text or as an SVG picture."""
    from common.commands.chart import chart as draw

    typer.echo(draw(run, profile, "svg" if svg else "text"))


@app.command()
def release(
    run: options.RunArgument,
    name: Annotated[str, typer.Argument(help="The folder below released/.")],
    profile: options.ProfileOption = None,
) -> None:
    """Keep a run as `released/<name>`: small files and a model card; `nla explain` reads them."""
    from common.commands.asked import profile_asked, profile_read
    from common.commands.places import named_run, release_folder

    out, folder = release_folder(name), named_run(profile_read(profile).name, run)
    scale = profile_asked(profile)
    from common.commands.release import release as keep

    keep(folder, out, scale)
    typer.echo(out)


@app.command()
def doctor(profile: options.ProfileOption = None) -> None:
    """Say what is missing, and the command that fixes it."""
    from common.commands.asked import profile_asked

    scale = profile_asked(profile)
    from common.commands.doctor import examine

    if not examine(scale):
        raise typer.Exit(1)


def run_experiment(name: str) -> None:
    """All arms and the report, without DVC: `python -m experiments.<name>`, after the trunk."""

    def everything() -> None:
        begin()
        if sys.argv[1:]:
            remedy = "choose the scale with `nla profile`, or use `nla run`"
            raise NlaError(f"unknown option {sys.argv[1]!r}", remedy=remedy)
        part_of_many(steps)()

    def steps() -> None:
        run(name)
        evaluate(name)
        collect(name)
        report(name)

    exit_cleanly(everything)


def main() -> None:
    """Entry point: a user's mistake ends in one line on stderr and exit status 1."""
    exit_cleanly(_command_line)


def _command_line() -> None:
    """Run the command that was typed; `--help` is answered at once, and in any folder."""
    words = sys.argv[1:]
    if "--help" in words or not (words or "RANK" in os.environ):
        _read_words(words or ["--help"])
    begin()
    part_of_many(lambda: _read_words(words))()


def _read_words(words: list[str]) -> NoReturn:
    """Parse the words of a command and run it; NlaError for words that cannot be parsed."""
    try:
        status = app(words, prog_name="nla", standalone_mode=False)
    except USAGE_ERROR as error:
        command = error.ctx.command_path if error.ctx else "nla"
        what = error.format_message().rstrip(".")
        raise NlaError(what, remedy=f"see `{command} --help`") from error
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
