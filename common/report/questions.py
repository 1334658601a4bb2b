"""The questions of the lab, as `experiments/questions.yaml` has them."""

from pathlib import Path

from common.config import Config
from common.config_file import load_config

FILE = "questions.yaml"


class Question(Config):
    """One question, and the experiments that answer it, of which some may not exist yet."""

    question: str
    experiments: tuple[str, ...]


class Questions(Config):
    """All of them, in the order of the index."""

    questions: tuple[Question, ...]

    @property
    def experiments(self) -> set[str]:
        """The experiments that some question names."""
        return {name for one in self.questions for name in one.experiments}


def load_questions(experiments: Path) -> Questions:
    """Those of a folder of experiments; NlaError where there are none, or where they are wrong."""
    return load_config(Questions, experiments / FILE)


def experiments_in(folder: Path) -> list[str]:
    """The experiments of a folder, by name."""
    return sorted(file.parent.name for file in folder.glob("*/params.yaml"))
