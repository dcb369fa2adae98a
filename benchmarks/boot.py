"""How long fifty containers take at boot, beside the same fifty as units that somebody wrote by hand.

``python -m benchmarks.boot`` (root; a machine with nothing else to do). In the emulated machine of ``tests/vm``, from
one disk:

- *ours*: fifty containers of one image, installed by ``syscontainer apply``;
- *by hand*: the image unpacked into one directory, and fifty units around ``runc run`` with the same config.json.

One boots into a target that wants only the former, then one into a target that wants only the latter, and so on in
turn. Measured is the time from the start of PID 1 until the last of the fifty is active, by systemd's own time stamps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.common import markdown_table
from tests.images import build_image, layer, program, program_from, symlink, write_oci_layout
from tests.vm.golden import build_golden
from tests.vm.machine import Machine

COUNT = 50
OURS, BY_HAND = "ours", "hand"
LAYOUT = "/usr/share/benchmark"
DECLARED = "/srv/containers.d"
DECLARATION = f'image = "oci:{LAYOUT}:app"\nstart = false\n[values]\nWANTED_BY = "ours.target"\n'
TARGET = "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n"
UNIT = """\
[Unit]
Description=Container {name}
StartLimitIntervalSec=0

[Service]
Type=forking
PIDFile=/run/{name}.pid
ExecStart=/usr/sbin/runc run --detach --pid-file /run/{name}.pid --bundle /srv/{name} {name}
ExecStopPost=-/usr/sbin/runc delete --force {name}
Delegate=yes
KillMode=mixed

[Install]
WantedBy=hand.target
"""
PREPARE = f"""\
cd /srv
syscontainer apply {DECLARED} >/dev/null || exit
systemctl enable --quiet $(seq -f 'ours%g.service' {COUNT})
for n in $(seq {COUNT}); do
    mkdir hand$n
    sed "s,ours$n,hand$n,g" /var/lib/syscontainers/containers/ours$n/config.json |
        sed 's,"path": *"[^"]*rootfs","path": "/srv/root",' >hand$n/config.json
done
systemctl start "$(systemd-escape --path --suffix=mount /var/lib/syscontainers/containers/ours1.0/rootfs)"
cp -a /var/lib/syscontainers/containers/ours1.0/rootfs root
systemctl daemon-reload
systemctl enable --quiet $(seq -f 'hand%g.service' {COUNT})
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


def build_tree(root: Path) -> Path:
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
    for which in (OURS, BY_HAND):
        (units / f"{which}.target").write_text(TARGET)
    for number in range(1, COUNT + 1):
        name = f"{BY_HAND}{number}"
        (units / f"{name}.service").write_text(UNIT.format(name=name))
        (declared / f"{OURS}{number}.toml").write_text(DECLARATION)
    return root


def measure(rounds: int) -> list[Boot]:
    """All boots, in turn."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        golden = build_golden(build_tree(Path(directory)))
    boots = []
    with Machine(golden, memory=2048, label="bench") as machine:
        machine.boot()
        machine.wait_until_up()
        machine.run(PREPARE, seconds=3600)
        machine.shut_down()
        for number in range(rounds):
            for which in (OURS, BY_HAND) if number % 2 == 0 else (BY_HAND, OURS):
                boots.append(_boot(machine, which))
                print(boots[-1], file=sys.stderr, flush=True)
    return boots


def _boot(machine: Machine, which: str) -> Boot:
    machine.boot(arguments=f"systemd.unit={which}.target")
    machine.wait_until_up(1200)
    first, *rows = machine.run(LOOK.format(which=which, count=COUNT)).stdout.split("\n", 1)
    units = [dict(line.split("=", 1) for line in block.splitlines()) for block in rows[0].split("\n\n")]
    if [unit["ActiveState"] for unit in units] != ["active"] * COUNT:
        raise RuntimeError(f"not all are active: {machine.run('systemctl --failed').stdout}")
    started = int(machine.run("systemctl show -P UserspaceTimestampMonotonic").stdout)
    times = [int(first), *(int(unit["ActiveEnterTimestampMonotonic"]) for unit in units)]
    machine.shut_down()
    return Boot(which, (times[0] - started) / 1e6, (max(times[1:]) - started) / 1e6)


def make_table(boots: Sequence[Boot]) -> str:
    """Medians, and the median of each round's ratio."""
    by = {which: [boot for boot in boots if boot.which == which] for which in (OURS, BY_HAND)}
    titles = {OURS: "syscontainers", BY_HAND: "units by hand"}
    rows = [
        (
            titles[which],
            f"{statistics.median(boot.active for boot in by[which]):.1f}",
            f"{statistics.median(boot.active - boot.ready for boot in by[which]):.1f}",
        )
        for which in (OURS, BY_HAND)
    ]
    pairs = list(zip(by[OURS], by[BY_HAND], strict=True))
    whole = statistics.median(ours.active / hand.active for ours, hand in pairs)
    after = statistics.median((ours.active - ours.ready) / (hand.active - hand.ready) for ours, hand in pairs)
    rows.append(("ratio", f"{whole:.2f}", f"{after:.2f}"))
    return markdown_table(
        (f"{COUNT} containers", "boot until all are active: s", "of that, since basic.target: s"), rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every boot there as well")
    asked = parser.parse_args(arguments)
    boots = measure(asked.rounds)
    if asked.json:
        asked.json.write_text(json.dumps([asdict(boot) for boot in boots], indent=1) + "\n")
    print(make_table(boots))
    return 0


if __name__ == "__main__":
    sys.exit(main())
