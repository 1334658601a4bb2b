"""Every place on disk, in one file. All paths are relative to the repository root."""

from pathlib import Path

PROFILES = Path(__file__).parent / "profiles"
DOWNLOADS = Path("data/downloads")
EXPERIMENTS = Path("experiments")
RELEASED = Path("released")
MLFLOW_URI = "sqlite:///mlflow.db"
OPTUNA_URI = "sqlite:///optuna.db"
WARM_START = "warm_start"
"""The runs of the trunk."""
NEUTRAL = "neutral"
"""The runs of neutral ARs, one for each experiment."""


class Trunk:
    """Where the artefacts of the trunk lie for one profile: `data/<profile>/...`."""

    def __init__(self, profile: str) -> None:
        """Name the places; nothing is created."""
        root = Path("data") / profile
        self.root = root
        self.target = root / "target"
        self.corpus = root / "corpus.parquet"
        self.activations = root / "activations"
        self.explanations = root / "explanations.parquet"
        self.av_run = run_folder(profile, WARM_START, "av", 0)
        self.ar_run = run_folder(profile, WARM_START, "ar", 0)
        self.av_text = root / "av_text.parquet"
        self.floors = root / "floors.parquet"


def run_folder(profile: str, experiment: str, arm: str, seed: int | str) -> Path:
    """`runs/<profile>/<experiment>/<arm>/<seed>`."""
    return Path("runs") / profile / experiment / arm / str(seed)


def neutral_run(profile: str, experiment: str) -> Path:
    """The run of the AR that is trained on the texts of all arms of an experiment."""
    return run_folder(profile, NEUTRAL, experiment, 0)


def results_folder(profile: str, experiment: str) -> Path:
    """Collected results of one experiment: `data/<profile>/results/<experiment>`."""
    return Path("data") / profile / "results" / experiment


def report_file(profile: str, experiment: str) -> Path:
    """`reports/<profile>/<experiment>.md`; figures lie in a folder of that name beside it."""
    return Path("reports") / profile / f"{experiment}.md"
