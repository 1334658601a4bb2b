"""The questions of the lab, from `experiments/questions.yaml`."""

from pathlib import Path

from common.config_base import Config
from common.config_file import load_config

FILE = "questions.yaml"


class Question(Config):
    """One question, and the experiments that answer it; some of them may not exist yet."""

    question: str
    experiments: tuple[str, ...]


class Questions(Config):
    """All questions, in the order of the index."""

    questions: tuple[Question, ...]

    @property
    def experiments(self) -> set[str]:
        """The experiments that any question names."""
        return {name for one in self.questions for name in one.experiments}


def load_questions(experiments: Path) -> Questions:
    """The questions of a folder of experiments; NlaError if there are none, or they are wrong."""
    return load_config(Questions, experiments / FILE)


def experiments_in(folder: Path) -> list[str]:
    """The names of the experiments in a folder, sorted."""
    return sorted(file.parent.name for file in folder.glob("*/params.yaml"))
