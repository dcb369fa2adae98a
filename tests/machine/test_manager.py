from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syscontainers.errors import SyscontainersError
from syscontainers.systemd.bus import Connection
from syscontainers.systemd.journal import last_lines
from syscontainers.systemd.manager import (
    JobError,
    Manager,
    NoSuchUnitError,
    SystemdError,
    UnitMaskedError,
    connect,
)
from syscontainers.systemd.unitfile import parse, unit_cgroup
from tests.machine.host import ThrowawayHost
from tests.machine.inside import inside
from tests.waiting import wait_for

pytestmark = pytest.mark.machine

UNITS = Path("/etc/systemd/system")


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost() as machine:
        yield machine


@contextlib.contextmanager
def units(**texts: str) -> Iterator[Manager]:
    """Units for the length of a test; the keyword is the name with ``_`` for the last dot."""
    files = {UNITS / ".".join(name.rsplit("_", 1)): text for name, text in texts.items()}
    for path, text in files.items():
        path.write_text(text)
    with connect() as manager:
        manager.reload()
        try:
            yield manager
        finally:
            for path in files:
                with contextlib.suppress(JobError, UnitMaskedError, SystemdError):  # some are broken on purpose
                    manager.stop(path.name)
                manager.disable_units([path.name])
                path.unlink()
                manager.reset_failed(path.name)
            manager.reload()


def service(command: str, *more: str, unit: str = "") -> str:
    lines = ["[Unit]", unit, "[Service]", f"ExecStart=/bin/sh -c '{command}'", *more, "[Install]"]
    return "\n".join([*lines, "WantedBy=multi-user.target", ""])


ONESHOT = "Type=oneshot"
LONG = service("exec sleep 1000", "Type=exec", "TimeoutStopSec=5")


def failure(call: Callable[[], object]) -> JobError:
    with pytest.raises(JobError) as caught:
        call()
    return caught.value


