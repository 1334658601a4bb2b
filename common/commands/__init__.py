"""What the `nla` commands and the DVC stages do."""
