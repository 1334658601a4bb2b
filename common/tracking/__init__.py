"""Run folders and what MLflow is told of them."""
