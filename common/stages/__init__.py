"""The stages of a trunk, a module each: `make` brings the stage's artefact up to date.

A stage's code is the import closure of its module.
"""
