"""ARs that are handicapped while they learn, so that words must be clear to be understood."""
