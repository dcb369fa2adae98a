"""How an image says that its payload is asked whether it is well."""

from __future__ import annotations

from dataclasses import dataclass

from ..typed import Document


@dataclass(frozen=True)
class HealthCheck:
    """How to ask the payload whether it is well; our addition to the contract."""

    command: tuple[str, ...]
    """Run inside the container; exit status 0 means well."""
    timeout: float = 30.0
    """Seconds after the start within which it must have been well once."""
    interval: float = 1.0
    """Seconds between two tries."""

    def to_json(self) -> dict[str, object]:
        """As it stands in a manifest and in a generation's record."""
        return {"command": list(self.command), "timeout": self.timeout, "interval": self.interval}

    @classmethod
    def from_json(cls, document: Document) -> HealthCheck:
        """The reverse of ``to_json``. Raises DocumentError."""
        command = tuple(document.get_strings("command"))
        if not command or not command[0]:
            document.fail("command", "must name a program")
        return cls(command, _seconds(document, "timeout", cls.timeout), _seconds(document, "interval", cls.interval))


def _seconds(document: Document, key: str, default: float) -> float:
    value = document.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 86400:
        document.fail(key, "must be a number of seconds, more than 0 and at most a day")
    return float(value)
