"""Faults on a machine: before each run it is brought back to its starting state, units, mounts and all.

That is done without the product's help, by putting copies of its directories back; so what a fault has broken does
not reach the next run.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tests.machine.host import MachineError, ThrowawayHost
from tests.machine.state import State, difference, take_state
from tests.waiting import turns

WATCHED = ("/etc/systemd/system", "/etc/tmpfiles.d", "/var/lib/syscontainers", "/srv")
_SAVE = r"""
copy=$1; shift
rm -rf "$copy"
# Not what is mounted there: the layers of a running container would become files of its empty root.
for directory; do mkdir -p "$copy$directory"; cp -ax "$directory/." "$copy$directory/"; done
"""
# In the order in which one thing holds another: processes, mounts, control groups, files.
_RESTORE = r"""
copy=$1 name=$2 active=$3; shift 3
mounts=$(systemctl list-units --plain --no-legend --all "*containers-$name.*.mount" | cut --delimiter=" " --fields=1)
systemctl stop "$name.service" $mounts || true
[ ! -e "/run/runc/$name" ] || runc delete --force "$name"
findmnt --list --noheadings --output=TARGET | sed --quiet "\,/containers/$name\.,p" | xargs --no-run-if-empty umount
find /sys/fs/cgroup -depth -type d -path "*/$name.service*" -exec rmdir {} + 2>/dev/null || true
for directory; do
    find "$directory" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
    cp -a "$copy$directory/." "$directory/"
done
systemctl daemon-reload
systemctl reset-failed
[ "$active" = no ] || systemctl start "$name.service"
"""
_SECONDS = 10.0
_PRISTINE, _GOLDEN = "/copies/pristine", "/copies/golden"


def snapshot(host: ThrowawayHost, name: str) -> State:
    """The machine's state, without what is another one each time, and of control groups only those of ``name``."""
    state = take_state(host)
    files = dict(state.files)
    for path in files:
        if path.startswith("/run/"):
            files[path] = ""  # the runtime's: process numbers, start times
        elif path.endswith("/info") and host.path(path).is_file():
            files[path] = _blur_info(host.path(path).read_bytes())
    return replace(state, files=files, groups=sorted(group for group in state.groups if name in group))


def _blur_info(data: bytes) -> str:
    info = json.loads(data)
    del info["created"], info["values"]["UUID"]
    return json.dumps(info, sort_keys=True)


class MachineBench:
    """One machine for each worker. ``prepare`` makes the starting state, in which ``name`` may be running.

    ``finish`` does to it what the command is to do; the states ``old`` and ``new`` are there to compare with.
    ``replay`` makes the starting state anew each time: that of an operation cut off is also in the head of PID 1,
    which no copies of files bring back.
    """

    old: State
    new: State

    def __init__(
        self,
        hosts: Sequence[ThrowawayHost],
        name: str,
        prepare: Callable[[ThrowawayHost], None],
        finish: Callable[[ThrowawayHost], None],
        *,
        replay: bool = False,
    ) -> None:
        self._hosts = hosts
        self._name = name
        self._prepare = prepare
        self._finish = finish
        self._replay = replay

    @contextlib.contextmanager
    def open(self, worker: int) -> Iterator[None]:
        self._host = self._hosts[worker]
        if self._host.path(_PRISTINE).exists():
            self._restore(_PRISTINE, "no")
        else:
            self._save(_PRISTINE)
        self._prepare(self._host)
        self._save(_GOLDEN)
        self.old = self._look_twice()
        self._finish(self._host)
        self.new = self._look_twice()
        yield

    @contextlib.contextmanager
    def fresh(self) -> Iterator[ThrowawayHost]:
        self._host.run(["rm", "-rf", "/var/lib/syscontainers/numbers"])
        if self._replay:
            self._restore(_PRISTINE, "no")
            self._prepare(self._host)
        elif difference(self.old, self.look()):
            self._restore(_GOLDEN, "yes" if f"{self._name}.service active" in self.old.units else "no")
            self._await_old()
        yield self._host

    def distance(self) -> tuple[list[str], list[str]]:
        """What differs now from ``old``, and what from ``new``; PID 1 is given time to come to rest."""
        for _ in turns(_SECONDS):
            found = self.look()
            differences = difference(self.old, found), difference(self.new, found)
            if not all(differences):
                break
        return differences

    def look(self) -> State:
        """The machine's state now."""
        return snapshot(self._host, self._name)

    def _await_old(self) -> None:
        # The runtime's own mounts come and go so quickly that PID 1, which looks at most five times in a second,
        # may believe in one for a while that has long gone.
        for _ in turns(_SECONDS):
            if not (left := difference(self.old, self._look_twice())):
                return
        raise MachineError("the starting state cannot be had again: " + "; ".join(left))

    def _look_twice(self) -> State:
        """The state when nothing changes any more: a mount that nobody needs goes a moment after its last user."""
        before = self.look()
        for _ in range(20):
            time.sleep(0.2)
            if not difference(before, now := self.look()):
                return now
            before = now
        raise MachineError("the machine does not come to rest")

    def cut_power(self, state: ThrowawayHost) -> None:
        raise NotImplementedError("the machine's disk is in the memory of the kernel that goes on")

    def _save(self, copy: str) -> None:
        self._host.run(["bash", "-euo", "pipefail", "-c", _SAVE, "save", copy, *WATCHED])

    def _restore(self, copy: str, active: str) -> None:
        script = ["bash", "-euo", "pipefail", "-c", _RESTORE, "restore", copy, self._name, active]
        self._host.run([*script, *WATCHED])
