"""Worked examples; each runs from the checkout."""
