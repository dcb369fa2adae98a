"""The shape of a container's service: mount unit, unit and drop-in as we write them, with real runtimes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from syscontainers.run import find_program
from syscontainers.systemd import startscript
from syscontainers.systemd.detached import start_command
from syscontainers.systemd.dropin import FILE_NAME, bind_generation
from syscontainers.systemd.journal import last_lines
from syscontainers.systemd.manager import JobError, Manager, connect
from syscontainers.systemd.mountunit import OverlayMount
from syscontainers.systemd.unitfile import make_unit, parse, quote_command, unit_cgroup
from syscontainers.systemd.unitstatus import UnitStatus
from syscontainers.systemd.version import installed_version
from tests.machine.host import ThrowawayHost
from tests.machine.inside import inside
from tests.machine.registry import PATIENT
from tests.waiting import turns

pytestmark = pytest.mark.machine
runtimes = pytest.mark.parametrize("runtime", ["runc", "crun"])

UNITS = Path("/etc/systemd/system")
LAYERS = Path("/var/lib/syscontainers/storage/overlay")


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost() as machine:
        yield machine


@dataclass(frozen=True)
class Service:
    name: str
    runtime: str
    manager: Manager

    @property
    def unit(self) -> str:
        return f"{self.name}.service"

    @property
    def root(self) -> Path:
        return Path(f"/var/lib/syscontainers/containers/{self.name}.1/rootfs")

    def status(self) -> UnitStatus:
        return self.manager.status(self.unit)

    def wait(self, condition: Callable[[UnitStatus], bool]) -> UnitStatus:
        for _ in turns():
            if condition(status := self.status()):
                return status
        raise AssertionError(status)

    def start(self) -> UnitStatus:
        """Start it, and wait until the shell has set its trap: before, the kernel keeps SIGTERM from a PID 1."""
        self.manager.start(self.unit)
        return self.wait(lambda status: runs(status.main_pid, "sh") and catches(status.main_pid, signal.SIGTERM))

    def traces(self) -> list[str]:
        """Everything a run leaves on the machine; empty when nothing is left."""
        found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if self.name in line]
        found += [path for path in directories(*hierarchies()) if self.name in path]
        found += [str(path) for path in Path("/run").glob(f"*{self.name}*")]
        found += [path for path in directories("/run/runc", "/run/crun") if self.name in path]
        listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"*{self.name}*"]
        found += subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
        return found + runtime_processes()


def runs(pid: int, program: str) -> bool:
    """Whether the payload is there already: runc returns just before it, and its init ends with 2 on SIGTERM."""
    with contextlib.suppress(FileNotFoundError):  # it ended
        return Path(f"/proc/{pid}/comm").read_text().strip() == program
    return False


def catches(pid: int, number: signal.Signals) -> bool:
    with contextlib.suppress(FileNotFoundError):  # it ended
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def hierarchies() -> list[str]:
    """Where systemd keeps its groups. In hierarchies of version 1 that it does not use, such as freezer, the runtimes
    make the unit's directory and remove only the payload's below it: one empty directory stays, however often."""
    return (
        ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"]
        if Path("/sys/fs/cgroup/systemd").exists()
        else ["/sys/fs/cgroup"]
    )


def directories(*tops: str) -> list[str]:
    """All directories below; those that vanish meanwhile are left out, as os.walk does."""
    return [directory for top in tops for directory, _, _ in os.walk(top)]


def runtime_processes() -> list[str]:
    """Command lines of all runc, crun and conmon processes; those that the payload started count as well."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended
            if (process / "comm").read_text().strip() in ("runc", "crun", "conmon") or "runc:" in (
                process / "comm"
            ).read_text():
                found.append((process / "cmdline").read_text())
    return found


