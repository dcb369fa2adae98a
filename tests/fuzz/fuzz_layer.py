"""Fuzzes what members do to each other: few names, many kinds, links everywhere, aimed at the canary."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.archive import END, header, padded, pax

from .choices import Choices
from .fuzz_tar import Workshop, run

_PARTS = (b"a", b"b", b"c", b"d", b".wh.a", b".wh.b", b".wh..wh..opq", b".", b"", b"e", b"secret", b"tools")
_LINKS = (b"..", b"../..", b"../../..", b"/", b"/proc/self/root", b"../canary", b".")
_KINDS = (b"0", b"0", b"0", b"5", b"5", b"2", b"2", b"1", b"1", b"6", b"3")
_MODES = (0o644, 0o755, 0o2775, 0o4755, 0, 0o1777)
_PIECE = b"\x49"


def _name(choices: Choices) -> bytes:
    return b"/".join(choices.of(_PARTS) for _ in range(1 + choices.pick(3)))


def build(data: bytes, canary: bytes) -> bytes:
    """The archive that the input describes."""
    choices = Choices(data)
    members = []
    while choices.left > 0:
        kind = choices.of(_KINDS)
        name, mode, owner = _name(choices), choices.of(_MODES), choices.pick(2) * 50
        link = _name(choices)
        if kind == b"2" and choices.pick(2):
            link = choices.of((*_LINKS, canary, canary + b"/secret"))
        body = b"x" * choices.pick(3) * 300 if kind == b"0" else b""
        if choices.pick(8) == 0:
            members.append(pax({b"SCHILY.xattr.user.x": b"1", b"mtime": b"1.5"}))
        links = link if kind in b"12" else b""
        members.append(
            header(name, kind, size=len(body), mode=mode, gid=owner, link=links, device=(0, choices.pick(2)))
        )
        members.append(padded(body))
    return b"".join(members) + END


@contextlib.contextmanager
def target(corpus: Path) -> Iterator[Callable[[bytes], None]]:
    """What to call with each input, after ``corpus`` has been filled with seeds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        workshop = Workshop(Path(name))
        canary = os.fsencode(workshop.canary)
        (corpus / "mixed").write_bytes(bytes(range(200)))
        os.umask(0)
        yield lambda data: run(workshop, _PIECE + build(data[:400], canary))
