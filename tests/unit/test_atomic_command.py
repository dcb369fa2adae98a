"""The atomic command as a command: its name, its options, and its exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers import __version__
from syscontainers.cli import atomic


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        code = atomic.main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty settings; and what a command changes of its process goes back to what it was."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    umask = os.umask(0o022)
    config = tmp_path / "config.toml"
    config.write_text(f'state = "{tmp_path}/state"\n')
    monkeypatch.setenv("SYSCONTAINERS_CONFIG", str(config))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    yield
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_the_name_it_is_called_by_decides(tmp_path: Path) -> None:
    link = tmp_path / "atomic"
    link.symlink_to(Path(sys.executable).with_name("syscontainer"))
    done = subprocess.run([str(link), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{__version__}\n"
    done = subprocess.run([str(link), "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: atomic ")
    assert all(f"  {verb} " in done.stdout for verb in atomic.VERBS)


@pytest.mark.parametrize("verb", atomic.VERBS)
def test_every_verb_has_help(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, out, _ = run(capsys, verb, "--help")
    assert (code, out.startswith(f"usage: atomic {verb} ")) == (0, True)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["install"],
        ["install", "--no-such", "x"],
        ["install", "--system", "--user", "x"],
        ["install", "--system-package=maybe", "x"],
        ["pull", "--storage", "docker", "x"],
        ["containers"],
    ],
)
def test_a_wrong_command_line_is_2(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run(capsys, *words)[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["install", "--user", "x"], "--user: containers of users are not supported\nhint: install it as root"),
        (["install", "--system-package=yes", "x"], "--system-package=yes: no RPM is made\nhint: say no:"),
        (["install", "--system-package", "build", "x"], "--system-package=build: no RPM is made"),
        (["install", "--set", "A", "x.example/x"], "--set 'A': no '=' in it"),
        (["uninstall", "--name", "x", "x"], "--name does not go with system containers"),
        (["uninstall", "--display", "nothing"], "nothing: no such container"),
        (["containers", "update"], "Too few arguments.  Please specify the container"),
        (["containers", "update", "--all", "x"], "--all goes with neither"),
        (["containers", "delete"], "You must select --all or provide a list of containers to delete."),
        (["containers", "delete", "-a"], "No containers to delete"),
        (["containers", "rollback", "x"], "x: no such container"),
        (["images", "delete"], "name images, or --all, not both"),
        (["images", "info", "no.example/such"], "no.example/such:latest: no such image"),
        (["scan", "x"], "'scan' is not here: only what concerns system containers is\nhint: try: a scanner"),
        (["nonsense"], "'nonsense' is not here"),
    ],
)
def test_whatever_fails_is_1_with_the_reason(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    code, _, err = run(capsys, *words)
    assert code == 1
    assert err.startswith(said)


def test_nothing_to_list_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "containers", "list", "--all") == (0, "", "")
    assert run(capsys, "-y", "-i", "containers", "list", "--json") == (0, "[]\n", "")


def test_declining_is_2(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from syscontainers.cli.ancestor import changes
    from tests.unit.test_atomic_output import ETCD

    monkeypatch.setattr(changes, "container_rows", lambda _context: [ETCD])
    monkeypatch.setattr("builtins.input", lambda _prompt: "n")
    code, out, err = run(capsys, "containers", "delete", "etcd")
    assert code == 2
    assert "etcd         etcd                 registry.example/group/et ostree" in out
    assert err.startswith("User aborted delete operation for etcd\n")


def test_only_root_may(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    code, _, err = run(capsys, "install", "--system", "x.example/x")
    assert (code, err) == (1, "atomic install must be run as root\nhint: sudo atomic install …\n")


def test_debug_keeps_stdout_clean(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--debug", "containers", "list", "--json")
    assert (code, out) == (0, "[]\n")
    assert "json=True" in err
    assert "Traceback" in run(capsys, "--debug", "uninstall", "--display", "nothing")[2]


def test_places_in_the_environment_are_not_followed_silently(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOMIC_OSTREE_CHECKOUT_PATH", "/elsewhere")
    assert "warning: ATOMIC_OSTREE_CHECKOUT_PATH has no effect" in run(capsys, "containers", "list")[2]
