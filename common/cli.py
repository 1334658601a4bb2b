"""The `nla` command. Heavy imports happen inside the commands, so that `--help` answers at once."""

import gc
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from common.allocator import choose_allocator, is_out_of_memory, out_of_memory
from common.errors import NlaError

INTERRUPTED = 130
"""Exit status after Ctrl-C; typer turns the exception into it."""
OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Python's default, 700, spends seconds of every command on walking the imported modules."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Natural Language Autoencoder lab.",
)

ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="Scale of the run; default: the word in params.yaml."),
]
ArmOption = Annotated[
    str | None, typer.Option("--arm", help="One arm; default: all, one after another.")
]
ExperimentName = Annotated[str, typer.Argument(help="A folder of experiments/.")]


@app.command()
def profile(
    name: Annotated[str, typer.Argument(help="smoke, mini, laptop, gpu, hub or your own.")],
) -> None:
    """Choose the profile that DVC uses: writes the word into params.yaml."""
    from common.profile import load_profile

    load_profile(name)
    Path("params.yaml").write_text(f"profile: {name}\n")


@app.command()
def stage(name: str, profile: ProfileOption = None) -> None:
    """Run one stage of the trunk: target, corpus, activations, explanations, av, ..."""
    from common.commands.trunk import run_stage

    run_stage(name, _profile(profile))


@app.command()
def run(
    experiment: ExperimentName,
    arm: ArmOption = None,
    seed: Annotated[int | None, typer.Option(help="One seed; default: all of the arm.")] = None,
    profile: ProfileOption = None,
    workers: Annotated[
        int, typer.Option(help="Parallel tuning processes that share the budget.")
    ] = 1,
) -> None:
    """Tune and run arms of an experiment; what is finished already is not run again."""
    for one in _arms(experiment, arm, profile):
        _spawn_sweep(one, workers)
        best = one.tune()
        for each in one.seeds if seed is None else [seed]:
            one.run_seed(each, best)


@app.command()
def sweep(
    experiment: ExperimentName,
    arm: ArmOption = None,
    profile: ProfileOption = None,
    workers: Annotated[int, typer.Option(help="Processes that share the budget of trials.")] = 1,
) -> None:
    """Spend each arm's tuning budget; start it on as many machines as share the storage."""
    for one in _arms(experiment, arm, profile):
        _spawn_sweep(one, workers)
        best = one.tune()
        told = "nothing is tuned (`search` in params.yaml is empty)"
        if best.values:
            told = f"trial {best.number} of {best.trials}, {best.values[0]:.4f} with {best.params}"
        typer.echo(f"{one.name}: {told}")


@app.command()
def neutral(experiment: ExperimentName, profile: ProfileOption = None) -> None:
    """Train one AR on the explanations of all arms, so that it flatters none, and test it."""
    from common.arms.neutral import run_neutral

    run_neutral(_arms(experiment, None, profile))


@app.command()
def collect(experiment: ExperimentName, profile: ProfileOption = None) -> None:
    """Gather finished runs into the tables that a report reads."""
    from common.commands.collect import collect as gather
    from common.experiment import load_experiment

    gather(load_experiment(experiment), _profile(profile))


@app.command()
def report(experiment: ExperimentName, profile: ProfileOption = None) -> None:
    """Render `reports/<profile>/<experiment>.md` and the index from collected results."""
    from common.experiment import load_experiment
    from common.paths import report_file, results_folder
    from common.report.index import render_index
    from common.report.render import render_report
    from common.report.results import load_results
    from common.tracking.tracker import log_report

    one, name = load_experiment(experiment), _profile(profile).name
    results = load_results(results_folder(name, experiment))
    out = report_file(name, experiment)
    render_report(
        results, one.question, one.decision_rule, one.verdict(results), one.sections(results), out
    )
    render_index(out.parent.parent)
    log_report(name, out)
    typer.echo(out)


@app.command()
def sync(
    folder: Annotated[Path, typer.Argument(help="runs/<profile>/<experiment>/<arm>/<seed>")],
) -> None:
    """Import a finished run folder (from a machine without MLflow) into MLflow."""
    from common.runs import RunFolder
    from common.tracking.tracker import sync as replay

    typer.echo(replay(RunFolder(folder)))


@app.command()
def explain(
    text: Annotated[str, typer.Argument(help="Any text of more than min_position (16) tokens.")],
    position: Annotated[
        int, typer.Option(help="Token whose activation is explained; negative: from the end.")
    ] = -1,
    reconstructor: Annotated[
        str, typer.Option("--ar", help="<experiment>/<arm>/<seed>, released/<name>, or `newest`.")
    ] = "newest",
    profile: ProfileOption = None,
) -> None:
    """Explain an activation in words, and say how well the words give it back."""
    from common.commands.explain import explain_text

    explain_text(text, position, reconstructor, _profile(profile))


