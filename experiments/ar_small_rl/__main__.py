"""`python -m experiments.ar_small_rl`: the whole experiment without DVC, arm after arm."""

from common.cli import run_experiment
from experiments.ar_small_rl.experiment import EXPERIMENT

if __name__ == "__main__":
    run_experiment(EXPERIMENT.name)
