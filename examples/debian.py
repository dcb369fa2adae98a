"""Image layers out of Debian packages, without installing any.

``apt-get download`` fetches and verifies a package against the archive's signed lists, ``dpkg-deb --fsys-tarfile``
gives its files as a tar stream; what is left to do is to follow the merged ``/usr`` and to leave documentation
out. Owners, times and order are fixed, so that the same packages always make the same bytes.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from examples.locked import locked

LEFT_OUT = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/", "usr/lib/systemd/")
MERGED = ("bin", "sbin", "lib", "lib64")
# Layers name no moment of building; any fixed time will do, and 0 makes some tools complain.
EPOCH = 1_672_531_200


@dataclass
class Tree:
    """The files of one layer, by path without a leading slash."""

    members: dict[str, tuple[tarfile.TarInfo, bytes]] = field(default_factory=dict)

    def add(self, info: tarfile.TarInfo, data: bytes = b"") -> None:
        """Put one member in, in place of any of the same path."""
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = EPOCH
        info.size = len(data)
        self.members[info.name] = (info, data)

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """A regular file."""
        info = tarfile.TarInfo(path)
        info.mode = mode
        self.add(info, text.encode() if isinstance(text, str) else text)

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """An empty directory."""
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, mode
        self.add(info)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, target
        self.add(info)

    def own(self, path: str, uid: int, gid: int) -> None:
        """Change the owner of a member."""
        info = self.members[path][0]
        info.uid, info.gid = uid, gid

    def tar(self) -> bytes:
        """The layer as an uncompressed tar archive, sorted by path."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for _, (info, data) in sorted(self.members.items()):
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()


def download_packages(names: Sequence[str], cache: Path) -> list[Path]:
    """The .deb file of each package, fetched unless ``cache`` has one already."""
    with locked(cache / "lock"):
        missing = [name for name in names if not list(cache.glob(f"{name}_*.deb"))]
        if missing:
            _download(missing, cache)
    return [max(cache.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime) for name in names]


def _download(names: Sequence[str], directory: Path) -> None:
    # Root's apt would fetch as the user _apt, which may not write here.
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names]
    if subprocess.run(command, cwd=directory, capture_output=True, check=False).returncode != 0:
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        subprocess.run(command, cwd=directory, stdout=subprocess.DEVNULL, check=True)


def _merge_usr(path: str) -> str:
    return f"usr/{path}" if path.split("/", maxsplit=1)[0] in MERGED else path


def _members(package: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    stream = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        for info in archive:
            info.name = _merge_usr(info.name.removeprefix("./").rstrip("/"))
            if info.islnk():
                info.linkname = _merge_usr(info.linkname.removeprefix("./"))
            file = archive.extractfile(info) if info.isreg() else None
            yield info, file.read() if file else b""


def unpack_packages(tree: Tree, packages: Iterable[Path], keep: Sequence[str] = ("",)) -> None:
    """Add the packages' files whose paths begin with one of ``keep``, and the merged ``/usr``'s links."""
    for package in packages:
        for info, data in _members(package):
            path = f"{info.name}/"
            left_out = path.startswith(LEFT_OUT) or "/gconv/" in path  # converters between character sets: 8 MB
            if info.name.startswith(tuple(keep)) and not left_out and info.name not in ("", ".", *MERGED):
                tree.add(info, data)


def add_usr_links(tree: Tree) -> None:
    """``/bin`` and its kin as the links that a Debian system has."""
    for name in MERGED:
        tree.make_directory(f"usr/{name}")
        tree.link(name, f"usr/{name}")


def add_accounts(tree: Tree, accounts: Mapping[str, int]) -> None:
    """``/etc/passwd`` and ``/etc/group`` with root and ``accounts``."""
    everyone = {"root": 0, **accounts}
    users = [f"{name}:x:{number}:{number}:{name}:/:/usr/sbin/nologin\n" for name, number in everyone.items()]
    tree.write("etc/passwd", "".join(users))
    tree.write("etc/group", "".join(f"{name}:x:{number}:\n" for name, number in everyone.items()))
