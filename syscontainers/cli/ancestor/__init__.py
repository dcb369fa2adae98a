"""The parts of the ``atomic`` command: what each of its verbs reads, which request of ours it makes, what it prints.

One file for each group of verbs. Where what they do differs from the ancestor on purpose stands in ``docs/atomic.md``.
"""
