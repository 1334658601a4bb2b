"""The artefacts that experiments stand on."""