def make_layers() -> tuple[Path, ...]:
    base, top = LAYERS / "base/diff", LAYERS / "top/diff"
    if not top.exists():
        for directory in ("bin", "proc", "dev", "tmp"):
            (base / directory).mkdir(parents=True)
        shutil.copy("/bin/busybox", base / "bin/busybox")
        for applet in ("sh", "sleep", "cat"):
            (base / "bin" / applet).symlink_to("busybox")
        top.mkdir(parents=True)
        (top / "hello").write_text("from the top layer")
    return top, base


def write_config(service: Service, script: str, *, readonly: bool = True) -> None:
    """The bundle of a container that runs ``script``."""
    empty_unit = parse("")
    config = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": str(service.root), "readonly": readonly},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {
            "cgroupsPath": f"{unit_cgroup(empty_unit, service.unit)}/payload",
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
        },
    }
    service.root.mkdir(parents=True, exist_ok=True)
    (service.root.parent / "config.json").write_text(json.dumps(config))
    (service.root.parent / startscript.FILE_NAME).write_text(startscript.SCRIPT)


def unit_text(service: Service, *more: tuple[str, str]) -> str:
    pid_file = f"/run/{service.name}.pid"
    command = start_command(service.runtime, pid_file, service.root.parent, service.name)
    return make_unit(
        ("Unit", [("StartLimitBurst", "5"), ("StartLimitIntervalSec", "10min")]),
        (
            "Service",
            [
                ("Type", "forking"),
                ("PIDFile", pid_file),
                ("ExecStart", quote_command(command)),
                ("KillMode", "mixed"),
                ("Restart", "on-failure"),
                ("RestartSec", "100ms"),
                ("TimeoutStopSec", "2s"),
                *more,
            ],
        ),
    ).to_text()


def write_units(service: Service, overlay: OverlayMount, *more: tuple[str, str]) -> None:
    text = unit_text(service, *more)
    drop_in = bind_generation(
        text,
        root=service.root,
        delete_command=[service.runtime, "delete", "--force", service.name],
        log_fields=[("SYSCONTAINERS_GENERATION", "1"), ("SYSCONTAINERS_IMAGE", 'odd "name" of 50%\\')],
        systemd=installed_version(),
    )
    (UNITS / service.unit).write_text(text)
    (UNITS / overlay.unit_name).write_text(overlay.to_unit().to_text())
    (UNITS / f"{service.unit}.d").mkdir()
    (UNITS / f"{service.unit}.d" / FILE_NAME).write_text(drop_in.to_unit().to_text())


@contextlib.contextmanager
def container(
    runtime: str, script: str, *more: tuple[str, str], lower: tuple[Path, ...] = (), upper: Path | None = None
) -> Iterator[Service]:
    """A service called ``payload-RUNTIME`` that runs ``script``, taken away again at the end."""
    program = find_program(runtime)
    assert program is not None
    with connect() as manager:
        service = Service(f"payload-{runtime}", str(program), manager)
        overlay = OverlayMount(
            description=f"Root of {service.name}",
            where=service.root,
            lower=lower or make_layers(),
            storage=LAYERS,
            upper=upper,
            work=upper and upper.with_name("work"),
        )
        write_config(service, script, readonly=upper is None)
        write_units(service, overlay, *more)
        manager.reload()
        try:
            yield service
        except BaseException as error:
            error.add_note("\n".join(last_lines(service.unit, "", 40)))
            raise
        finally:
            manager.stop(service.unit)
            manager.stop(overlay.unit_name)  # it is on its way down, but not in the service's job
            (UNITS / service.unit).unlink()
            (UNITS / overlay.unit_name).unlink()
            shutil.rmtree(UNITS / f"{service.unit}.d")
            manager.reset_failed(service.unit)
            manager.reload()
            shutil.rmtree(service.root.parent)