@app.command()
def release(
    run: Annotated[str, typer.Argument(help="<experiment>/<arm>/<seed>")],
    name: Annotated[str, typer.Argument(help="The folder below released/.")],
    profile: ProfileOption = None,
) -> None:
    """Keep a run as `released/<name>`: small files and a model card; `nla explain` reads them."""
    from common.commands.release import release as keep

    typer.echo(keep(run, name, _profile(profile)))


@app.command()
def doctor(profile: ProfileOption = None) -> None:
    """Say what is missing, and the command that fixes it."""
    from common.commands.doctor import examine

    if not examine(_profile(profile)):
        raise typer.Exit(1)


def run_experiment(name: str) -> None:
    """Every arm, then the report, without DVC: `python -m experiments.<name>`, after the trunk."""
    from common.experiment import load_experiment

    def everything() -> None:
        if sys.argv[1:]:
            remedy = "choose the scale with `nla profile`, or use `nla run`"
            raise NlaError(f"unknown option {sys.argv[1]!r}", remedy=remedy)
        run(name)
        if load_experiment(name).arm_class.has_own_texts:
            neutral(name)
        collect(name)
        report(name)

    _exit_cleanly(everything)


def main() -> None:
    """Entry point: a user's mistake ends in one line on stderr and exit status 1."""
    _exit_cleanly(app)


def _exit_cleanly(command) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    if "--help" not in sys.argv:  # which answers at once
        choose_allocator()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("common").setLevel(logging.INFO)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Names that older releases of transformers want and newer ones take under protest.
    warnings.filterwarnings("ignore", message=".*(past_key_values|is_gradient_checkpointing).*")
    try:
        if "RANK" in os.environ:  # torchrun, or another `nla`, has started several processes
            from common.processes import part_of

            command = part_of(command)
        command()
    except NlaError as error:
        # A remedy may name a stage, and those know nothing of the option.
        hint = "dvc repro" in str(error) and _is_elsewhere(sys.argv)
        _end(f"error: {error}{' (DVC goes by the profile in params.yaml)' if hint else ''}", 1)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        less = "lower rollout.batch_size, evaluation.batch_size or activations.batch_tokens"
        _end(f"error: {out_of_memory(error)}: {less} in the profile", 1)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        _end("interrupted: what is finished is kept, run the same command to go on", INTERRUPTED)
    finally:
        gc.freeze()  # the process ends: two seconds less of looking for cycles to free


def _is_elsewhere(words: list[str]) -> bool:
    """Whether a command's --profile is not the one in params.yaml."""
    from common.profile import is_active

    parts = [part for word in words for part in word.split("=", 1)]
    after = parts[parts.index("--profile") + 1 :] if "--profile" in parts else []
    return bool(after) and not is_active(after[0])


def _end(line: str, status: int) -> None:
    sys.stderr.write(f"nla: {line}\n")
    sys.exit(status)


def _profile(name: str | None):
    from common.profile import active_profile, load_profile

    profile = load_profile(name or active_profile())
    if profile.threads:
        import torch

        torch.set_num_threads(profile.threads)
    return profile


def _arms(experiment: str, arm: str | None, profile: str | None) -> list:
    scale = _profile(profile)
    from common.experiment import load_experiment
    from common.material import Material

    one = load_experiment(experiment)
    if arm and arm not in one.arms_at(scale.name):
        one.arm(arm)  # an unknown one is an error
        _leave_out(scale.name, experiment, arm)
    return [each for each in one.arms_of(Material(scale)) if arm in (None, each.name)]


def _leave_out(profile: str, experiment: str, arm: str) -> None:
    """Say so, and leave the folder that the DVC stage of the arm must have written."""
    from common.paths import run_folder

    typer.echo(f"{arm} is not among the arms that {profile} runs (`only` in params.yaml)")
    run_folder(profile, experiment, arm, 0).parent.mkdir(parents=True, exist_ok=True)


def _spawn_sweep(arm: Any, workers: int) -> None:
    """Spend the arm's budget in several processes, if there is a budget and more than one."""
    if workers <= 1 or not arm.experiment.params.search:
        return
    import torch

    from common.processes import check_workers
    from common.tuning.study import open_study
    from common.tuning.sweep import spawn_workers

    check_workers(workers, arm.profile)
    open_study(arm.sweep())  # one process makes the tables, before several want them
    command = [sys.executable, "-m", "common.cli", "sweep", *arm.words.split()]
    spawn_workers(command, workers, torch.cuda.device_count())


if __name__ == "__main__":
    main()
