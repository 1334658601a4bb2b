"""`python -m experiments.ar_input_aware`: the whole experiment without DVC, arm after arm."""

from common.cli import run_experiment

if __name__ == "__main__":
    run_experiment("ar_input_aware")
