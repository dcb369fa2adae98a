"""A container that was installed in another storage (``--storage``) stays there without being told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.machine.command import show, syscontainer
from tests.machine.host import ThrowawayHost
from tests.machine.registry import PATIENT, push_image, shell_image

pytestmark = [pytest.mark.machine, pytest.mark.root]

NAME = "elsewhere"
OTHER = "/srv/elsewhere/storage"
DEFAULT = "/var/lib/syscontainers/storage"


@pytest.fixture
def elsewhere(host: ThrowawayHost) -> Iterator[str]:
    """The container, running, from an image that no other storage has; its reference."""
    reference = push(host, "first")
    syscontainer(host, "install", "--storage", OTHER, "--now", "--name", NAME, reference)
    yield reference
    syscontainer(host, "uninstall", NAME)
    host.run(["rm", "-rf", "/srv/elsewhere"])


def push(host: ThrowawayHost, what: str) -> str:
    return push_image(host, shell_image(f"{PATIENT} # {NAME} {what}"), NAME, "1")


def storage(host: ThrowawayHost) -> str:
    """Where the current generation says that its layers are, and where systemd mounts them from."""
    directory = f"/var/lib/syscontainers/containers/{NAME}"
    place = str(json.loads(host.path(f"{directory}.{show(host, NAME)['generation']}/info").read_text())["storage"])
    unit = host.run(["systemctl", "list-dependencies", "--plain", f"{NAME}.service"]).stdout
    mount = next(word for word in unit.split() if word.endswith(".mount") and NAME in word)
    assert place in host.run(["systemctl", "cat", mount]).stdout
    return place


def has_image(host: ThrowawayHost, reference: str, *words: str) -> bool:
    rows = json.loads(syscontainer(host, *words, "images", "--json").stdout)
    return any(reference in row["names"] for row in rows)


def test_verify_and_mount_look_there(host: ThrowawayHost, elsewhere: str) -> None:
    assert syscontainer(host, "verify", NAME).stdout == f"{NAME}: ok\n"
    host.run(["mkdir", "-p", "/srv/elsewhere/look"])
    syscontainer(host, "mount", NAME, "/srv/elsewhere/look")
    assert host.path("/srv/elsewhere/look/payload").exists()
    syscontainer(host, "unmount", "/srv/elsewhere/look")


@pytest.mark.parametrize("words", [("update", NAME), ("update", "--all")], ids=["one", "all"])
def test_update_stays_there(host: ThrowawayHost, elsewhere: str, words: tuple[str, ...]) -> None:
    push(host, " ".join(words))
    syscontainer(host, *words)
    assert (show(host, NAME)["generation"], storage(host)) == (1, OTHER)
    assert has_image(host, elsewhere, "--storage", OTHER)
    assert not has_image(host, elsewhere)
    assert syscontainer(host, "verify", NAME).stdout == f"{NAME}: ok\n"
    assert syscontainer(host, "diff", NAME).stdout == ""


def test_update_moves_it_to_the_storage_that_is_named(host: ThrowawayHost, elsewhere: str) -> None:
    syscontainer(host, "update", "--storage", DEFAULT, NAME)
    assert (show(host, NAME)["generation"], storage(host)) == (1, DEFAULT)
    assert syscontainer(host, "verify", NAME).stdout == f"{NAME}: ok\n"
    syscontainer(host, "rollback", NAME)
    assert storage(host) == OTHER
    syscontainer(host, "image", "rm", elsewhere)
