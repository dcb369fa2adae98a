"""Containers as systemd services, before any orchestrator exists."""

__version__ = "0.1.0"
