"""Lightning modules, thin shells around the models."""
