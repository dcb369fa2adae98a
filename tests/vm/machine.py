"""A real machine with a real kernel, emulated, whose power can be cut.

qemu without KVM (TCG), Debian's kernel with unified control groups, Debian's systemd as PID 1, no network. A small
agent in the guest runs scripts that come over a virtio serial port; the console is kept for when nothing answers::

    with Machine(build_golden()) as machine:
        machine.boot()
        machine.run("systemctl is-system-running --wait")
        machine.power_cut(seed=1)
        machine.boot()

``disk.py`` says what a power cut does to the disk. Everything lies in a directory that goes with the machine, and
qemu dies with the process that started it.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from tests.vm.disk import Cut, Disk
from tests.vm.golden import Golden
from tests.vm.initrd import KERNEL_IS_UP
from tests.vm.monitor import Monitor, MonitorError

DIRECTORY = Path("/var/tmp")
BOOT_SECONDS = 240.0
"""Until the agent answers. An idle machine needs three to five; one that has other tests to run, many more."""
STOP_SECONDS = 240.0
_KERNEL_SECONDS = 60.0
"""Until the kernel has started a program; an idle machine needs two. With two threads the emulator does not always get
there: seen once in some hundreds of boots, with nothing on the console after four minutes."""
_MOST_TRIES = 3
# norandmaps: qemu 7.2 keeps the code it has translated by its address. Where each new process has its code elsewhere,
# all of it is translated anew, which makes a boot half as long again, and short programs several times dearer.
_ARGUMENTS = (
    "root=/dev/vda rw console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off audit=0 selinux=0 apparmor=0 "
    "random.trust_cpu=on no_timer_check norandmaps systemd.show_status=no"
)


class MachineError(AssertionError):
    """The machine did not do what every test relies on."""


@dataclass(frozen=True)
class Done:
    """How a script in the guest ended."""

    returncode: int
    stdout: str
    stderr: str


class Machine:
    """One emulated machine. ``disks`` are its disks by name, "root" being what it boots from."""

    def __init__(
        self,
        golden: Golden,
        *,
        disks: Mapping[str, Path] | None = None,
        memory: int = 1024,
        processors: int = 2,
        label: str = "vm",
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"syscontainers-{label}-", dir=DIRECTORY))
        self.golden = golden
        self.disks = {
            name: Disk(image, self.directory, name) for name, image in {"root": golden.disk, **(disks or {})}.items()
        }
        self._memory = memory
        self._processors = processors
        self._frozen: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._agent: Agent | None = None
        self._boots = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Throw the machine away."""
        self._kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextlib.contextmanager
    def fork(self, label: str = "vm") -> Iterator[Machine]:
        """Another machine that begins where this one was shut down or frozen, which then only serves for forks."""
        if self._process is not None:
            raise MachineError("a running machine cannot be forked")
        with Machine(self.golden, memory=self._memory, processors=self._processors, label=label) as other:
            other.disks = {name: disk.fork(other.directory) for name, disk in self.disks.items()}
            other._frozen = self._frozen
            yield other

    def boot(self, *, arguments: str = "", clock: str = "utc", seconds: float = BOOT_SECONDS) -> None:
        """Switch on and wait for the agent, which is there before sysinit.target is reached.

        ``arguments`` go to the kernel and systemd, ``clock`` is what the hardware clock shows (``2031-01-01``).
        """
        agent = self._start_kernel(arguments, clock)
        try:
            agent.wait_until_ready(seconds)
        except MachineError as error:
            self._give_up(error)

    def _start_kernel(self, arguments: str, clock: str) -> Agent:
        for _ in range(_MOST_TRIES):
            agent = self._switch_on(self._command(arguments, clock))
            if self._kernel_comes_up():
                return agent
            # Nothing of ours has run, and no disk has been written to.
            self._switch_off()
        raise MachineError(
            f"no kernel after {_KERNEL_SECONDS:.0f} seconds, {_MOST_TRIES} times\n{self.console()[-4000:]}"
        )

    def _kernel_comes_up(self) -> bool:
        deadline = time.monotonic() + _KERNEL_SECONDS
        while KERNEL_IS_UP not in self.console():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def freeze(self) -> None:
        """Stop in the middle of everything, which lies in a file then; ``fork`` it, and ``thaw`` what that gives."""
        self.run("sync")
        self._frozen = self.directory / f"memory.{self._boots}"
        with Monitor(self._monitor_address()) as monitor:
            monitor.freeze(self._frozen)
        self._switch_off()

    def thaw(self) -> None:
        """Go on where the machine, or the one it was forked from, was frozen. A matter of seconds, unlike a boot."""
        self._switch_on([*self._command("", "utc"), "-incoming", "defer"])
        if self._frozen is None:
            raise MachineError("it was never frozen")
        try:
            with Monitor(self._monitor_address()) as monitor:
                monitor.thaw(self._frozen)
        except (OSError, MonitorError) as error:
            self._give_up(error)

    def _switch_on(self, argv: Sequence[str]) -> Agent:
        if self._process is not None:
            raise MachineError("it is running already")
        self._boots += 1
        with self.console_file().open("wb") as console:
            # With us dies qemu, whatever kills us.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *argv], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        try:
            self._agent = Agent.connect(self._agent_address(), self._process)
        except (OSError, MachineError) as error:
            self._give_up(error)
        return self._agent

    def _give_up(self, error: Exception) -> NoReturn:
        text = self.console()
        self._kill()
        raise MachineError(f"no boot: {error}\n{text[-4000:]}") from None

    def wait_until_up(self, seconds: float = BOOT_SECONDS) -> str:
        """Wait until PID 1 has nothing left to do; returns ``running`` or ``degraded``."""
        # Asked for inside: each question from here costs the guest four processes.
        script = "until state=$(systemctl is-system-running); [[ $state = @(running|degraded) ]]; do sleep 0.5; done"
        done = self.run(f"timeout {seconds:.0f} bash -O extglob -c '{script}; echo $state'", seconds=seconds + 60)
        return done.stdout.strip()

    def run(self, script: str, *, check: bool = True, seconds: float = 300.0) -> Done:
        """Run a bash script as root; ``check`` raises MachineError unless it exits with 0."""
        if self._agent is None:
            raise MachineError("it is not running")
        done = self._agent.run(script, seconds)
        if check and done.returncode != 0:
            raise MachineError(f"{script}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def start(self, script: str, unit: str = "task") -> None:
        """Run a bash script as the transient service ``unit`` and do not wait for it."""
        self.put("/run/task.sh", script.encode())
        self.run(f"systemd-run --quiet --no-block --unit={unit} --property=DefaultDependencies=no bash /run/task.sh")

    def wait_for(self, script: str, seconds: float = 120.0) -> Done:
        """Repeat a script until it exits with 0. Raises MachineError with its last answer."""
        deadline = time.monotonic() + seconds
        while True:
            done = self.run(script, check=False)
            if done.returncode == 0:
                return done
            if time.monotonic() > deadline:
                raise MachineError(f"still not after {seconds:.0f} s: {script}\n{done.stdout}{done.stderr}")
            time.sleep(0.2)

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file in the guest. Not synced, unless the script that follows does it."""
        text = base64.b64encode(data).decode()
        self.run(f"mkdir -p {Path(path).parent} && base64 -d <<<{text} >{path} && chmod {mode:o} {path}")

    def power_cut(self, seed: int, *, sooner: bool = False, most: int | None = None) -> dict[str, Cut]:
        """Pull the plug, now or a moment earlier: SIGKILL, and every disk loses what it was not made to keep.

        ``Disk.lose_unsynced`` says what ``sooner`` and ``most`` mean.
        """
        self._kill()
        return {
            name: disk.lose_unsynced(seed + number, sooner=sooner, most=most)
            for number, (name, disk) in enumerate(self.disks.items())
        }

    def shut_down(self, command: str = "systemctl poweroff") -> None:
        """Shut down in order; nothing is lost."""
        if self._agent is None or self._process is None:
            raise MachineError("it is not running")
        self._agent.send(command)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise MachineError(f"it does not go down:\n{self.console()[-4000:]}") from None
        self._switch_off()

    def journal(self, options: str = "") -> list[dict[str, str]]:
        """The entries of ``journalctl OPTIONS`` as systemd exports them."""
        text = self.run(f"journalctl --no-pager --all --output=json {options}").stdout
        return [json.loads(line) for line in text.splitlines()]

    def programs_run(self) -> list[str]:
        """The names of all programs that have ended since early boot, each once."""
        return sorted(set(self.run("lastcomm -f /run/accounting | cut -d' ' -f1").stdout.split()))

    def was_read(self, path: str) -> bool:
        """Whether anybody has read the file since boot: only then is some of it in the page cache."""
        return self.run(f"fincore --raw --noheadings --output=PAGES $(readlink -f {path})").stdout.strip() != "0"

    def console(self) -> str:
        """What this boot has written to its serial console."""
        return self.console_file().read_text(errors="replace")

    def console_file(self) -> Path:
        return self.directory / f"console.{self._boots}"

    def _agent_address(self) -> Path:
        return self.directory / "agent"

    def _monitor_address(self) -> Path:
        return self.directory / "monitor"

    def _command(self, arguments: str, clock: str) -> list[str]:
        argv = [
            "qemu-system-x86_64",
            "-machine",
            "q35",
            "-cpu",
            "Nehalem,+rdrand",
            "-accel",
            "tcg,thread=multi",
        ]
        # With two the second core takes what the boot does in parallel.
        argv += ["-smp", str(self._processors), "-m", str(self._memory)]
        argv += ["-nographic", "-no-reboot", "-nodefaults", "-nic", "none"]
        argv += ["-serial", "stdio", "-rtc", f"base={clock},clock=vm"]
        argv += ["-kernel", str(self.golden.kernel), "-initrd", str(self.golden.initrd)]
        argv += ["-append", f"{_ARGUMENTS} {arguments}"]
        argv += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        argv += ["-chardev", f"socket,id=agent,path={self._agent_address()},server=on,wait=off"]
        argv += ["-qmp", f"unix:{self._monitor_address()},server=on,wait=off"]
        argv += ["-device", "virtserialport,chardev=agent,name=agent"]
        return [*argv, *itertools.chain.from_iterable(disk.begin() for disk in self.disks.values())]

    def _switch_off(self) -> None:
        self._kill()
        for disk in self.disks.values():
            disk.end()

    def _kill(self) -> None:
        if self._agent is not None:
            self._agent.close()
            self._agent = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Agent:
    """Our end of the serial port."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")

    @classmethod
    def connect(cls, address: Path, process: subprocess.Popen[bytes]) -> Agent:
        """Connect before the guest looks: a port with nobody at the other end reads as closed."""
        connection = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 30
        while True:
            try:
                connection.connect(str(address))
            except (FileNotFoundError, ConnectionRefusedError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise MachineError("qemu did not start") from None
                time.sleep(0.01)
            else:
                return cls(connection)

    def wait_until_ready(self, seconds: float) -> None:
        if self._answer(seconds) != b"ready\n":
            raise MachineError("the agent spoke out of turn")

    def send(self, script: str) -> None:
        self._connection.sendall(base64.b64encode(script.encode()) + b"\n")

    def run(self, script: str, seconds: float) -> Done:
        self.send(script)
        status, *outputs = self._answer(seconds).decode().split()
        out, err = (base64.b64decode("" if text == "-" else text).decode(errors="replace") for text in outputs)
        return Done(int(status), out, err)

    def close(self) -> None:
        self._lines.close()
        self._connection.close()

    def _answer(self, seconds: float) -> bytes:
        self._connection.settimeout(seconds)
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise MachineError(f"no answer after {seconds:.0f} seconds") from None
        if not line.endswith(b"\n"):
            raise MachineError("the machine has gone")
        return line
