"""A throw-away machine with a real systemd as PID 1, in about a second.

It is this machine once more, seen through an overlay: same programs, same checkout, empty storage, nothing of what
the real one had enabled, and a network of its own. Nothing that is done inside reaches the disk outside, except in
a file that goes with it. A run that is killed leaves no process and no mount (``launch.py`` says why); its directory
and control groups are swept by the next start. From a shell::

    python -m tests.machine.host run -- systemctl --failed
    python -m tests.machine.host shell
    python -m tests.machine.host up            # stays; prints its name
    python -m tests.machine.host enter NAME
    python -m tests.machine.host down NAME
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.machine.cgroups import create_groups, read_cgroups, remove_groups
from tests.machine.launch import Blueprint
from tests.waiting import turns

# Not below /tmp, which the machine empties when it boots, and on a real disk.
MACHINES = Path("/var/tmp/syscontainers-machines")
CHECKOUT = Path(__file__).parents[2]
BOOT_SECONDS = 60.0
STOP_SECONDS = 30.0
HARNESS_SLICE = "harness.slice"
_numbers = itertools.count()


class MachineError(AssertionError):
    """The machine did not do what every test relies on."""


def _start_time(pid: int) -> int:
    """Together with the number this names a process for ever; 0 when there is none (proc(5), field 22)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if state == "Z" else int(fields[18])


