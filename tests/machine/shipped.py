"""The units that we ship, as an installation has them."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.machine.host import CHECKOUT

APPLY, RECOVER, ROOTS, SETTLE = (f"syscontainers-{name}.service" for name in ("apply", "recover", "roots", "settle"))


def shipped_unit(name: str) -> str:
    """The text of a unit, which runs the command of the tests."""
    program = Path(sys.executable).parent / "syscontainer"
    return (CHECKOUT / "units" / name).read_text().replace("ExecStart=syscontainer", f"ExecStart={program}")
