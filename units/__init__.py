"""The systemd units we ship; package data."""
