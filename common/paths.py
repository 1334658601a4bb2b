"""Every place on disk, in one file. All paths are relative to the repository root."""

from collections.abc import Collection
from pathlib import Path

PROFILES = Path(__file__).parent / "profiles"
DOWNLOADS = Path("data/downloads")
CODE = Path("data/code.json")
"""Digests of the code that each DVC stage depends on."""
EXPERIMENTS = Path("experiments")
RELEASED = Path("released")
MLFLOW_URI = "sqlite:///mlflow.db"
OPTUNA_URI = "sqlite:///optuna.db"
WARM_START = "warm_start"
"""Folder name for the runs of the trunks."""
NEUTRAL = "neutral"
"""Folder name for the runs of neutral ARs, one for each experiment."""


class TrunkPlaces:
    """Where the artefacts of a trunk lie: `data/<profile>/...`, `runs/<profile>/warm_start/...`.

    A trunk of an experiment has places of its own for the stages that it makes itself,
    `data/<profile>/trunks/<experiment>/<trunk>/...`, and shares the profile's for all others.
    """

    def __init__(self, profile: str, name: str = "", own: Collection[str] = ()) -> None:
        """Name the places; nothing is created.

        Args:
            profile: its name.
            name: `<experiment>/<trunk>`; empty for the profile's own.
            own: the stages that a named trunk makes itself.
        """
        self.profile, self.name, self.own = profile, name, frozenset(own)
        self.root = Path("data") / profile
        self.target = self._place("target", "target")
        self.corpus = self._place("corpus", "corpus.parquet")
        self.activations = self._place("activations", "activations")
        self.last_tokens = self._place("last_tokens", "last_tokens.parquet")
        self.explanations = self._place("explanations", "explanations.parquet")
        self.av_runs, self.ar_runs = self._runs("av"), self._runs("ar")
        self.av_texts = self._place("av_text", "av_text")
        self.all_floors = self._place("floors", "floors")

    def of(self, stage: str) -> Path:
        """The artefact of a stage, over all pairs."""
        several = {"av_text": self.av_texts, "floors": self.all_floors}
        runs = {"av": self.av_runs, "ar": self.ar_runs}
        return (several | runs).get(stage) or getattr(self, stage)

    def made_by(self, stage: str) -> str:
        """What DVC calls a stage: `av`, or that of a named trunk in its experiment's dvc.yaml."""
        if stage not in self.own:
            return stage
        experiment, _, trunk = self.name.partition("/")
        return f"{EXPERIMENTS / experiment / 'dvc.yaml'}:{experiment}-{trunk}-{stage}"

    def av_run(self, pair: int) -> Path:
        """The run of the warm-started AV of a pair."""
        return self.av_runs / str(pair)

    def ar_run(self, pair: int) -> Path:
        """The run of the warm-started AR of a pair."""
        return self.ar_runs / str(pair)

    def av_text(self, pair: int) -> Path:
        """The explanations that the AV of a pair writes of dev, test and some rl activations."""
        return self.av_texts / f"{pair}.parquet"

    def floors(self, pair: int) -> Path:
        """Floors and ceiling on the texts of a pair; they need no AR."""
        return self.all_floors / f"{pair}.parquet"

    def _place(self, stage: str, name: str) -> Path:
        return (self.root / "trunks" / self.name if stage in self.own else self.root) / name

    def _runs(self, stage: str) -> Path:
        named = f"{self.name.replace('/', '.')}." if stage in self.own else ""
        return run_folder(self.profile, WARM_START, f"{named}{stage}", 0).parent


def run_folder(profile: str, experiment: str, arm: str, seed: int | str) -> Path:
    """`runs/<profile>/<experiment>/<arm>/<seed>`."""
    return Path("runs") / profile / experiment / arm / str(seed)


def results_folder(profile: str, experiment: str) -> Path:
    """Collected results of one experiment: `data/<profile>/results/<experiment>`."""
    return Path("data") / profile / "results" / experiment


def report_file(profile: str, experiment: str) -> Path:
    """`reports/<profile>/<experiment>.md`; figures lie in a folder of that name beside it."""
    return Path("reports") / profile / f"{experiment}.md"
