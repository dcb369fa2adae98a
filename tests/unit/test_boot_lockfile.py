from __future__ import annotations

from pathlib import Path

import pytest

from syscontainers.boot.lockfile import read_lock, write_lock, write_toml
from syscontainers.errors import SyscontainersError, UsageError
from syscontainers.images.reference import Reference

DIGEST = "sha256:" + "ab" * 32


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "containers.lock"
    write_lock(path, {"a.b/x:1": DIGEST, "a.b:5000/y:latest": DIGEST})
    lock = read_lock([tmp_path / "none", path])
    assert lock is not None
    assert lock.digest_of(Reference.parse("a.b:5000/y")) == DIGEST
    with pytest.raises(UsageError, match=r"containers\.lock: does not pin a\.b/z:latest"):
        lock.digest_of(Reference.parse("a.b/z"))


def test_the_first_lock_counts_alone(tmp_path: Path) -> None:
    write_lock(tmp_path / "first", {})
    write_lock(tmp_path / "second", {"a.b/x:1": DIGEST})
    lock = read_lock([tmp_path / "first", tmp_path / "second"])
    assert lock is not None
    assert not lock.digests
    assert read_lock([tmp_path / "none"]) is None


def test_a_digest_in_the_reference_needs_no_lock(tmp_path: Path) -> None:
    write_lock(tmp_path / "lock", {})
    lock = read_lock([tmp_path / "lock"])
    assert lock is not None
    assert lock.digest_of(Reference.parse(f"a.b/x@{DIGEST}")) == DIGEST


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[images]\n"a.b/x:1" = "sha256:12"', "lock:2: images.a.b/x:1 must be sha256: and 64 hexadecimal digits"),
        ('[images]\n"a.b/x:1" = 3', "lock:2: images.a.b/x:1 must be sha256:"),
        ("other = 3", "lock:1: other does not belong into a lock file"),
        ("images = 3", "lock:1: images does not belong into a lock file"),
        ("[images", "lock:1: not valid TOML"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_lock([tmp_path / "lock"])
    assert caught.value.message.removeprefix(f"{tmp_path}/").startswith(said)


@pytest.mark.parametrize("value", ["\x1b[0m", "a\x7fb", "C:\\x64", "\\x"])
def test_what_the_writer_would_distort_is_refused(value: str) -> None:
    with pytest.raises(SyscontainersError, match="cannot be written as TOML"):
        write_toml({"values": {"A": value}})


@pytest.mark.parametrize("value", ["", "plain", 'with "quotes"', "line\nline", "ü € 🙂", "a\\\\b", "tab\there"])
def test_what_it_can_write_comes_back(value: str) -> None:
    import tomllib

    assert tomllib.loads(write_toml({"values": {"A": value}, "list": ["x"]})) == {"values": {"A": value}, "list": ["x"]}