@runtimes
@inside
def test_the_payload_is_the_main_process_in_the_units_group(runtime: str) -> None:
    with container(runtime, PATIENT) as service:
        service.start()
        status = service.status()
        assert status.active_state == "active"
        assert status.control_group == f"/system.slice/{service.unit}"
        assert Path(f"/proc/{status.main_pid}/cmdline").read_bytes().startswith(b"/bin/sh\0-c\0trap")
        groups = Path(f"/proc/{status.main_pid}/cgroup").read_text().split()
        owner = [group.partition("::")[2] or group.partition("name=systemd:")[2] for group in groups]
        assert f"/system.slice/{service.unit}/payload" in owner
        assert runtime_processes() == []
        processes = service.manager.unit_processes(service.unit)
        assert {process.control_group for process in processes} == {f"/system.slice/{service.unit}/payload"}
        assert status.main_pid in {process.pid for process in processes}
        assert Path(f"/proc/{status.main_pid}/root/hello").read_text() == "from the top layer"


@runtimes
@inside
def test_its_output_carries_image_and_generation(runtime: str) -> None:
    with container(runtime, PATIENT) as service:
        service.manager.start(service.unit)
        service.wait(lambda status: "up" in last_lines(service.unit, status.invocation_id))
        query = ["journalctl", "-o", "json", "-u", service.unit, "SYSCONTAINERS_GENERATION=1", "-n", "1"]
        line = json.loads(subprocess.run(query, check=True, capture_output=True).stdout)
        assert line["MESSAGE"] == "up"
        assert line["SYSCONTAINERS_IMAGE"] == 'odd "name" of 50%\\'


@runtimes
@inside
def test_a_killed_payload_is_started_again_on_the_same_mount(runtime: str) -> None:
    with container(runtime, PATIENT) as service:
        service.start()
        first = service.status()
        mounted = os.stat(service.root).st_dev
        os.kill(first.main_pid, signal.SIGKILL)
        again = service.wait(lambda s: s.active_state == "active" and s.main_pid not in (0, first.main_pid))
        assert again.n_restarts == 1
        assert os.stat(service.root).st_dev == mounted
        assert "killed, code" not in "".join(last_lines(service.unit, first.invocation_id))
        assert any("code=killed, status=9/KILL" in line for line in last_lines(service.unit, first.invocation_id))


@runtimes
@inside
def test_a_stop_leaves_no_trace(runtime: str) -> None:
    with container(runtime, PATIENT) as service:
        before = service.traces()
        assert before == []
        service.start()
        assert service.traces() != []
        service.manager.stop(service.unit)
        assert service.status().result == "success"
        wait_for_no_traces(service)


def wait_for_no_traces(service: Service) -> None:
    # The mount goes in a job of its own, after the service's; reading its unit's status keeps that in memory.
    for _ in turns():
        if not (left := service.traces()):
            break
    assert left == []


@runtimes
@inside
def test_twenty_rounds_end_gracefully_and_leave_no_trace(runtime: str) -> None:
    with container(runtime, PATIENT) as service:
        for _ in range(20):
            service.manager.reset_failed(service.unit)
            service.start()
            service.manager.stop(service.unit)
            # "signal" would mean that systemd took the payload for a stranger and did not wait for it.
            assert service.status().result == "success"
        wait_for_no_traces(service)
        assert not any("not our child" in line for line in last_lines(service.unit, "", 1000))


@runtimes
@inside
def test_a_payload_that_ignores_sigterm_is_killed_in_time(runtime: str) -> None:
    # PID 1 of a namespace gets no signal that it has no handler for (pid_namespaces(7)).
    with container(runtime, "exec sleep 1000") as service:
        service.manager.start(service.unit)
        service.wait(lambda status: runs(status.main_pid, "sleep"))
        service.manager.stop(service.unit)
        status = service.status()
        assert (status.active_state, status.result) == ("failed", "timeout")
        lines = last_lines(service.unit, status.invocation_id, 20)
        assert any("State 'stop-sigterm' timed out. Killing." in line for line in lines)
        service.manager.reset_failed(service.unit)
        wait_for_no_traces(service)


