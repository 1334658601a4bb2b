"""Measures of reconstructions and explanations: pure functions, without models or files."""
