"""A container's life as recipes over plans, generations and transactions."""
