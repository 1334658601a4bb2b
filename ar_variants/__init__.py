"""Reconstructors that several experiments use."""
