"""The artefacts that experiments build on."""
