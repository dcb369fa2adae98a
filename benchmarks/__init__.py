"""Measurements against the field's own tools; ``README.md`` says how each is done and why it is fair."""
