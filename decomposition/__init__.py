"""How activations become the vectors in an AV's slots."""
