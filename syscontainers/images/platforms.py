"""Choosing from an index what this machine can run.

OCI image-spec, "Image Index"; names and variants as in containerd's platforms package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import NotFoundError, UsageError
from .documents import Descriptor, Index, Platform

_MACHINES = {
    "x86_64": "amd64",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armv8l": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "armv5tel": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loong64",
    "mips64": "mips64le",
}
# x86-64 psABI, table "Micro-Architecture Levels", in the spelling of /proc/cpuinfo.
_AMD64_LEVELS = (
    ("v2", {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}),
    ("v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    ("v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)
_NEWEST_ARM = 8
_OLDEST_ARM = 5


def wished_platform(text: str | None) -> Platform:
    """What the user asked for, or else this machine's. Raises UsageError."""
    return parse_platform(text) if text else host_platform()


def parse_platform(text: str) -> Platform:
    """Understand ``os/architecture[/variant]``. Raises UsageError."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isalnum() for part in parts):
        raise UsageError(f"{text!r} is not a platform", "write it like linux/arm64 or linux/arm/v7")
    return Platform(*parts)


def host_platform() -> Platform:
    """What this machine runs best, in Go's names; an unknown machine keeps the kernel's own."""
    machine = os.uname().machine
    architecture = _MACHINES.get(machine, machine)
    if architecture == "amd64":
        return Platform("linux", architecture, _amd64_level(_cpu_flags()))
    if architecture == "arm":
        return Platform("linux", architecture, f"v{machine[4]}")
    return Platform("linux", architecture, "v8" if architecture == "arm64" else "")


def _cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return set(value.split())
    return set()


def _amd64_level(flags: set[str]) -> str:
    level = ""
    for name, needed in _AMD64_LEVELS:
        if not needed <= flags:
            break
        level = name
    return level


def acceptable_variants(platform: Platform) -> tuple[str, ...]:
    """Variants that run on ``platform``, best first; the empty one is the last resort."""
    number = int(platform.variant[1:]) if platform.variant[1:].isdigit() else 0
    if platform.architecture == "arm":
        return (*(f"v{n}" for n in range(number or _NEWEST_ARM, _OLDEST_ARM - 1, -1)), "")
    if platform.architecture == "amd64":
        return (*(f"v{n}" for n in range(number, 0, -1)), "") if number else ("v1", "")
    if platform.architecture == "arm64":
        return ("v8", "") if number in (0, 8) else (platform.variant, "v8", "")
    return (platform.variant, "") if platform.variant else ("",)


def suits(offered: Platform, wish: Platform) -> bool:
    """Whether an image for ``offered`` is one for ``wish``; where either names no variant, any is."""
    if (offered.os, offered.architecture) != (wish.os, wish.architecture):
        return False
    return not (offered.variant and wish.variant) or offered.variant in acceptable_variants(wish)


def choose_manifest(index: Index, wish: Platform, where: str) -> Descriptor:
    """The entry for ``wish``; the first of equals, but a zstd one before them, as containers/image does.

    Raises NotFoundError listing what there is.
    """
    entries = [entry for entry in index.manifests if not _is_attachment(entry)]
    for variant in acceptable_variants(wish):
        if found := _zstd_first(entry for entry in entries if _matches(entry, wish, variant)):
            return found
    if found := _zstd_first(entry for entry in entries if entry.platform is None):
        return found
    offered = ", ".join(sorted({str(entry.platform) for entry in entries if entry.platform})) or "nothing"
    raise NotFoundError(f"{where}: has no image for {wish}", f"it offers {offered}")


def _is_attachment(entry: Descriptor) -> bool:
    # BuildKit puts provenance records into the index as if they were images.
    kind = entry.annotations.get("vnd.docker.reference.type")
    return kind == "attestation-manifest" or (entry.platform is not None and entry.platform.os == "unknown")


def _matches(entry: Descriptor, wish: Platform, variant: str) -> bool:
    return entry.platform == Platform(wish.os, wish.architecture, variant)


def _zstd_first(entries: Iterable[Descriptor]) -> Descriptor | None:
    found = list(entries)
    zstd = [entry for entry in found if entry.annotations.get("io.github.containers.compression.zstd") == "true"]
    return next(iter(zstd or found), None)
