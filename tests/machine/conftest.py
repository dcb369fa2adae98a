"""One machine for all tests of this ring, with a registry, an etcd image and a few small ones in it.

Each test removes what it installs; ``unchanged`` checks that it has. A test that must break the machine boots
its own ThrowawayHost, which takes a second.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.images import Image
from tests.machine.declared import DECLARED, Declare, forget_everything, write
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FILES, PATIENT, push_etcd, push_image, shell_image, start_registry
from tests.machine.shipped import RECOVER, ROOTS, shipped_unit
from tests.machine.state import difference, take_state

MakeImage = Callable[..., str]


@pytest.fixture(scope="session")
def host() -> Iterator[ThrowawayHost]:
    """The machine, with the registry running."""
    with ThrowawayHost(files=FILES) as machine:
        start_registry(machine)
        yield machine


@pytest.fixture(scope="session")
def booted_host() -> Iterator[ThrowawayHost]:
    """Another machine, which has booted with units that we ship: recover is wanted, roots is there to be started."""
    units = {f"/etc/systemd/system/{unit}": shipped_unit(unit) for unit in (RECOVER, ROOTS)}
    wants = {"/etc/systemd/system/multi-user.target.d/wants.conf": f"[Unit]\nWants={RECOVER}\n"}
    with ThrowawayHost(files={**FILES, **units, **wants}) as machine:
        start_registry(machine)
        yield machine


@pytest.fixture(scope="session")
def etcd(host: ThrowawayHost) -> str:
    """The repository with the tags 1, 2 and plain."""
    push_etcd(host)
    return "127.0.0.1:5000/etcd"


@pytest.fixture(scope="session")
def make_image(host: ThrowawayHost) -> MakeImage:
    """Builds and pushes a busybox image that runs a script; gives its reference, a new one each time."""
    numbers = itertools.count(1)

    def make(
        script: str = PATIENT,
        *,
        name: str = "",
        exports: Mapping[str, str] | None = None,
        run: Mapping[str, object] | None = None,
        image: Image | None = None,
    ) -> str:
        built = image or shell_image(script, exports=exports, run=run)
        return push_image(host, built, name or f"payload{next(numbers)}", "1")

    return make


@pytest.fixture(scope="session")
def skeleton(host: ThrowawayHost, make_image: MakeImage) -> None:
    """What the first command that needs it makes for good: directories, lock files, the slice, the runtimes' own."""
    reference = make_image("trap 'exit 0' TERM; sleep 1000000 & wait")
    for runtime in ("runc", "crun"):
        host.run(["syscontainer", "install", "--now", "--runtime", runtime, "--name", "first", reference])
        host.run(["syscontainer", "uninstall", "first"])
    host.run(["syscontainer", "image", "rm", reference])
    host.run(["syscontainer", "prune"])
    host.run(["mkdir", "-p", "/var/lib/syscontainers/hostfiles"])


@pytest.fixture
def unchanged(host: ThrowawayHost, skeleton: None) -> Iterator[None]:
    """The machine must be after the test as it was before."""
    host.run(["syscontainer", "prune"])  # what other tests left would go with the first failing install
    before = take_state(host)
    yield
    assert difference(before, take_state(host)) == []


@pytest.fixture
def declare(host: ThrowawayHost) -> Iterator[Declare]:
    """Writes a declaration; everything declared is gone after the test."""

    def run(name: str, text: str) -> None:
        write(host, f"{DECLARED}/{name}.toml", text.encode())

    yield run
    forget_everything(host)
