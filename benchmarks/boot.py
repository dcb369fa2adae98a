"""How long fifty containers take at boot, beside the same fifty as units that somebody wrote by hand.

``python -m benchmarks.boot bookworm`` or ``trixie`` (root; a machine with nothing else to do). In the emulated machine
of ``tests/vm`` with that release of Debian, from one disk, with one config.json but for names and places:

- *ours*: fifty containers of one image, installed by ``syscontainer apply``;
- *by hand*: the image unpacked into one directory, and fifty units around ``runc run``; the payloads are outside of
  their units' control groups, where no limit of the unit reaches them;
- *by hand, limited*: the same with the payload in its unit; on a unified hierarchy that takes a group for the runtime,
  which systemd makes from version 254 on.

Each boots into a target that wants only the fifty of its kind, in turn. Measured is the time from the start of PID 1
until the last of the fifty is active, by systemd's own time stamps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.common import CHECKOUT, in_turn, markdown_table, replace_section
from tests.debian import BOOKWORM, TRIXIE, Release
from tests.images import build_image, layer, program, program_from, symlink, write_oci_layout
from tests.vm.golden import build_golden
from tests.vm.machine import Machine, MachineError

RELEASES = {release.suite: release for release in (BOOKWORM, TRIXIE)}
COUNT = 50
OURS, BY_HAND, LIMITED = "ours", "hand", "limited"
TITLES = {OURS: "syscontainers", BY_HAND: "units by hand", LIMITED: "by hand, limited"}
LAYOUT = "/usr/share/benchmark"
DECLARED = "/srv/containers.d"
DECLARATION = f'image = "oci:{LAYOUT}:app"\nstart = false\n[values]\nWANTED_BY = "ours.target"\n'
TARGET = "[Unit]\nRequires=basic.target\nAfter=basic.target\nWants={kind}-up.service\nAllowIsolate=yes\n"
UP = "[Unit]\nAfter={services}\n\n[Service]\nType=oneshot\nExecStart=/bin/touch /run/up\n"
UNIT = """\
[Unit]
Description=Container {name}
StartLimitIntervalSec=0

[Service]
Type=forking
PIDFile=/run/{name}.pid
ExecStart={prefix}/usr/sbin/runc run --detach --pid-file /run/{name}.pid --bundle /srv/{name} {name}{suffix}
ExecStopPost=-/usr/sbin/runc delete --force {name}
Delegate=yes
{setting}
KillMode=mixed

[Install]
WantedBy={kind}.target
"""
PLAIN = {"prefix": "", "setting": "", "suffix": ""}
ASIDE = "/bin/sh -c 'cd /sys/fs/cgroup/system.slice/%n && mkdir runtime && echo 0 >runtime/cgroup.procs && exec "
# Without it the unit starts once: ExecStopPost= finds no group to run in, and the container is never deleted.
OWN_GROUP = {
    BOOKWORM: {**PLAIN, "prefix": ASIDE, "suffix": "'"},
    TRIXIE: {**PLAIN, "setting": "DelegateSubgroup=runtime"},
}
PREPARE = f"""\
cd /srv
syscontainer apply {DECLARED} >/dev/null || exit
for kind in {BY_HAND} {LIMITED}; do
    slice=/system.slice/system-syscontainers.slice
    [ $kind = {BY_HAND} ] || slice=/system.slice
    for n in $(seq {COUNT}); do
        mkdir $kind$n
        sed "s,/system.slice/system-syscontainers.slice,$slice,; s,ours$n,$kind$n,g" \
            /var/lib/syscontainers/containers/ours$n/config.json |
            sed 's,: *"rootfs",: "/srv/root",' >$kind$n/config.json
    done