@runtimes
@inside
def test_the_exit_status_is_the_payloads_own(runtime: str) -> None:
    with container(runtime, "sleep 0.3; echo last words; exit 7", ("Restart", "no")) as service:
        service.manager.start(service.unit)
        status = service.wait(lambda s: s.active_state == "failed")
        assert (status.result, status.exec_main_code, status.exec_main_status) == ("exit-code", "exited", 7)
        assert "last words" in last_lines(service.unit, status.invocation_id)


@runtimes
@inside
def test_a_payload_that_always_fails_comes_to_rest_unmounted(runtime: str) -> None:
    # systemd 252 may find the payload dead before its runtime has left the group, and then waits out the time limit
    # for another PID file.
    with container(runtime, "exit 7", ("TimeoutStartSec", "5s")) as service:
        # Whether the first start succeeds is a race between the payload's end and systemd reading the PID file.
        with contextlib.suppress(JobError):
            service.manager.start(service.unit)
        status = service.wait(lambda s: s.active_state == "failed")
        assert status.n_restarts == 5
        service.manager.reset_failed(service.unit)
        wait_for_no_traces(service)


@runtimes
@inside
def test_state_left_by_a_crash_does_not_hinder_a_start(runtime: str) -> None:
    with container(runtime, PATIENT) as service:
        # The same container started by hand, as if systemd had lost it.
        subprocess.run(["mount", "--bind", "/", "/mnt"], check=True)
        make_layers()
        shutil.copytree(LAYERS / "base/diff", service.root, dirs_exist_ok=True, symlinks=True)
        subprocess.run(
            [service.runtime, "run", "--detach", "--bundle", service.root.parent, service.name],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        service.manager.start(service.unit)
        assert service.status().active_state == "active"
        assert len(service.manager.unit_processes(service.unit)) <= 2  # the shell and its sleep, once
        subprocess.run(["umount", "/mnt"], check=True)


@runtimes
@inside
def test_reload_and_reexec_leave_the_payload_alone(runtime: str) -> None:
    with container(runtime, PATIENT) as service:
        service.start()
        first = service.status()
        service.manager.reload()
        subprocess.run(["systemctl", "daemon-reexec"], check=True)
        again = service.status()
        assert (again.active_state, again.main_pid, again.n_restarts) == ("active", first.main_pid, 0)
        os.kill(first.main_pid, signal.SIGKILL)
        service.wait(lambda s: s.active_state == "active" and s.main_pid not in (0, first.main_pid))


@inside
def test_a_root_that_cannot_be_mounted_fails_the_service_only() -> None:
    with container("runc", PATIENT, lower=(Path("/nowhere/layer"),)) as service:
        with pytest.raises(JobError) as caught:
            service.manager.start(service.unit)
        assert caught.value.result == "dependency"
        mount = OverlayMount("", service.root, (), LAYERS).unit_name
        assert service.manager.status(mount).result == "exit-code"
        service.manager.reset_failed(mount)
        assert service.manager.status("local-fs.target").active_state == "active"


@inside
def test_a_writable_root_keeps_what_was_written() -> None:
    upper = Path("/var/lib/syscontainers/containers/upper")
    for directory in (upper, upper.with_name("work")):
        directory.mkdir(parents=True)
    with container("runc", f"echo kept > /note; {PATIENT}", upper=upper) as service:
        service.manager.start(service.unit)
        service.wait(lambda _: (upper / "note").exists())
        service.manager.stop(service.unit)
    assert (upper / "note").read_text() == "kept\n"
    shutil.rmtree(upper)
    shutil.rmtree(upper.with_name("work"))


@runtimes
@inside
def test_a_service_that_does_not_notify_is_not_waited_for(runtime: str) -> None:
    # NotifyAccess= makes systemd offer the socket; runc would wait on it for a word that never comes.
    with container(runtime, PATIENT, ("NotifyAccess", "all"), ("TimeoutStartSec", "20s")) as service:
        service.manager.start(service.unit)
        assert service.status().active_state == "active"
