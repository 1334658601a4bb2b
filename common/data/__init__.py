"""The data: corpus, activations, explanations, and how they reach a model."""
