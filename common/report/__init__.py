"""Markdown reports and figures, made from collected results alone."""
