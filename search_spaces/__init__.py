"""Search spaces: YAML that a person edits, and its loader."""