done
systemctl start "$(systemd-escape --path --suffix=mount /var/lib/syscontainers/containers/ours1.0/rootfs)"
cp -a /var/lib/syscontainers/containers/ours1.0/rootfs root
systemctl daemon-reload
systemctl --quiet add-wants ours.target syscontainers-roots.service
systemctl enable --quiet $(for kind in {OURS} {BY_HAND} {LIMITED}; do seq -f "$kind%g.service" {COUNT}; done)
"""
# By the shell alone: whoever asks PID 1 twice a second makes a longer boot still longer.
WAIT = """\
mkfifo /run/wait
exec 9<>/run/wait
until [ -e /run/up ]; do read -rt 1 -u 9 || :; done
"""
LOOK = """\
systemctl show -P ActiveEnterTimestampMonotonic basic.target
systemctl show -p Id,ActiveState,ActiveEnterTimestampMonotonic $(seq -f '{which}%g.service' {count})
"""


@dataclass(frozen=True)
class Boot:
    """One boot, in seconds since PID 1 started."""

    which: str
    ready: float
    """When ordinary services could start (basic.target)."""
    active: float
    """When the last container was active."""


def build_tree(root: Path, release: Release) -> Path:
    """The files of the machine: the image, the units by hand, the two targets."""
    base = layer(
        {"bin/busybox": program_from("/bin/busybox"), "bin/sh": symlink("busybox"), "bin/sleep": symlink("busybox")}
    )
    payload = program("#!/bin/sh\ntrap 'exit 0' TERM\nsleep 1000000 & wait\n")
    image = build_image([base, layer({"payload": payload})], {"Entrypoint": ["/payload"]})
    write_oci_layout(root / LAYOUT.lstrip("/"), {"app": image})
    units = root / "etc/systemd/system"
    declared = root / DECLARED.lstrip("/")
    units.mkdir(parents=True)
    declared.mkdir(parents=True)
    for kind in TITLES:
        services = " ".join(f"{kind}{number}.service" for number in range(1, COUNT + 1))
        (units / f"{kind}.target").write_text(TARGET.format(kind=kind))
        (units / f"{kind}-up.service").write_text(UP.format(services=services))
    for number in range(1, COUNT + 1):
        (declared / f"{OURS}{number}.toml").write_text(DECLARATION)
        for kind, more in ((BY_HAND, PLAIN), (LIMITED, OWN_GROUP[release])):
            name = f"{kind}{number}"
            (units / f"{name}.service").write_text(UNIT.format(name=name, kind=kind, **more))
    return root


def measure(rounds: int, release: Release) -> list[Boot]:
    """All boots, in turn."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        golden = build_golden(build_tree(Path(directory), release), release=release)
    boots = []
    with Machine(golden, memory=2048, label="bench") as machine:
        machine.boot()
        machine.wait_until_up()
        machine.run(PREPARE, seconds=3600)
        machine.shut_down()
        for kind in in_turn(list(TITLES), rounds):
            boots.append(_boot_twice_at_most(machine, kind))
            print(boots[-1], file=sys.stderr, flush=True)
    return boots


def _boot_twice_at_most(machine: Machine, which: str) -> Boot:
    """Once more where the emulator loses its way in a newer kernel, see ``tests/vm/test_newer_systemd.py``."""
    try:
        return _boot(machine, which)
    except MachineError as error:
        print(error, file=sys.stderr, flush=True)
        machine.power_cut(seed=0)
        return _boot(machine, which)


def _boot(machine: Machine, which: str) -> Boot:
    machine.boot(arguments=f"systemd.unit={which}.target")
    machine.run(WAIT, seconds=1200)
    first, *rows = machine.run(LOOK.format(which=which, count=COUNT)).stdout.split("\n", 1)
    units = [dict(line.split("=", 1) for line in block.splitlines()) for block in rows[0].split("\n\n")]
    if [unit["ActiveState"] for unit in units] != ["active"] * COUNT:
        raise RuntimeError(f"not all are active: {machine.run('systemctl --failed').stdout}")
    started = int(machine.run("systemctl show -P UserspaceTimestampMonotonic").stdout)
    times = [int(first), *(int(unit["ActiveEnterTimestampMonotonic"]) for unit in units)]
    machine.shut_down()
    return Boot(which, (times[0] - started) / 1e6, (max(times[1:]) - started) / 1e6)


def make_table(boots: Sequence[Boot]) -> str:
    """Medians, and the medians of the ratios of each round."""
    by = {kind: [boot for boot in boots if boot.which == kind] for kind in TITLES}
    rows = [
        (TITLES[kind], f"{_median(boot.active for boot in found):.1f}", f"{_median(map(_after, found)):.1f}")
        for kind, found in by.items()
    ]
    for kind in (BY_HAND, LIMITED):
        pairs = list(zip(by[OURS], by[kind], strict=True))
        whole = _median(ours.active / hand.active for ours, hand in pairs)
        after = _median(_after(ours) / _after(hand) for ours, hand in pairs)
        rows.append((f"ours ÷ {TITLES[kind]}", f"{whole:.2f}", f"{after:.2f}"))
    return markdown_table(
        (f"{COUNT} containers", "boot until all are active: s", "of that, since basic.target: s"), rows
    )


def _after(boot: Boot) -> float:
    return boot.active - boot.ready


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=RELEASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every boot there as well")
    parser.add_argument("--keep", action="store_true", help="put the figures into docs/benchmarks.md")
    asked = parser.parse_args(arguments)
    boots = measure(asked.rounds, RELEASES[asked.suite])
    if asked.json:
        asked.json.write_text(json.dumps([asdict(boot) for boot in boots], indent=1) + "\n")
    table = make_table(boots)
    print(table)
    if asked.keep:
        replace_section(CHECKOUT / "docs/benchmarks.md", f"boot {asked.suite}", table + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
