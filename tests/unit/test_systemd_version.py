from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from syscontainers.errors import SyscontainersError
from syscontainers.systemd.version import installed_version, major_version


def test_it_is_that_of_the_programs() -> None:
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"systemd {installed_version()} ")


@pytest.mark.parametrize(
    ("text", "number"), [("252.39-1~deb12u2", 252), ("systemd 257 (257.13-1)", 257), ("v255~rc1", 255), ("new", 0)]
)
def test_the_first_number_counts(text: str, number: int) -> None:
    assert major_version(text) == number


def test_what_is_no_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "systemd-analyze").write_text("#!/bin/sh\necho something else\n")
    (tmp_path / "systemd-analyze").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SyscontainersError, match="no version in 'something else"):
        installed_version()
