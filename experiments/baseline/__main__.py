"""`python -m experiments.baseline`: the whole experiment without DVC, arm after arm."""

from common.cli import run_experiment
from experiments.baseline.experiment import EXPERIMENT

if __name__ == "__main__":
    run_experiment(EXPERIMENT.name)