def _children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _namespace_numbers(pid: int) -> list[int]:
    """What ``pid`` is called in each PID namespace it is in, ours first and its own last."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [int(number) for line in status if line.startswith("NSpid:") for number in line.split()[1:]]


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    return any(condition() for _ in turns(seconds))


class ThrowawayHost:
    """One machine; boots on ``start`` or on entering it as a context, and is gone after ``stop``.

    ``files`` are written before the boot, by their absolute paths inside. ``share_network`` gives it the real
    machine's network in place of a loopback interface of its own. ``commands`` are directories put first in PATH.
    """

    def __init__(
        self,
        *,
        files: Mapping[str, str] | None = None,
        share_network: bool = False,
        disk_bytes: int = 16 << 30,
        unit: str = "multi-user.target",
        commands: Sequence[Path] = (Path(sys.executable).parent,),
    ) -> None:
        self.name = f"throwaway-{os.getpid()}-{next(_numbers)}"
        self.directory = MACHINES / self.name
        self.leader = 0
        """The machine's PID 1, as the real machine numbers it."""
        self._files = dict(files or {})
        self._share_network = share_network
        self._disk_bytes = disk_bytes
        self._unit = unit
        self._commands = tuple(commands)
        self._launcher = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._groups: list[Path] = []

    @classmethod
    def attach(cls, name: str) -> ThrowawayHost:
        """A machine that some other process started."""
        host = cls()
        host.name, host.directory = name, MACHINES / name
        try:
            record = json.loads((host.directory / "record").read_text())
        except FileNotFoundError:
            raise MachineError(f"there is no machine {name}; there are: {[each.name for each in machines()]}") from None
        host._launcher, host._groups = record["pid"], [Path(group) for group in record["groups"]]
        host._commands = tuple(map(Path, record["commands"]))
        host.leader = host._find_leader()
        return host

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, outlive_us: bool = False) -> None:
        """Boot, and wait until systemd says "running". Raises MachineError with the console when it does not."""
        sweep()
        try:
            self._prepare()
            self._launch(outlive_us)
            if not _wait(self._has_leader, BOOT_SECONDS) or not _wait(self._has_systemd, BOOT_SECONDS):
                raise MachineError(f"{self.name} did not boot:\n{self.console()}")
            state = self.run(["systemctl", "is-system-running", "--wait"], check=False).stdout.strip()
            if state != "running":
                failed = self.run(["systemctl", "--failed", "--no-legend", "--plain"], check=False).stdout
                raise MachineError(f"{self.name} is {state}:\n{failed}{self.console()}")
            self.run(["systemctl", "start", HARNESS_SLICE])
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down as a power button would, then remove every trace."""
        if self._alive():
            if self.leader:
                with contextlib.suppress(ProcessLookupError):  # it went by itself
                    os.kill(self.leader, signal.SIGRTMIN + 4)  # poweroff.target, systemd(1)
                _wait(lambda: not self._alive(), STOP_SECONDS)
            self.kill()
        self._remove()

    def kill(self) -> None:
        """The power cord: every process of the machine is gone at once."""
        for pid in (self.leader, self._launcher):
            if pid:
                with contextlib.suppress(ProcessLookupError):  # gone already
                    os.kill(pid, signal.SIGKILL)
        _wait(lambda: not self._alive(), STOP_SECONDS)

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        timeout: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` inside as root and capture what it writes; ``check`` raises MachineError with all of it."""
        done = subprocess.run(
            self.command(argv, env=env), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            words = shlex.join(map(str, argv))
            raise MachineError(f"{words}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def shell(self, script: str, *, check: bool = True, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a shell script inside, stopping at its first failure."""
        return self.run(["bash", "-euo", "pipefail", "-c", script], check=check, timeout=timeout)

    def popen(self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start ``argv`` inside, with pipes; for what runs on while something else happens."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(argv, env=env), stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def interact(self, argv: Sequence[str | Path] = ("bash", "-l")) -> int:
        """Run ``argv`` inside on our own terminal; its exit status."""
        return subprocess.run(self.command(argv), check=False).returncode

    def command(self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> list[str]:
        """The command that runs ``argv`` inside, in a control group of the machine as a login would be."""
        if not self.leader:
            raise MachineError(f"{self.name} is not running")
        words = ["/bin/sh", "-c", 'for f do shift; [ "$f" = -- ] && break; echo 0 >"$f"; done; exec "$@"', "join"]
        words += [f"{group}/cgroup.procs" for group in self._harness_groups()]
        words += ["--", "nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        path = [
            *map(str, self._commands),
            "/usr/local/sbin",
            "/usr/local/bin",
            "/usr/sbin",
            "/usr/bin",
            "/sbin",
            "/bin",
        ]
        environment = {
            "PATH": ":".join(path),
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "TERM": os.environ.get("TERM", "dumb"),
            **(env or {}),
        }
        # Whoever is started in the background of a shell ignores SIGINT, and so would all that he starts (signal(7)).
        words += ["env", "--default-signal=INT", "--ignore-environment"]
        words += [f"{key}={value}" for key, value in environment.items()]
        return [*words, *map(str, argv)]

    def path(self, inside: str) -> Path:
        """A file of the machine, for reading and writing from outside; absolute links lead astray."""
        return Path(f"/proc/{self.leader}/root") / inside.lstrip("/")

    def console(self) -> str:
        """What the machine has written to its console."""
        log = self.directory / "console"
        return log.read_text(errors="replace") if log.exists() else ""

    def _prepare(self) -> None:
        MACHINES.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.mkdir()
        self._groups = [] if _has_outer_systemd() else create_groups(self.name)
        self._write_record(os.getpid())

    def _write_record(self, pid: int) -> None:
        """Who must be alive for this directory to be of any use; read by ``sweep``."""
        record = {
            "pid": pid,
            "start": _start_time(pid),
            "groups": list(map(str, self._groups)),
            "commands": list(map(str, self._commands)),
        }
        temporary = self.directory / "record.tmp"
        temporary.write_text(json.dumps(record))
        temporary.rename(self.directory / "record")

    def _launch(self, outlive_us: bool) -> None:
        blueprint = Blueprint(
            name=self.name,
            directory=str(self.directory),
            cgroups=tuple(map(str, self._groups)),
            share_network=self._share_network,
            disk_bytes=self._disk_bytes,
            files=self._files,
            unit=self._unit,
        )
        # A PID namespace dies with its first process; systemd-nspawn alone would leave orphans when killed.
        argv = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child=KILL"]
        argv += [sys.executable, "-m", "tests.machine.launch", blueprint.dump()]
        if not outlive_us:
            argv = ["setpriv", "--pdeathsig=KILL", *argv]
        if _has_outer_systemd():
            # There the groups are PID 1's to hand out: a scope of our own, delegated.
            argv = ["systemd-run", "--quiet", "--scope", "--property=Delegate=yes", f"--unit={self.name}", *argv]
        with (self.directory / "console").open("wb") as console:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=CHECKOUT,
                start_new_session=outlive_us,
            )
        self._launcher = self._child.pid
        self._write_record(self._launcher)

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return bool(self._launcher and _start_time(self._launcher))

    def _find_leader(self) -> int:
        """The grandchild that is number 1 in the PID namespace of systemd-nspawn, not yet in that of ``unshare``."""
        try:
            for child in _children(self._launcher):
                for grandchild in _children(child):
                    if _namespace_numbers(grandchild)[2:] == [1]:
                        return grandchild
        except OSError:  # one of them ended while we looked
            return 0
        return 0

    def _has_leader(self) -> bool:
        if not self._alive():
            raise MachineError(f"{self.name} ended before it booted:\n{self.console()}")
        self.leader = self._find_leader()
        return bool(self.leader)

    def _has_systemd(self) -> bool:
        if not self._alive():
            raise MachineError(f"{self.name} ended before it booted:\n{self.console()}")
        return self.path("/run/systemd/private").exists()

    def _harness_groups(self) -> Iterator[Path]:
        for group in read_cgroups(self.leader):
            top = group.parent if group.name == "init.scope" else group
            yield top / HARNESS_SLICE if (top / HARNESS_SLICE).exists() else top

    def _remove(self) -> None:
        self.leader = self._launcher = 0
        self._child = None
        # The kernel lets go of the last dying process a moment after we have seen the first one end.
        _wait(lambda: remove_groups(self._groups), STOP_SECONDS)
        shutil.rmtree(self.directory, ignore_errors=True)


def _has_outer_systemd() -> bool:
    """Whether the real machine's PID 1 is systemd (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def machines() -> list[Path]:
    """The directories of all machines of this computer, running or left behind."""
    return sorted(MACHINES.iterdir()) if MACHINES.exists() else []


def sweep() -> None:
    """Remove what runs left behind that were killed."""
    for directory in machines():
        try:
            record = json.loads((directory / "record").read_text())
        except FileNotFoundError:
            # Either just being made, or its maker died within that millisecond.
            if time.time() - directory.stat().st_mtime > BOOT_SECONDS:
                shutil.rmtree(directory, ignore_errors=True)
            continue
        ended = _start_time(record["pid"]) != record["start"]
        # The record goes last: what is still dying is for the next one to sweep.
        if ended and remove_groups([Path(group) for group in record["groups"]]):
            shutil.rmtree(directory, ignore_errors=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.machine.host", description="A throw-away systemd.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in {
        "run": "boot, run a command inside, throw away; its exit status is ours",
        "shell": "boot, give a shell inside, throw away",
        "up": "boot, print the machine's name and leave it running",
        "enter": "run a command, or a shell, in a machine that is up",
        "down": "shut a machine down that is up, and remove it",
        "list": "names of the machines there are",
    }.items():
        verbs.add_parser(verb, help=text, description=text)
    for verb in ("run", "shell", "up"):
        verbs.choices[verb].add_argument("--share-network", action="store_true", help="the real machine's network")
    for verb in ("enter", "down"):
        verbs.choices[verb].add_argument("name")
    for verb in ("run", "enter"):
        verbs.choices[verb].add_argument("command", nargs="*", default=["bash", "-l"])
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parse(arguments)
    if asked.verb in ("run", "shell"):
        with ThrowawayHost(share_network=asked.share_network) as host:
            return host.interact(asked.command if asked.verb == "run" else ("bash", "-l"))
    if asked.verb == "up":
        host = ThrowawayHost(share_network=asked.share_network)
        host.start(outlive_us=True)
        print(host.name)
    elif asked.verb == "enter":
        return ThrowawayHost.attach(asked.name).interact(asked.command)
    elif asked.verb == "down":
        ThrowawayHost.attach(asked.name).stop()
    else:
        sweep()
        print(*(directory.name for directory in machines()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
