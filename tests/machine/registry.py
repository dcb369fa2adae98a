"""A real registry inside a throw-away machine, on its loopback interface, with images to install."""

from __future__ import annotations

from collections.abc import Mapping

from examples.etcd.build import TAGS, build_layout, push_command
from tests.images import Entry, Image, build_image, layer, program, program_from, push, symlink
from tests.machine.host import MachineError, ThrowawayHost
from tests.machine.inside import run_inside

ADDRESS = "127.0.0.1:5000"
UNIT = "registry.service"
FILES = {
    "/etc/registry.yml": f"""\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: /var/lib/registry}}
  delete: {{enabled: true}}
http: {{addr: "{ADDRESS}"}}
""",
    f"/etc/systemd/system/{UNIT}": "[Service]\nExecStart=/usr/bin/docker-registry serve /etc/registry.yml\n",
    # Half of the default: every start waits for it, and what is to fail in it fails at once.
    "/etc/syscontainers/config.toml": f'insecure_registries = ["{ADDRESS}"]\ngrace_seconds = 0.5\n',
}
"""To be in the machine before it boots."""

# Payloads for /bin/sh. The first process of a container gets only those signals that it has a handler for.
PATIENT = "trap 'exit 0' TERM; echo up; sleep 1000000 & wait"
STUBBORN = "trap '' TERM; echo up; sleep 1000000 & wait"
FAILING = "echo about to fail; exit 3"


def start_registry(host: ThrowawayHost) -> None:
    """Start it and wait until it answers."""
    host.run(["systemctl", "start", UNIT])
    answer = f"curl --silent --fail --retry 100 --retry-connrefused --retry-delay 0 http://{ADDRESS}/v2/"
    done = host.shell(f"timeout 20 {answer}", check=False)
    if done.returncode != 0:
        raise MachineError(f"the registry does not answer: {host.run(['journalctl', '-u', UNIT]).stdout}")


def push_etcd(host: ThrowawayHost) -> None:
    """Push every tag of the example to ``etcd``."""
    layout = build_layout()
    for tag in TAGS:
        host.run(push_command(layout, tag, f"{ADDRESS}/etcd"))


def push_image(host: ThrowawayHost, image: Image, repository: str, tag: str = "latest") -> str:
    """Push an image from ``tests.images``; its reference."""
    run_inside(host, lambda: _push(image, repository, tag))
    return f"{ADDRESS}/{repository}:{tag}"


def _push(image: Image, repository: str, tag: str) -> None:
    push(image, ADDRESS, repository, tag)


def shell_image(
    script: str = PATIENT,
    *,
    exports: Mapping[str, str] | None = None,
    run: Mapping[str, object] | None = None,
    files: Mapping[str, str] | None = None,
) -> Image:
    """busybox running ``script``; ``exports`` are files of ``/exports``, ``run`` adds to the image's config."""
    applets = ("cat", "echo", "env", "id", "ls", "mount", "ps", "pwd", "sh", "sleep", "stat", "touch")
    base: dict[str, Entry | str | bytes] = {"bin/busybox": program_from("/bin/busybox")}
    base |= {f"bin/{name}": symlink("busybox") for name in applets}
    own: dict[str, Entry | str | bytes] = {
        "payload": program(f"#!/bin/sh\n{script}\n"),
        "etc/passwd": "root:x:0:0:root:/:/bin/sh\n",
    }
    templates = {f"exports/{name}": text for name, text in (exports or {}).items()}
    config = {"Entrypoint": ["/payload"], "Env": ["PATH=/bin"], **(run or {})}
    return build_image([layer(base), layer({**own, **templates, **(files or {})})], config)