@inside
def test_a_service_is_started_and_stopped() -> None:
    with units(a_service=LONG) as manager:
        assert manager.status("a.service").active_state == "inactive"
        manager.start("a.service")
        status = manager.status("a.service")
        assert (status.active_state, status.sub_state, status.service_type) == ("active", "running", "exec")
        assert Path(f"/proc/{status.main_pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
        assert status.control_group == "/system.slice/a.service"
        assert len(status.invocation_id) == 32
        assert status.active_enter_timestamp is not None
        assert [p.pid for p in manager.unit_processes("a.service")] == [status.main_pid]
        first = status.main_pid
        manager.restart("a.service")
        assert manager.status("a.service").main_pid not in (0, first)
        manager.stop("a.service")
        assert manager.status("a.service").active_state == "inactive"
        assert manager.unit_processes("a.service") == ()


@inside
def test_a_failing_start_says_why() -> None:
    with units(a_service=service("echo last words; exit 3", ONESHOT)) as manager:
        error = failure(lambda: manager.start("a.service"))
        assert error.result == "failed"
        assert (error.status.result, error.status.exec_main_code, error.status.exec_main_status) == (
            "exit-code",
            "exited",
            3,
        )
        assert error.message == "a.service: start failed: exit status 3"
        assert error.exit_code == 1
        lines = last_lines("a.service", error.status.invocation_id, 20)
        assert "last words" in lines
        assert "a.service: Failed with result 'exit-code'." in lines


@inside
def test_last_lines_are_of_one_run_and_harmless_to_a_terminal() -> None:
    with units(a_service=service('printf "run $$$$\\\\n\\\\033[31mred\\\\n"; exit 1', ONESHOT)) as manager:
        runs = []
        for _ in range(2):
            failure(lambda: manager.start("a.service"))
            runs.append(last_lines("a.service", manager.status("a.service").invocation_id, 20))
        assert [sum(line.startswith("run ") for line in run) for run in runs] == [1, 1]
        assert runs[0] != runs[1]
        assert "\N{REPLACEMENT CHARACTER}[31mred" in runs[0]
        assert sum(line.startswith("run ") for line in last_lines("a.service", "", 20)) == 2
        assert len(last_lines("a.service", "", 2)) == 2


@inside
def test_each_way_a_job_can_end() -> None:
    with units(
        slow_service=service("sleep 100", ONESHOT, "TimeoutStartSec=300ms"),
        stuck_service=service("sleep 100", ONESHOT),
        bad_service=service("exit 1", ONESHOT),
        needy_service=service("true", ONESHOT, unit="Requires=bad.service\nAfter=bad.service"),
        picky_service=service("true", ONESHOT, unit="AssertPathExists=/nowhere"),
        skipped_service=service("exit 1", ONESHOT, unit="ConditionPathExists=/nowhere"),
    ) as manager:
        error = failure(lambda: manager.start("slow.service"))
        assert error.status.result == "timeout"
        assert "time limit" in error.message
        assert failure(lambda: manager.start("stuck.service", timeout=0.2)).result == "deadline"
        assert failure(lambda: manager.start("needy.service")).result == "dependency"
        assert failure(lambda: manager.start("picky.service")).result == "assert"
        manager.enable_units(["skipped.service"])  # wanted by an active target, it stays in memory with its past
        manager.reload()
        manager.start("skipped.service")
        assert not manager.status("skipped.service").condition_result


@inside
def test_a_job_that_another_client_cancels() -> None:
    with units(a_service=service("sleep 100", ONESHOT)) as manager:

        def cancel() -> None:
            with connect() as other:
                wait_for(lambda: other.status("a.service").active_state == "activating", "it does not begin")
                other.stop("a.service")

        # The waiting thread must leave the interpreter to this one: pystemd's own wait would not.
        thread = threading.Thread(target=cancel)
        thread.start()
        assert failure(lambda: manager.start("a.service", timeout=30)).result == "canceled"
        thread.join()


@inside
def test_a_start_limit_is_named_and_reset() -> None:
    with units(a_service=service("true", ONESHOT, unit="StartLimitBurst=1\nStartLimitIntervalSec=1h")) as manager:
        manager.enable_units(["a.service"])  # else its count is forgotten with it
        manager.reload()
        manager.start("a.service")
        error = failure(lambda: manager.start("a.service"))
        assert error.status.result == "start-limit-hit"
        assert "too often" in error.message
        manager.reset_failed("a.service")
        manager.start("a.service")


@inside
def test_units_that_cannot_be_started() -> None:
    with units(bad_service="[Service]\nType=oneshot\n") as manager:
        for call in (manager.start, manager.restart):
            with pytest.raises(NoSuchUnitError):
                call("nothing.service")
        with pytest.raises(SystemdError, match="bad unit file setting"):
            manager.start("bad.service")
        with pytest.raises(SystemdError, match="not valid"):
            manager.start("no such name")
        (UNITS / "masked.service").symlink_to("/dev/null")
        manager.reload()
        with pytest.raises(UnitMaskedError):
            manager.start("masked.service")
        with pytest.raises(UnitMaskedError):
            manager.enable_units(["masked.service"])
        assert manager.is_masked("masked.service")
        assert manager.status("masked.service").load_state == "masked"
        (UNITS / "masked.service").unlink()
        assert manager.status("nothing.service").load_state == "not-found"
        assert manager.status("bad.service").load_state == "bad-setting"
        assert "bad unit file" in manager.status("bad.service").describe_failure()


@inside
def test_errors_are_single_lines_without_the_librarys_own_prose() -> None:
    with units(a_service=LONG) as manager:
        calls: list[Callable[[], object]] = [
            lambda: manager.start("nothing.service"),
            lambda: manager.enable_units(["nothing.service"]),
            lambda: manager.enable_units(["/nowhere/nothing.service"]),
            lambda: manager.kill("a.service", 0, "nobody"),
            lambda: manager.list_dependencies("a.service", "NoSuchList"),
        ]
        for call in calls:
            with pytest.raises(SyscontainersError) as caught:
                call()
            for text in (caught.value.message, caught.value.hint):
                assert "\n" not in text
                assert "pystemd" not in text
                assert "b'" not in text


@inside
def test_stopping_what_is_not_there_is_done_already() -> None:
    with connect() as manager:
        manager.stop("nothing.service")
        manager.reset_failed("nothing.service")
        assert manager.disable_units(["nothing.service"]) == ()
        assert manager.unit_file_state("nothing.service") == ""
        assert not manager.is_masked("nothing.service")


@inside
def test_enabling_reports_its_links_and_disabling_works_without_the_file() -> None:
    link = UNITS / "multi-user.target.wants/a.service"
    with units(a_service=LONG) as manager:
        assert manager.unit_file_state("a.service") == "disabled"
        changes = manager.enable_units(["a.service"])
        assert [(c.kind, c.link) for c in changes] == [("symlink", str(link))]
        assert manager.unit_file_state("a.service") == "enabled"
        assert manager.enable_units(["a.service"]) == ()
        (UNITS / "a.service").rename(UNITS / "a.service.away")
        changes = manager.disable_units(["nothing.service", "a.service"])
        assert [(c.kind, c.link) for c in changes] == [("unlink", str(link))]
        assert not link.is_symlink()
        (UNITS / "a.service.away").rename(UNITS / "a.service")


@inside
def test_a_unit_elsewhere_is_linked_by_its_path() -> None:
    path = Path("/opt/b.service")
    path.write_text(LONG)
    with connect() as manager:
        manager.enable_units([path])
        assert (UNITS / "b.service").readlink() == path
        manager.reload()
        assert manager.status("b.service").load_state == "loaded"
        manager.disable_units(["b.service"])
        assert not (UNITS / "b.service").is_symlink()
        path.unlink()
        manager.reload()


@inside
def test_kill_and_what_it_leaves() -> None:
    with units(a_service=LONG) as manager:
        manager.start("a.service")
        manager.kill("a.service", signal.SIGKILL)
        wait_for(lambda: not manager.status("a.service").is_running, "it is not dead")
        status = manager.status("a.service")
        assert (status.active_state, status.result, status.exec_main_code) == ("failed", "signal", "killed")
        assert status.describe_failure() == "killed by signal 9"
        with pytest.raises(SystemdError):
            manager.kill("a.service", signal.SIGTERM)


@inside
def test_a_reload_needed_is_seen() -> None:
    with units(a_service=LONG) as manager:
        manager.start("a.service")
        assert not manager.status("a.service").need_reload
        # Unit files are compared by their time stamps, which the kernel ticks in jiffies.
        os.utime(UNITS / "a.service", (time.time() + 10, time.time() + 10))
        assert manager.status("a.service").need_reload


@inside
def test_dependencies_and_mounts_have_a_status_too() -> None:
    with units(a_service=LONG) as manager:
        assert "sysinit.target" in manager.list_dependencies("a.service")
        assert manager.status("-.mount").sub_state == "mounted"
        assert manager.status("multi-user.target").active_state == "active"
        assert manager.status("a.service").main_pid == 0


@inside
def test_of_many_units_those_that_nothing_has_loaded_are_read() -> None:
    names = [f"many-{number}.service" for number in range(100)]
    texts = {name.replace(".", "_"): LONG for name in names} | {"bad_service": "[Service]\nType=forking\n"}
    with units(**texts) as manager:
        manager.start(names[7])
        rows = manager.list_units_by_names([*names, "bad.service", "nothing.service"])
        assert list(rows) == [*names, "bad.service", "nothing.service"]
        assert (rows["bad.service"].load_state, rows["nothing.service"].load_state) == ("bad-setting", "not-found")
        assert [name for name, row in rows.items() if row.active_state != "inactive"] == [names[7]]
        assert rows == {name: manager.list_units_by_names([name])[name] for name in rows}


@inside
def test_a_connection_is_opened_anew_after_a_reexec() -> None:
    with units(a_service=LONG) as manager:
        for _ in range(2):
            subprocess.run(["systemctl", "daemon-reexec"], check=True)
            manager.start("a.service")
            assert manager.status("a.service").active_state == "active"
            subprocess.run(["systemctl", "daemon-reexec"], check=True)
            manager.stop("a.service")


@pytest.mark.parametrize("exit_status", [0, 3])
@inside
def test_a_job_survives_a_reexec(exit_status: int) -> None:
    go = Path("/run/go")
    command = f"until [ -e {go} ]; do sleep 0.05; done; exit {exit_status}"
    with units(a_service=service(command, ONESHOT, "RemainAfterExit=yes")) as manager:

        def reexec() -> None:
            with connect() as other:
                wait_for(lambda: other.status("a.service").active_state == "activating", "it does not begin")
            subprocess.run(["systemctl", "daemon-reexec"], check=True)
            go.touch()

        thread = threading.Thread(target=reexec)
        thread.start()
        if exit_status:
            assert failure(lambda: manager.start("a.service", timeout=60)).result == "failed"
        else:
            manager.start("a.service", timeout=60)
        thread.join()
        go.unlink()


@inside
def test_a_job_whose_end_fell_into_a_reexec() -> None:
    # PID 1 is stopped, so that our connection is sure to be gone before we hear of the end.
    with units(good_service=service("true", ONESHOT, "RemainAfterExit=yes"), bad_service=service("exit 1", ONESHOT)):
        connection = Connection()
        manager = Manager(connection)
        for unit, expected in (("good.service", "done"), ("bad.service", "failed")):
            job = connection.call("StartUnit", "ss", unit, "replace")
            subprocess.run(["systemctl", "daemon-reexec"], check=True)
            connection.job_result(job)
            deadline = time.monotonic() + 30
            assert manager._wait_for_job(job, unit, "start", deadline) == expected
        connection.close()


@inside
def test_the_system_bus_serves_when_there_is_no_private_socket() -> None:
    with units(a_service=LONG, bad_service=service("exit 1", ONESHOT)), connect(Path("/nowhere")) as manager:
        manager.start("a.service")
        assert manager.status("a.service").active_state == "active"
        assert failure(lambda: manager.start("bad.service")).result == "failed"
        manager.reload()
        manager.stop("a.service")
        assert manager.status("a.service").active_state == "inactive"


@inside
def test_a_user_may_look_but_not_touch() -> None:
    with units(a_service=LONG) as manager:
        manager.start("a.service")
        child = os.fork()
        if child == 0:
            os.setgid(65534)
            os.setuid(65534)
            with connect() as mine:
                running = mine.status("a.service").active_state == "active"
                try:
                    mine.stop("a.service")
                except SystemdError as error:
                    os._exit(0 if running and "root" in error.hint else 2)
            os._exit(3)
        assert os.waitpid(child, 0)[1] == 0
        assert manager.status("a.service").active_state == "active"


@inside
def test_closing_twice_and_using_a_closed_connection() -> None:
    connection = Connection()
    connection.close()
    connection.open()
    connection.close()
    connection.close()
    assert Manager(connection).status("-.mount").active_state == "active"
    connection.close()


@inside
def test_a_forked_child_gets_a_connection_of_its_own() -> None:
    with connect() as manager:
        manager.version()
        child = os.fork()
        if child == 0:
            os._exit(0 if manager.status("-.mount").active_state == "active" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert manager.status("-.mount").active_state == "active"


@pytest.mark.parametrize(
    ("name", "slice_name"),
    [
        ("plain.service", ""),
        ("memory.service", ""),
        ("_odd.service", ""),
        ("in-a-slice.service", "a-b-c.slice"),
        ("deep.service", "cpu.slice"),
        ("top.service", "-.slice"),
        ("tem-plate@one.service", ""),
    ],
)
@inside
def test_the_control_group_is_where_we_say_it_will_be(name: str, slice_name: str) -> None:
    text = service("exec sleep 1000", f"Slice={slice_name}" if slice_name else "")
    path = UNITS / (name.partition("@")[0] + "@.service" if "@" in name else name)
    path.write_text(text)
    with connect() as manager:
        manager.reload()
        manager.start(name)
        try:
            assert unit_cgroup(parse(text), name) == manager.status(name).control_group
        finally:
            manager.stop(name)
            path.unlink()
            manager.reload()
