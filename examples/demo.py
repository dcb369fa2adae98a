"""The demo: etcd from a registry to a supervised service and away again, every step shown and checked.

::

    make demo            # in a throw-away machine with a systemd of its own
    make demo HOST=1     # on this machine's systemd
    make demo KEEP=1     # leaves it all up to look around

Each command is shown as one would type it, with what it really wrote. The first step that is not as it should be
ends the demo with exit code 1.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from examples.etcd.build import build_layout, push_command
from examples.stage import Machine, Stage, StageError, host_stage, run_quietly, throwaway_stage
from tests.wheel import BuildError

PROMPT = "# "
# Everything that an installed container consists of, apart from its image and its data.
TRACES = (
    "set +e; find /etc/systemd/system /etc/tmpfiles.d | sort;"
    "find /var/lib/syscontainers/containers /var/lib/syscontainers/transactions /run/runc /run/crun -mindepth 1;"
    "findmnt --list --noheadings --output=TARGET | sort; find /sys/fs/cgroup -name 'etcd*' | sort; ls -d /run/*etcd*;"
    "systemctl list-units --all --plain --no-legend 'etcd*' '*syscontainers-containers*'; true"
)


class DifferentError(Exception):
    """A step was not as it should be."""


class Show:
    """Runs commands before the audience and compares what they do with what they should."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.seen: list[str] = []
        """What has been shown to be true, one sentence each."""

    def chapter(self, title: str) -> None:
        """Say what comes next."""
        bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
        print(f"\n{bold}── {title}{plain}", flush=True)

    def run(self, line: str, *expected: str, code: int = 0) -> str:
        """Run a command line; its output must match each regular expression of ``expected``."""
        print(f"\n{PROMPT}{line}", flush=True)
        argv = self.machine.command(["bash", "-c", line])
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        print(done.stdout, end="" if done.stdout.endswith("\n") or not done.stdout else "\n", flush=True)
        if done.returncode != code:
            raise DifferentError(f"{line}: exit status {done.returncode}, not {code}")
        for pattern in expected:
            if not re.search(pattern, done.stdout, re.MULTILINE):
                raise DifferentError(f"{line}: nothing in its output is like {pattern!r}")
        return done.stdout

    def note(self, fact: str, *, true: bool = True) -> None:
        """Say and remember what the last commands have shown; ends the demo if it is not so."""
        if not true:
            raise DifferentError(f"not so: {fact}")
        self.seen.append(fact)
        print(f"✓ {fact}", flush=True)


def show_images(show: Show, stage: Stage) -> None:
    """Pull one version, then the other."""
    show.chapter("A registry on the loopback, two versions of etcd")
    layout = build_layout()
    for tag in ("1", "2"):
        show.run(" ".join(push_command(layout, tag, f"{stage.registry}/etcd")))
    first = show.run(f"syscontainer pull --plain-http {stage.registry}/etcd:1", r"sha256:[0-9a-f]{64}")
    second = show.run(f"syscontainer pull --plain-http {stage.registry}/etcd:2", r"sha256:[0-9a-f]{64}")
    show.run("syscontainer images", rf"{stage.registry}/etcd:1 ", rf"{stage.registry}/etcd:2 ")
    layers = [text.count("layer ") for text in (first, second)]
    show.note("the second version brought only the layer that differs", true=layers == [3, 1])


def show_install(show: Show, stage: Stage) -> float:
    """Install and start it; the seconds until etcd answered."""
    show.chapter("An image becomes a service")
    values = "--set ETCD_NAME=one --set ETCD_INITIAL_CLUSTER=one=http://127.0.0.1:2380"
    begin = time.monotonic()
    show.run(f"syscontainer install --now --plain-http --name etcd {values} {stage.registry}/etcd:1", "running")
    show.run("syscontainer exec etcd etcdctl endpoint health", "is healthy")
    seconds = time.monotonic() - begin
    show.note(f"{seconds:.1f} seconds after the install began, etcd answered")
    show.run("syscontainer list", r"^etcd +running .*/etcd:1")
    show.run(
        "systemctl status etcd",
        r"Active: active \(running\)",
        r"Main PID: \d+ \(etcd\)",
        r"/usr/bin/etcd",
    )
    processes = show.run("ps -o pid,ppid,args -p $(systemctl show --property=MainPID --value etcd)")
    show.note("the main process is etcd, a child of systemd", true=bool(re.search(r" 1 /usr/bin/etcd", processes)))
    others = run_quietly(show.machine, "ps -e -o args= | grep -Ew 'runc|crun|syscontainer' | grep -v grep || true")
    show.note("no process of the runtime's or of ours is left", true=not others)
    return seconds


