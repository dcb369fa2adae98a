"""Half-done work of living processes, and how that of dead ones is told from it.

The staging area lies beside the store, on its file system::

    storage-XXXXXXXXXXXXXXXX/        a working directory
    storage-XXXXXXXXXXXXXXXX.lock    locked by its process as long as that lives; holds the ticket
    layer-ID.lock                    a claim: somebody pulls (exclusive) or builds on (shared) that layer
    image-ID.lock                    a claim: somebody is about to use that image (shared), or to remove it (exclusive)

A working directory whose lock nobody holds is left over from a process that died. The *ticket* in the lock file
names the layers and images that the process was about to put into the store, or to take out of it: whoever finds
the leftover compares the ticket with the store's records and removes what no record mentions (``settle``).
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import secrets
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import files, kernel
from ..typed import Document, DocumentError

_PREFIX = "storage-"
_LAYER_PREFIX, _IMAGE_PREFIX = "layer-", "image-"
_SUFFIX = ".lock"
_LIMIT = 1 << 20


@dataclass(frozen=True)
class Ticket:
    """What a process is about to put into, or take out of, which store."""

    root: str
    layers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: bytes, where: str) -> Ticket:
        """Raises DocumentError."""
        document = Document.parse(data, where)
        return cls(
            document.get_str("root"), tuple(document.get_strings("layers")), tuple(document.get_strings("images"))
        )


class WorkingDirectory:
    """A directory that goes away with its process."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.is_settled = True
        """Whether store and ticket agree; a directory that is not is kept, to be settled by a later process."""
        self._lock = lock

    def note(self, ticket: Ticket, *, durable: bool = True) -> None:
        """Write down what the store is going to gain or lose. Raises OSError.

        It has to be on the disk before that happens: either now, or by a ``sync``.
        """
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps(asdict(ticket)).encode(), 0)
        if durable:
            os.fsync(self._lock)
            files.sync_directory(self.path.parent)
        self.is_settled = False

    def read_ticket(self) -> Ticket | None:
        """The ticket, or None where none was written whole: then the store was not touched yet."""
        data = os.pread(self._lock, _LIMIT, 0)
        try:
            return Ticket.parse(data, str(self.path)) if data else None
        except DocumentError:
            return None

    def sync(self) -> None:
        """Write back everything on its file system. Raises OSError, also for a write that was lost since it was made.

        The kernel tells each descriptor of what was lost since that was opened (syncfs(2), errseq): one that is opened
        only now would not hear of what another process has been told of.
        """
        kernel.syncfs(self._lock)

    def remove(self) -> None:
        """Remove it with what is in it. Raises OSError; what is left is found once more, by its lock file."""
        files.remove_tree(self.path)
        self.path.with_name(self.path.name + _SUFFIX).unlink(missing_ok=True)


def _lock_file(path: Path, *, exclusive: bool, wait: bool) -> int:
    """Open and lock a file that others may unlink. Raises BlockingIOError if not ``wait`` and it is held."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            kernel.lock_descriptor(descriptor, exclusive=exclusive, wait=wait)
            # Whoever held it before may have removed it while we waited; a lock on a file without a name is none.
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _give_back(path: Path, descriptor: int) -> None:
    """Release a lock file, and remove it if nobody else holds it too."""
    try:
        kernel.lock_descriptor(descriptor, exclusive=True, wait=False)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        pass  # another one shares the claim and removes the file
    finally:
        os.close(descriptor)


class StagingArea:
    """The staging directory of a store."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make it; nobody but root looks inside, because layers hold setuid programs (CVE-2021-41091)."""
        files.make_directories(self.path, 0o700)

    @contextlib.contextmanager
    def working_directory(self) -> Iterator[WorkingDirectory]:
        """A fresh directory, removed on exit with what is still in it. Raises OSError."""
        path = self.path / f"{_PREFIX}{secrets.token_hex(8)}"
        # Who looks for leftovers may find the file before it is locked; then it is gone when we have the lock.
        descriptor = _lock_file(path.with_name(path.name + _SUFFIX), exclusive=True, wait=True)
        try:
            work = WorkingDirectory(path, descriptor)
            try:
                path.mkdir(mode=0o700)
                yield work
            finally:
                if work.is_settled:
                    work.remove()
        finally:
            os.close(descriptor)

    def leftovers(self) -> Generator[WorkingDirectory, None, None]:
        """The working directories of dead processes, each locked while it is looked at."""
        for lock in self.path.glob(f"{_PREFIX}*{_SUFFIX}"):
            try:
                descriptor = _lock_file(lock, exclusive=True, wait=False)
            except BlockingIOError:
                continue  # its process lives
            try:
                yield WorkingDirectory(lock.with_name(lock.name.removesuffix(_SUFFIX)), descriptor)
            finally:
                os.close(descriptor)

    def claim(self, layer_id: str, *, exclusive: bool, wait: bool = True) -> contextlib.AbstractContextManager[int]:
        """Hold the claim on a layer. Raises BlockingIOError if not ``wait`` and others hold it."""
        return self._claim(f"{_LAYER_PREFIX}{layer_id}", exclusive=exclusive, wait=wait)

    def claim_image(
        self, image_id: str, *, exclusive: bool, wait: bool = True
    ) -> contextlib.AbstractContextManager[int]:
        """Hold the claim on an image; as above."""
        return self._claim(f"{_IMAGE_PREFIX}{image_id}", exclusive=exclusive, wait=wait)

    @contextlib.contextmanager
    def _claim(self, name: str, *, exclusive: bool, wait: bool) -> Iterator[int]:
        path = self.path / f"{name}{_SUFFIX}"
        # Who does not wait must not take one who sweeps for a holder: the two keep each other out, for an instant.
        with contextlib.nullcontext() if wait else files.lock_directory(self.path, fcntl.LOCK_SH):
            descriptor = _lock_file(path, exclusive=exclusive, wait=wait)
        try:
            yield descriptor
        finally:
            _give_back(path, descriptor)

    def drop_dead_claims(self) -> None:
        """Remove the lock files of claims whose processes died. Raises OSError."""
        alone = files.lock_directory(self.path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(BlockingIOError), alone:
            claims = (self.path.glob(f"{prefix}*{_SUFFIX}") for prefix in (_LAYER_PREFIX, _IMAGE_PREFIX))
            for path in itertools.chain.from_iterable(claims):
                with contextlib.suppress(BlockingIOError):  # its process lives
                    _give_back(path, _lock_file(path, exclusive=True, wait=False))


def share_claim(descriptor: int) -> None:
    """Turn an exclusive claim into a shared one, without a gap."""
    kernel.lock_descriptor(descriptor, exclusive=False)
