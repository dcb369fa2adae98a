"""Operations cut off by SIGKILL are ended by the next command or by ``recover``."""

from __future__ import annotations

import json

import pytest

from tests.machine.command import show, syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import PATIENT
from tests.waiting import turns

pytestmark = [pytest.mark.machine, pytest.mark.root]

RECORD = "/var/lib/syscontainers/transactions/cut.json"


def cut_update(host: ThrowawayHost, reference: str) -> None:
    """Kill an update as soon as all its files are published."""
    process = host.popen(["syscontainer", "update", "--image", reference, "cut"])
    record = host.path(RECORD)
    for _ in turns(pause=0.002):
        assert process.poll() is None, process.communicate()
        if record.exists() and json.loads(record.read_bytes())["phase"] == "published":
            break
    host.run(["pkill", "-9", "-f", "syscontainer update"])
    process.communicate()
    assert record.exists()


def test_recover_completes_a_published_update(host: ThrowawayHost, make_image: MakeImage, unchanged: None) -> None:
    one, two = (make_image(f"{PATIENT} # cut {number}") for number in (1, 2))
    syscontainer(host, "install", "--now", "--name", "cut", one)
    cut_update(host, two)
    assert syscontainer(host, "recover").stdout == "cut: an interrupted update was completed\n"
    document = show(host, "cut")
    assert (document["image"], document["generation"], document["state"]) == (two, 1, "running")
    assert syscontainer(host, "recover").stdout == ""
    syscontainer(host, "uninstall", "cut")
    syscontainer(host, "image", "rm", one, two)
    syscontainer(host, "prune")


def test_the_next_command_does_it_too(host: ThrowawayHost, make_image: MakeImage, unchanged: None) -> None:
    one, two = (make_image(f"{PATIENT} # cut again {number}") for number in (1, 2))
    syscontainer(host, "install", "--now", "--name", "cut", one)
    cut_update(host, two)
    syscontainer(host, "uninstall", "cut")
    syscontainer(host, "image", "rm", one, two)
    syscontainer(host, "prune")
