"""The files of an image that lies on this host, in a directory or inside a tar, read in place.

Names asked for are built by us from checked digests or come from a bounded document in the same archive; a tar is
only a table of names here, so no name in it ever becomes a path.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import tarfile
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import HostileArchiveError, NotFoundError, RefusedError, SyscontainersError
from ..storage.inflate import PLAIN, Inflater, identify
from ..storage.limits import Expansion, FreeSpace, Limits
from ..typed import DocumentError
from .sources import CHUNK

_MOST_MEMBERS = 100_000
_MOST_LINKS = 8


class Files(Protocol):
    """Files by name."""

    where: str

    def size(self, name: str) -> int:
        """Bytes of a file. Raises NotFoundError."""
        ...

    def chunks(self, name: str) -> Generator[bytes, None, None]:
        """The content of a file. Raises NotFoundError."""
        ...


def read_whole(files: Files, name: str, limit: int) -> bytes:
    """A small file. Raises NotFoundError, RefusedError beyond ``limit`` bytes."""
    if files.size(name) > limit:
        raise RefusedError(f"{files.where}: {name} is longer than {limit} bytes")
    return b"".join(files.chunks(name))


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading without buffer, and nothing but a file. Raises NotFoundError, SyscontainersError."""
    try:
        # O_NONBLOCK: a FIFO would hang us before fstat could tell
        with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RefusedError(f"{path}: is no regular file")
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"{path}: no such file", "is the image complete, and of this format?") from None
    except OSError as error:
        raise SyscontainersError(f"{path}: {error.strerror}") from None


class DirectoryFiles:
    """Files below a directory."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def size(self, name: str) -> int:
        """As ``Files``."""
        with open_regular(self._path / name) as file:
            return os.fstat(file.fileno()).st_size

    def chunks(self, name: str) -> Generator[bytes, None, None]:
        """As ``Files``."""
        with open_regular(self._path / name) as file:
            while chunk := file.read(CHUNK):
                yield chunk


_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class _Header(tarfile.TarInfo):
    """A header whose extensions are short, and which is no sparse file's.

    tarfile holds both in memory whatever their size (CVE-2022-2879 and CVE-2025-58183 elsewhere), and a compressed
    archive of some megabytes can have gigabytes of them. It has no public place to say so.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENSIONS and self.size > Limits().extension:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise tarfile.ReadError("a sparse file")


class TarFiles:
    """Members of an uncompressed tar, by an offset table; threads read at their own positions."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        """Read the table from ``file``, which stays the caller's. Raises DocumentError."""
        self.where = where
        self._descriptor = file.fileno()
        self._table: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as tar:
                self._read_table(tar)
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise DocumentError(f"{where}: is no tar archive: {error}") from None
        except RecursionError:  # tarfile calls itself for each extended header that follows another
            raise DocumentError(f"{where}: has too many extended headers in a row") from None

    def _read_table(self, tar: tarfile.TarFile) -> None:
        for number, member in enumerate(tar):
            name = posixpath.normpath(member.name)
            if number >= _MOST_MEMBERS:
                raise DocumentError(f"{self.where}: has more than {_MOST_MEMBERS} members")
            if member.isdir():
                continue
            if name in self._table or name in self._links:
                raise DocumentError(f"{self.where}: has two members called {name!r}")
            if member.issym():
                self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
            elif member.islnk():
                self._links[name] = posixpath.normpath(member.linkname)
            elif member.isreg() and not member.issparse():
                self._table[name] = (member.offset_data, member.size)

    def _find(self, name: str) -> tuple[int, int]:
        wanted = posixpath.normpath(name)
        for _ in range(_MOST_LINKS):
            if wanted in self._table:
                return self._table[wanted]
            if wanted.startswith(("/", "..")):
                raise RefusedError(f"{self.where}: {name} leads out of the archive", "do not use this file")
            wanted = self._links.get(wanted, "")
        raise NotFoundError(f"{self.where}: has no {name}", "is it complete, and of this format?")

    def size(self, name: str) -> int:
        """As ``Files``."""
        return self._find(name)[1]

    def chunks(self, name: str) -> Generator[bytes, None, None]:
        """As ``Files``."""
        position, left = self._find(name)
        while left > 0:
            chunk = os.pread(self._descriptor, min(CHUNK, left), position)
            if not chunk:
                raise RefusedError(f"{self.where}: ends within {name}")
            position, left = position + len(chunk), left - len(chunk)
            yield chunk


@contextlib.contextmanager
def open_tar(path: Path, scratch: Path) -> Iterator[TarFiles]:
    """The members of the tar at ``path``; a compressed one is inflated into an unnamed file in ``scratch``.

    Raises NotFoundError, SyscontainersError, DocumentError, HostileArchiveError.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_regular(path))
        if identify(os.pread(file.fileno(), CHUNK, 0)) != PLAIN:
            # Names lead to places all over the tar, and a compressed stream can only be read from its beginning.
            file = stack.enter_context(_inflate(file, path, scratch))
        yield TarFiles(file, str(path))


@contextlib.contextmanager
def _inflate(packed: BinaryIO, path: Path, scratch: Path) -> Iterator[BinaryIO]:
    limits = Limits()
    expansion, space = Expansion(limits), FreeSpace(scratch, limits)
    with tempfile.TemporaryFile(dir=scratch) as file:
        try:
            for piece in Inflater(iter(lambda: packed.read(CHUNK), b"")):
                expansion.add(len(piece), packed.tell())
                space.check(len(piece))
                file.write(piece)
        except HostileArchiveError as error:
            raise HostileArchiveError(f"{path}: {error.message}", "do not use this file") from None
        file.seek(0)
        yield file
