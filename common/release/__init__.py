"""A finished NLA as small files: nothing that is trained depends on it."""
