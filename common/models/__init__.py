"""AV and AR as plain torch modules, and what they share: templates and injection."""
