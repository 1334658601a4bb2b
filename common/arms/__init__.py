"""One arm of an experiment: tuned, trained with fresh seeds, tested."""
