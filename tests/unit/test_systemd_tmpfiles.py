from __future__ import annotations

from pathlib import Path

import pytest

from syscontainers.errors import SyscontainersError
from syscontainers.systemd import tmpfiles


def test_rules_are_applied_and_taken_back(tmp_path: Path) -> None:
    rules = tmp_path / "rules.conf"
    rules.write_text(f"d {tmp_path}/kept 0750 - - -\nD {tmp_path}/emptied 0755 - - -\n")
    tmpfiles.create(rules)
    assert (tmp_path / "kept").stat().st_mode & 0o7777 == 0o750
    for directory in ("kept", "emptied"):
        (tmp_path / directory / "data").touch()
    tmpfiles.remove(rules)
    assert (tmp_path / "kept/data").exists()
    assert not (tmp_path / "emptied/data").exists()


def test_no_file_asks_for_nothing(tmp_path: Path) -> None:
    tmpfiles.create(tmp_path / "none.conf")
    tmpfiles.remove(tmp_path / "none.conf")


def test_invalid_rules_are_an_error_and_found_before(tmp_path: Path) -> None:
    rules = tmp_path / "rules.conf"
    rules.write_text("nonsense\n")
    with pytest.raises(SyscontainersError, match="systemd-tmpfiles"):
        tmpfiles.create(rules)
    problems = tmpfiles.check_rules("d /run/x 0755 root root -\nd relative\nd /run/y 0999\n")
    assert [problem.partition(":")[0] for problem in problems] == ["2", "3"]


def test_checking_rules_touches_nothing(tmp_path: Path) -> None:
    assert tmpfiles.check_rules(f"d {tmp_path}/made 0755 - - -\nf {tmp_path}/file - - - - text\n") == ()
    assert list(tmp_path.iterdir()) == []
