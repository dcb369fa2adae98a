"""Where a command runs: a starting state that is as good as new for every run.

Each worker of a campaign has a mount namespace and a bench of its own, at the same path; so names that a state holds
of itself are true in each copy, and nothing is left mounted however a worker ends.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from syscontainers.kernel import mount, umount2
from syscontainers.run import run

State = TypeVar("State")
_MNT_DETACH = 0x2  # linux/mount.h


class Bench(Protocol[State]):
    """Gives states out, one at a time."""

    def open(self, worker: int) -> contextlib.AbstractContextManager[None]:
        """Called once in each worker, in a mount namespace of its own."""
        ...

    def fresh(self) -> contextlib.AbstractContextManager[State]:
        """The starting state, once more."""
        ...

    def cut_power(self, state: State) -> None:
        """Leave of ``state`` only what the disk holds at this moment. Not every bench can."""
        ...


class DirectoryBench:
    """A directory in memory, made by ``prepare`` and copied for each run."""

    def __init__(self, place: Path, prepare: Callable[[Path], None] = lambda state: None) -> None:
        self.state = place / "state"
        self._golden = place / "golden"
        self._place = place
        self._prepare = prepare

    @contextlib.contextmanager
    def open(self, worker: int) -> Iterator[None]:
        self._place.mkdir(parents=True, exist_ok=True)
        mount("tmpfs", str(self._place), "tmpfs", 0, "mode=755")
        # Made under the name that the copies will have.
        self.state.mkdir()
        self._prepare(self.state)
        self.state.rename(self._golden)
        yield

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Path]:
        run(["cp", "-a", self._golden, self.state])
        try:
            yield self.state
        finally:
            shutil.rmtree(self.state)

    def cut_power(self, state: Path) -> None:
        raise NotImplementedError("memory has no power to cut: use a DiskBench")


class DiskBench:
    """A file system on a loop device whose file is in memory; a power cut leaves what had reached that file.

    The kernel writes back by itself only after seconds, so what a command did not sync is lost for certain.
    """

    def __init__(
        self, place: Path, prepare: Callable[[Path], None] = lambda state: None, *, size: int = 256 << 20
    ) -> None:
        self.state = place / "state"
        self._golden, self._image, self._cut = (place / f"{name}.img" for name in ("golden", "image", "cut"))
        self._place = place
        self._prepare = prepare
        self._size = size

    @contextlib.contextmanager
    def open(self, worker: int) -> Iterator[None]:
        self._place.mkdir(parents=True, exist_ok=True)
        mount("tmpfs", str(self._place), "tmpfs", 0, "mode=755")
        self.state.mkdir()
        with self._golden.open("wb") as file:
            file.truncate(self._size)
        # Without lazy initialisation, no kernel thread writes to the disk when we do not.
        run(["mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", self._golden])
        with self._mounted(self._golden):
            (self.state / "lost+found").rmdir()
            self._prepare(self.state)
        yield

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Path]:
        self._copy(self._golden, self._image)
        with self._mounted(self._image):
            yield self.state

    def cut_power(self, state: Path) -> None:
        self._copy(self._image, self._cut)
        umount2(str(state), _MNT_DETACH)
        self._mount(self._cut)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        run(["cp", "--sparse=always", source, target])

    def _mount(self, image: Path) -> None:
        # By default ext4 syncs a file that replaces another by rename, for programs that forget to. Other file
        # systems do not (ext4(5), auto_da_alloc).
        run(["mount", "-o", "loop,noauto_da_alloc", image, self.state])

    @contextlib.contextmanager
    def _mounted(self, image: Path) -> Iterator[None]:
        self._mount(image)
        try:
            yield
        finally:
            umount2(str(self.state), 0)
