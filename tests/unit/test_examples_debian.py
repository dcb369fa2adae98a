"""Packages for the examples' images, fetched by several processes at once, as a test run does on a fresh machine."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from examples.debian import download_packages

# Writes a package in two steps, with time between for somebody who does not wait; complains when it is there already.
APT_GET = """\
#!/bin/sh
for name; do :; done
set -eC
printf half >"${name}_1.deb"
sleep 0.2
printf ' and half' >>"${name}_1.deb"
echo "$name" >>fetched
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin/apt-get"
    program.parent.mkdir()
    program.write_text(APT_GET)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "debs"


def test_nobody_sees_half_a_package(cache: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda _: download_packages(["tool"], cache)[0].read_text(), range(3))
        assert list(found) == ["half and half"] * 3
    assert (cache / "fetched").read_text() == "tool\n"
