"""Lightning modules: thin layers around the models."""
