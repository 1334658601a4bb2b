"""The frozen model whose activations are read."""
