"""A tiny initial RAM disk: busybox, a few kernel modules and ten lines of shell.

Debian's own takes a third of an emulated boot to unpack. The kernel has ext4 built in and lacks only virtio.
Format: newc, Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

from __future__ import annotations

import itertools
import lzma
import stat
from collections.abc import Mapping
from pathlib import Path

# Where a kernel has them built in, there is nothing to load.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_console")
KERNEL_IS_UP = "The kernel is up."
"""What the first program writes to the console, before a disk can be written to."""
_INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
echo "%s" >/dev/ttyS0
for module in %s; do /bin/busybox insmod /$module; done
while ! [ -b /dev/vda ]; do /bin/busybox usleep 10000; done
/bin/busybox mount -t ext4 -o rw /dev/vda /root
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /sbin/init "$@"
"""


def _member(number: int, name: str, mode: int, data: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def write_cpio(members: Mapping[str, tuple[int, bytes]]) -> bytes:
    """An archive of ``members``: name to mode and content."""
    rows = [_member(number, name, mode, data) for number, (name, (mode, data)) in enumerate(members.items(), 1)]
    return b"".join([*rows, _member(0, "TRAILER!!!", 0, b"")])


def build_initrd(modules: Path, busybox: Path) -> bytes:
    """The archive for the kernel whose ``modules`` (``/lib/modules/VERSION``) are given."""
    members: dict[str, tuple[int, bytes]] = dict.fromkeys(("bin", "dev", "root"), (stat.S_IFDIR | 0o755, b""))
    members["bin/busybox"] = (stat.S_IFREG | 0o755, busybox.read_bytes())
    loaded = _load_order(modules)
    for path in loaded:
        data = path.read_bytes()
        members[path.stem] = (stat.S_IFREG | 0o644, lzma.decompress(data) if path.suffix == ".xz" else data)
    init = _INIT % (KERNEL_IS_UP, " ".join(path.stem for path in loaded))
    members["init"] = (stat.S_IFREG | 0o755, init.encode())
    return write_cpio(members)


def _load_order(modules: Path) -> list[Path]:
    """The files of the modules that are wanted, each after those that it needs (modules.dep(5))."""
    lines = (line.split(":") for line in (modules / "modules.dep").read_text().splitlines())
    needs = {Path(path).name.split(".")[0]: [*reversed(others.split()), path] for path, others in lines}
    rows = (needs.get(name, []) for name in _MODULES)
    return [modules / path for path in dict.fromkeys(itertools.chain.from_iterable(rows))]