def show_use(show: Show) -> None:
    """Use it and look at what it wrote."""
    show.chapter("A service like any other")
    show.run("syscontainer exec etcd etcdctl put greeting hello", "^OK$")
    show.run("syscontainer exec etcd etcdctl get greeting", "^hello$")
    show.run("curl --silent http://127.0.0.1:2379/health", '"health":"true"')
    show.run("journalctl -u etcd --lines=5 --output=cat", "ready to serve client requests|serving insecure|Started")
    show.run("syscontainer exec etcd sh -c 'exit 7'", code=7)
    show.note("commands run in it, with their own exit codes; its output is in the journal")


def main_pid(machine: Machine) -> str:
    """What systemd knows as etcd's main process; 0 for none."""
    return run_quietly(machine, "systemctl show --property=MainPID --value etcd").strip()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def show_supervision(show: Show) -> None:
    """Kill it, stop it, start it."""
    show.chapter("systemd looks after it")
    before = main_pid(show.machine)
    show.run("kill -9 $(systemctl show --property=MainPID --value etcd)")
    is_back = wait_until(lambda: run_quietly(show.machine, "systemctl is-active etcd || true").strip() == "active")
    show.run("systemctl show --property=ActiveState,NRestarts etcd", "^NRestarts=1$", "^ActiveState=active$")
    show.note("killed, and started again by systemd", true=is_back and main_pid(show.machine) not in ("0", before))
    show.run("syscontainer stop etcd")
    show.run("systemctl is-active etcd", "^inactive$", code=3)
    show.run("syscontainer start etcd")
    show.run("syscontainer exec etcd etcdctl get greeting", "^hello$")
    show.note("stopped and started, and its data is still there")


def show_uninstall(show: Show, traces: str) -> None:
    """Remove it."""
    show.chapter("And away again")
    show.run("syscontainer uninstall etcd")
    show.run("systemctl status etcd", "could not be found", code=4)
    show.run("syscontainer list --json", r"^\[\]$")
    show.run("ls /var/lib/etcd", "^member$")
    left = [line for line in run_quietly(show.machine, TRACES).splitlines() if line not in traces.splitlines()]
    show.note(f"nothing is left but the data {left or ''}".strip(), true=not left)


def perform(stage: Stage, *, keep: bool) -> None:
    """The whole show."""
    show = Show(stage.machine)
    show_images(show, stage)
    traces = run_quietly(stage.machine, TRACES)
    show_install(show, stage)
    show_use(show)
    show_supervision(show)
    show_uninstall(show, traces)
    show.chapter("What you have seen")
    for fact in show.seen:
        print(f"✓ {fact}")
    if keep:
        run_quietly(stage.machine, f"syscontainer install --now --name etcd {stage.registry}/etcd:1 2>&1")
        print(f"\netcd is installed once more. To look around:\n  {stage.how_to_enter}")
        print(f"and to end it all:\n  {stage.how_to_end}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Set the stage, perform, clean up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", action="store_true", help="use this machine's own systemd")
    parser.add_argument("--keep", action="store_true", help="leave everything up afterwards")
    asked = parser.parse_args(arguments)
    print("building the wheel and the images, setting the stage …", flush=True)
    try:
        build_layout()
        with (host_stage if asked.host else throwaway_stage)(keep=asked.keep) as stage:
            perform(stage, keep=asked.keep)
    except (DifferentError, StageError, BuildError) as error:
        print(f"\n✗ {error}", file=sys.stderr)
        return 1
    print("\nEverything is as it should be" + ("." if asked.keep else ", and cleaned up."))
    return 0


if __name__ == "__main__":
    sys.exit(main())
