"""How one activation becomes the vectors in an AV's slots."""
