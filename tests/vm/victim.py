"""The machine whose power is cut: three small containers, a registry of its own, and what is done to one of them.

``steady`` and ``second``, which requires it, are declared and come from seeds at the first boot; nobody touches them
again, so after every cut they have to run. ``app`` is installed, updated and so on from a real registry on the
machine's loopback interface. Images have a few hundred small files: enough writes for a cut to come between.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.images import Entry, Image, build_image, layer, program, program_from, push, symlink, write_oci_layout
from tests.registry import real_registry
from tests.vm.chain import make_node
from tests.vm.golden import CACHE, GUEST, build_golden
from tests.vm.machine import Machine

REGISTRY = "127.0.0.1:5000"
PAYLOAD = "#!/bin/sh\ntrap 'exit 0' TERM\necho up\nsleep 1000000 & wait\n"
DECLARATIONS = {
    "steady": 'image = "seed.example/app:1"\n',
    "second": 'image = "seed.example/app:2"\nrequires = ["steady"]\n',
}
# None of them makes a difference to what is asked here, and together they are a third of the boot.
MASKED = (
    *("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-udevd-control.socket"),
    *("systemd-udevd-kernel.socket", "systemd-user-sessions.service", "systemd-sysusers.service"),
    *("systemd-random-seed.service", "systemd-sysctl.service", "systemd-remount-fs.service", "dbus.service"),
    *("dbus.socket", "accounting.service"),
)
SETTINGS = f'insecure_registries = ["{REGISTRY}"]\n'
REGISTRY_UNIT = "[Service]\nExecStart=/usr/bin/docker-registry serve /srv/registry.yml\n"
REGISTRY_CONFIG = f"""\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: /srv/registry}}}}
http: {{addr: "{REGISTRY}"}}
"""
START_REGISTRY = (
    "systemctl start registry.service\n"
    f"until exec 5<>/dev/tcp/{REGISTRY.replace(':', '/')}; do sleep 0.2; done 2>/dev/null\n"
)


@dataclass(frozen=True)
class Operation:
    """Something that is done to ``app``, and when it counts as under way."""

    name: str
    past: str
    """The state of the host in which it begins."""
    script: str = ""
    """Nothing for the first boot, which is its own operation."""
    window: str = ""
    """A test in the guest: cuts come after it has come true, by time."""


_LONG_HEALTH = f"""\
cat >/etc/syscontainers/config.toml <<END
{SETTINGS}grace_seconds = 15
END
sync /etc/syscontainers/config.toml
"""
_UPDATE = f"syscontainer update --image {REGISTRY}/app:2 app"
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("install", "bare", f"syscontainer install --now --name app {REGISTRY}/app:1"),
        Operation("update", "installed", _UPDATE),
        Operation(
            "health window",
            "installed",
            _LONG_HEALTH + _UPDATE,
            'grep -q \'"phase": "published"\' /var/lib/syscontainers/transactions/app.json && '
            "systemctl -q is-active app.service",
        ),
        Operation("rollback", "updated", "syscontainer rollback app"),
        Operation("uninstall", "installed", "syscontainer uninstall app"),
        Operation("pull", "bare", f"syscontainer pull {REGISTRY}/app:2"),
        Operation("first boot", "unborn"),
    )
}


def make_images() -> dict[str, Image]:
    """Two versions on one base; the same bytes each time."""
    applets = {f"bin/{name}": symlink("busybox") for name in ("sh", "sleep", "cat")}
    base = layer({"bin/busybox": program_from("/bin/busybox"), **applets})
    return {version: build_image([base, layer(_files(version))], {"Entrypoint": ["/payload"]}) for version in "12"}


def _files(version: str) -> dict[str, Entry | str | bytes]:
    dice = random.Random(version)
    ballast = {f"usr/share/{n % 20}/{n}": dice.randbytes(dice.choice((10, 300, 5000, 40_000))) for n in range(200)}
    return {"payload": program(PAYLOAD), "version": f"version {version}\n", **ballast}


def build_tree() -> Path:
    """The files of this node, made once for its sources."""
    images = make_images()
    sources = (Path(__file__), GUEST / "host-state.sh", Path(__file__).with_name("chain.py"))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    key.update("".join(image.digest for image in images.values()).encode())
    tree = CACHE / f"victim-{key.hexdigest()[:16]}"
    if not tree.exists():
        building = Path(tempfile.mkdtemp(prefix="victim-", suffix=".new", dir=CACHE))
        building.chmod(0o755)
        _write_tree(building, images)
        building.rename(tree)
    return tree


def _write_tree(root: Path, images: dict[str, Image]) -> None:
    make_node(root, DECLARATIONS, seeds=False)
    write_oci_layout(
        root / "usr/share/syscontainers/seeds/app", {f"seed.example/app:{v}": image for v, image in images.items()}
    )
    with tempfile.TemporaryDirectory(dir=CACHE) as directory, real_registry(Path(directory)) as address:
        for version, image in images.items():
            push(image, address, "app", version)
        shutil.copytree(Path(directory) / "data", root / "srv/registry")
    for path, text in {
        "etc/syscontainers/config.toml": SETTINGS,
        "etc/systemd/system/registry.service": REGISTRY_UNIT,
        "etc/fstab": "",  # the root is mounted, and nobody tells of devices
        "srv/registry.yml": REGISTRY_CONFIG,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    programs = {"docker-registry": Path("/usr/bin/docker-registry"), "host-state": GUEST / "host-state.sh"}
    for name, source in programs.items():
        target = root / "usr/bin" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.chmod(0o755)


class Pasts:
    """The states in which operations begin, each a frozen machine that any number of machines can go on from."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._frozen = {"unborn": stack.enter_context(Machine(build_golden(build_tree()), label="unborn"))}

    def __getitem__(self, name: str) -> Machine:
        if name not in self._frozen:
            self._frozen[name] = self._make(name)
        return self._frozen[name]

    @contextlib.contextmanager
    def begin(self, operation: Operation) -> Iterator[Machine]:
        """A running machine of its own in which ``operation`` is about to begin."""
        with self[operation.past].fork("cut") as machine:
            if operation.script:
                machine.thaw()
            else:
                machine.boot()
            yield machine

    def _make(self, name: str) -> Machine:
        before, step = {
            "bare": ("unborn", START_REGISTRY),
            "installed": ("bare", OPERATIONS["install"].script),
            "updated": ("installed", OPERATIONS["update"].script),
        }[name]
        machine = self._stack.enter_context(self[before].fork(name))
        if before == "unborn":
            machine.boot()
            assert machine.wait_until_up(900) == "running", machine.run("systemctl --failed").stdout
        else:
            machine.thaw()
        machine.run(step)
        machine.freeze()
        return machine
