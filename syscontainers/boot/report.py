"""What came of an ``apply``, container by container."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import SyscontainersError, UnhealthyError, from_os_error


@dataclass
class Report:
    """What became of each container, in the order in which it happened."""

    done: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, SyscontainersError] = field(default_factory=dict)
    """What went wrong, by container, or by unit or file where it is about none."""
    missing: dict[str, SyscontainersError] = field(default_factory=dict)
    """Those whose images could not be had, which another try may change."""
    left: dict[str, UnhealthyError] = field(default_factory=dict)
    """Those that stay as they are, because what is declared did not come up when it was tried."""
    bound: bool = False
    """Whether a drop-in was written, which PID 1 has to read before anything starts."""

    def note(self, name: str, what: str) -> None:
        """Something was done to a container."""
        self.done.setdefault(name, []).append(what)

    @contextlib.contextmanager
    def catch(self, name: str) -> Iterator[None]:
        """Note what goes wrong with a container, and go on."""
        try:
            yield
        except SyscontainersError as error:
            self.failed[name] = error
        except OSError as error:
            self.failed[name] = from_os_error(error)

    @property
    def is_complete(self) -> bool:
        """Another ``apply`` would find nothing that it could do."""
        return not self.failed and not self.missing
