"""The templates we fall back to; package data."""
