"""A finished NLA as small files; no training depends on this code."""
