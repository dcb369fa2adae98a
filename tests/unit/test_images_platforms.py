from __future__ import annotations

import os

import pytest

from syscontainers.errors import NotFoundError, UsageError
from syscontainers.images import platforms
from syscontainers.images.documents import Descriptor, Index, Platform, RawManifest
from syscontainers.images.platforms import acceptable_variants, choose_manifest, host_platform, parse_platform


def entry(platform: str, number: int = 0, **annotations: str) -> Descriptor:
    where = Platform(*platform.split("/")) if platform else None
    names = {key.replace("_", "."): value for key, value in annotations.items()}
    return Descriptor("", f"sha256:{number:064x}", 1, names, where)


def choose(wish: str, *entries: Descriptor) -> Descriptor:
    return choose_manifest(Index(RawManifest(b"", ""), entries, {}), Platform(*wish.split("/")), "image")


def test_the_first_match_wins() -> None:
    wanted = entry("linux/amd64", 1)
    assert choose("linux/amd64", entry("linux/arm64"), wanted, entry("linux/amd64", 2)) is wanted


def test_zstd_is_preferred_among_equals() -> None:
    zstd = Descriptor(
        "", f"sha256:{9:064x}", 1, {"io.github.containers.compression.zstd": "true"}, Platform("linux", "amd64")
    )
    assert choose("linux/amd64", entry("linux/amd64"), zstd) is zstd
    # but not before a better platform
    better = entry("linux/amd64/v3", 1)
    assert choose("linux/amd64/v3", zstd, better) is better


@pytest.mark.parametrize(
    ("wish", "offered", "expected"),
    [
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7", "linux/arm/v5"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v8", "linux/arm/v5", "linux/arm"], "linux/arm/v5"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm"], "linux/arm"),
        ("linux/arm64/v8", ["linux/arm64"], "linux/arm64"),
        ("linux/arm64/v8", ["linux/arm64", "linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/amd64/v3", ["linux/amd64/v4", "linux/amd64", "linux/amd64/v2"], "linux/amd64/v2"),
        ("linux/amd64", ["linux/amd64/v1"], "linux/amd64/v1"),
        ("linux/s390x", ["linux/amd64", "linux/s390x"], "linux/s390x"),
        ("linux/amd64", ["linux/arm64", ""], ""),
    ],
)
def test_variants(wish: str, offered: list[str], expected: str) -> None:
    entries = [entry(platform, number) for number, platform in enumerate(offered)]
    assert choose(wish, *entries) is entries[offered.index(expected)]


@pytest.mark.parametrize(
    ("wish", "offered"),
    [
        ("linux/amd64", ["linux/arm64", "windows/amd64"]),
        ("linux/amd64", ["linux/amd64/v2"]),
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/amd64", ["unknown/unknown"]),
        ("linux/amd64", []),
    ],
)
def test_nothing_suitable(wish: str, offered: list[str]) -> None:
    with pytest.raises(NotFoundError) as caught:
        choose(wish, *(entry(platform) for platform in offered))
    assert wish in caught.value.message
    assert "offers" in caught.value.hint


def test_attestations_are_no_images() -> None:
    attestation = Descriptor("", f"sha256:{0:064x}", 1, {"vnd.docker.reference.type": "attestation-manifest"})
    with pytest.raises(NotFoundError):
        choose("linux/amd64", attestation)


@pytest.mark.parametrize("text", ["linux", "linux/", "linux/arm/v7/x", "linux/../x", ""])
def test_bad_platforms(text: str) -> None:
    with pytest.raises(UsageError):
        parse_platform(text)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("aarch64", "linux/arm64/v8"),
        ("armv7l", "linux/arm/v7"),
        ("armv6l", "linux/arm/v6"),
        ("s390x", "linux/s390x"),
        ("i686", "linux/386"),
    ],
)
def test_host_platform(monkeypatch: pytest.MonkeyPatch, machine: str, expected: str) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6", "#1", machine)))
    assert str(host_platform()) == expected


def test_amd64_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    v2 = {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}
    v3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6", "#1", "x86_64")))
    for flags, expected in ((set(), ""), (v2, "v2"), (v2 | v3, "v3"), (v3, "")):
        monkeypatch.setattr(platforms, "_cpu_flags", lambda flags=flags: flags)
        assert host_platform() == Platform("linux", "amd64", expected)
        assert acceptable_variants(host_platform())[-1] == ""
