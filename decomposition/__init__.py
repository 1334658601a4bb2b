"""How one activation becomes the vectors that an AV's slots hold."""
