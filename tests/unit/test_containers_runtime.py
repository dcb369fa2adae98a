from __future__ import annotations

from pathlib import Path

import pytest

from syscontainers.containers.runtime import Runtime, find_runtime
from syscontainers.errors import SyscontainersError


def make_runtime(path: Path, first_line: str) -> str:
    program = path / "runtime"
    program.write_text(f"#!/bin/sh\necho '{first_line}'\necho 'spec: 1.0.2-dev'\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    "line", ["runc version 1.0.0-rc6", "runc version 1.0.0-rc94", "runc version 0.1.1", "crun version 0.10.4"]
)
def test_runtimes_that_any_image_escapes_from_are_refused(tmp_path: Path, line: str) -> None:  # CVE-2019-5736
    with pytest.raises(SyscontainersError, match="cannot contain a hostile image"):
        find_runtime(make_runtime(tmp_path, line))


@pytest.mark.parametrize(
    ("line", "cve"),
    [
        ("runc version 1.1.5+ds1", "CVE-2024-21626"),
        ("runc version 1.1.11", "CVE-2024-21626"),
        ("runc version 1.1.5", "CVE-2025-31133"),
        ("runc version 1.2.7", "CVE-2025-52881"),
        ("runc version 1.3.2", "CVE-2025-52565"),
        ("crun version 1.4.3", "CVE-2022-27650"),
    ],
)
def test_weak_runtimes_are_named(tmp_path: Path, line: str, cve: str) -> None:
    (notice,) = find_runtime(make_runtime(tmp_path, line)).notices
    assert cve in notice


@pytest.mark.parametrize(
    "line", ["runc version 1.2.8", "runc version 1.3.3", "runc version 1.4.0", "crun version 1.8.1"]
)
def test_current_runtimes_are_not(tmp_path: Path, line: str) -> None:
    assert find_runtime(make_runtime(tmp_path, line)).notices == ()


def test_what_is_mended_is_not_named() -> None:
    (notice,) = Runtime(Path("/x"), "runc", "1.1.12").notices
    assert "CVE-2024-21626" not in notice


def test_an_unknown_runtime_is_taken_as_it_is(tmp_path: Path) -> None:
    runtime = find_runtime(make_runtime(tmp_path, "youki 0.3"))
    assert (runtime.version, runtime.notices) == ("unknown", ())
