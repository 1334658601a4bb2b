"""Sampling explanations from an AV."""
