from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from syscontainers.boot.stamp import stamp_command, take_stamp, write_stamp
from syscontainers.systemd.unitfile import parse

UNIT = Path(__file__).parents[2] / "units" / "syscontainers-apply.service"


@pytest.fixture
def roots(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    declared = [tmp_path / name for name in ("etc", "run", "usr-lib")]
    seeds = [tmp_path / name for name in ("usr-share", "var")]
    for path, text in {
        "etc/containers.d/a.toml": 'image = "x"',
        "etc/containers.d/b c.toml": 'image = "y"',
        "etc/containers.d/a.toml.d/1.toml": "start = false",
        "etc/containers.lock": "",
        "etc/config.toml": "",
        "etc/containers.d/README": "not counted",
        "usr-lib/containers.d/a.toml": "replaced",
        "usr-share/one/index.json": "{}",
        "usr-share/one/blobs/sha256/ab": "not counted",
        "var/index.json": "{}",
        "var/two.tar": "12345",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "etc/containers.d/masked.toml").symlink_to("/dev/null")
    (tmp_path / "etc/containers.d/linked.toml").symlink_to(tmp_path / "etc/containers.d/a.toml")
    (tmp_path / "etc/containers.d/dangling.toml").symlink_to(tmp_path / "nothing")
    return declared, seeds


def shell(declared: list[Path], seeds: list[Path]) -> bytes:
    return subprocess.run(["/bin/sh", "-c", stamp_command(declared, seeds)], capture_output=True, check=True).stdout


def test_shell_and_python_make_the_same_listing(roots: tuple[list[Path], list[Path]]) -> None:
    listing = take_stamp(*roots)
    assert listing == shell(*roots)
    assert listing.count(b"\n") == 11
    assert b"README" not in listing
    assert b"blobs" not in listing


@pytest.mark.parametrize(
    "change",
    [
        "echo x >etc/containers.d/new.toml",
        "rm etc/containers.d/a.toml",
        "echo x >>etc/containers.d/a.toml.d/1.toml",
        "ln -sf /dev/null etc/containers.d/a.toml",
        "echo x >etc/containers.lock",
        "echo x >>usr-share/one/index.json",
        "echo x >>var/two.tar",
        "printf 54321 >var/two.tar",
        "mkdir run && mkdir run/containers.d && touch run/containers.d/z.toml",
    ],
)
def test_every_change_is_seen(roots: tuple[list[Path], list[Path]], tmp_path: Path, change: str) -> None:
    before = take_stamp(*roots)
    subprocess.run(["/bin/sh", "-ec", change], cwd=tmp_path, check=True)
    assert take_stamp(*roots) == shell(*roots) != before


def test_times_of_what_is_hashed_do_not_matter(roots: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    before = take_stamp(*roots)
    subprocess.run("find . ! -name '*.tar' -exec touch -h -d @0 {} +", shell=True, cwd=tmp_path, check=True)
    assert take_stamp(*roots) == shell(*roots) == before


def test_the_unit_starts_us_only_for_a_new_listing(roots: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    condition = parse(UNIT.read_text()).get("Service", "ExecCondition")
    # systemd.service(5): in single quotes only backslashes and percent signs have a meaning.
    script = condition.removeprefix("/bin/sh -c '").removesuffix("'").replace("\\\\", "\\").replace("%%", "%")
    assert script == f"! {stamp_command()} | cmp -s - /var/lib/syscontainers/applied"
    stamp = tmp_path / "state" / "applied"
    script = f"! {stamp_command(*roots)} | cmp -s - {stamp}"
    assert subprocess.run(["/bin/sh", "-c", script], check=False).returncode == 0
    write_stamp(stamp, take_stamp(*roots))
    assert subprocess.run(["/bin/sh", "-c", script], check=False).returncode == 1
    (tmp_path / "etc/containers.d/a.toml").write_text("changed")
    assert subprocess.run(["/bin/sh", "-c", script], check=False).returncode == 0
