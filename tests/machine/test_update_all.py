"""``update --all``: each container on its own, and what became of each as a summary."""

from __future__ import annotations

import json

import pytest

from tests.machine.command import show, syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FAILING, PATIENT, push_image, shell_image

pytestmark = [pytest.mark.machine, pytest.mark.root]


def test_one_failure_does_not_stop_the_rest(host: ThrowawayHost, make_image: MakeImage) -> None:
    for name in ("all-bad", "all-new", "all-same"):
        make_image(f"{PATIENT} # {name}", name=name)
        syscontainer(host, "install", "--now", "--name", name, f"127.0.0.1:5000/{name}:1")
    bad = show(host, "all-bad")["digest"]
    push_image(host, shell_image(f"{FAILING} # all-bad"), "all-bad", "1")
    push_image(host, shell_image(f"{PATIENT} # newer"), "all-new", "1")
    done = syscontainer(host, "update", "--all", "--json", code=6)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "all-bad": "failed",
        "all-new": "updated",
        "all-same": "unchanged",
    }
    assert (rows["all-bad"]["before"], rows["all-bad"]["after"], rows["all-bad"]["exit_code"]) == (bad, bad, 6)
    assert rows["all-new"]["before"] != rows["all-new"]["after"]
    assert all(show(host, name)["state"] == "running" for name in rows)
    again = syscontainer(host, "update", "--all", code=6)
    assert again.stdout.splitlines()[-1] == "0 updated, 2 unchanged, 1 failed: all-bad"
    assert "about to fail" in again.stderr
    one = json.loads(syscontainer(host, "update", "--json", "all-same").stdout)
    assert (one["status"], one["generation"]) == ("unchanged", None)
    syscontainer(host, "uninstall", *rows)


def test_it_goes_on_when_nobody_reads_what_it_says(host: ThrowawayHost, make_image: MakeImage) -> None:
    names = [f"piped-{number}" for number in range(3)]
    for name in names:
        make_image(f"{PATIENT} # {name}", name=name)
        syscontainer(host, "install", "--name", name, f"127.0.0.1:5000/{name}:1")
        push_image(host, shell_image(f"{PATIENT} # newer {name}"), name, "1")
    host.shell("syscontainer update --all 2>&1 | true")
    assert [show(host, name)["generation"] for name in names] == [1, 1, 1]
    syscontainer(host, "uninstall", *names)
