"""containers/storage on disk."""
