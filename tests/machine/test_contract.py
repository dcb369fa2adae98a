"""The image contract through the command: what an image can be told, what is refused, what becomes no syntax."""

from __future__ import annotations

import json
import os

import pytest

from syscontainers.systemd.bus import Connection
from tests.machine.command import show, syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.inside import run_inside
from tests.machine.registry import PATIENT
from tests.machine.state import difference, take_state

pytestmark = [pytest.mark.machine, pytest.mark.root]

MANIFEST = {
    "defaultValues": {"LEVEL": "info", "PORT": 2379},
    "parameters": {
        "LEVEL": {"type": "string", "allowed": ["info", "debug"], "help": "how much it says"},
        "PORT": {"type": "integer"},
        "TOKEN": {"type": "string", "secret": True, "required": True, "help": "the cluster's token"},
    },
}
UNIT = """\
[Unit]
Description=$NAME $LEVEL $PEER
[Service]
Type=forking
PIDFile=$PIDFILE
ExecStart=$EXEC_START
ExecStopPost=-$EXEC_STOPPOST
Environment="TOKEN=$TOKEN"
"""
EXPORTS = {"manifest.json": json.dumps(MANIFEST), "service.template": UNIT}
EVIL = (
    "a\nExecStartPre=/bin/touch /evil",
    "a\r\n[Service]\nUser=evil",
    "a\\",
    'a" "EVIL=1',
    "a' 'EVIL=1",
    "%n %h $HOME ${HOME}",
    'a",lowerdir=/,upperdir="/tmp',
    "a;ExecStart=/bin/evil",
)


def test_an_image_says_what_it_can_be_told_before_anything_is_installed(
    host: ThrowawayHost, make_image: MakeImage
) -> None:
    reference = make_image(f"{PATIENT} # told", exports=EXPORTS)
    syscontainer(host, "pull", reference)
    document = json.loads(syscontainer(host, "image", "show", "--json", reference).stdout)
    found = {row["name"]: row for row in document["variables"]}
    assert (found["LEVEL"]["default"], found["LEVEL"]["origin"], found["LEVEL"]["allowed"]) == (
        "info",
        "image",
        ["info", "debug"],
    )
    assert (found["TOKEN"]["required"], found["TOKEN"]["secret"], found["TOKEN"]["origin"]) == (True, True, "user")
    assert (found["PEER"]["required"], found["PEER"]["origin"]) == (True, "user")
    assert (found["NAME"]["origin"], found["PIDFILE"]["origin"], found["CAPABILITIES"]["origin"]) == (
        "forced",
        "os",
        "default",
    )
    lines = syscontainer(host, "image", "show", reference).stdout.splitlines()
    assert any(line.split()[:3] == ["TOKEN", "required", "user"] for line in lines)
    assert any(line.startswith("LEVEL") and line.endswith("how much it says") for line in lines)
    syscontainer(host, "image", "rm", reference)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"PEER": "x"}, "TOKEN: the image needs to be told"),
        ({"PEER": "x", "TOKEN": ""}, "TOKEN: the image needs to be told"),
        ({"TOKEN": "t"}, "still contains an unreplaced value for: ''PEER''"),
        ({"PEER": "x", "TOKEN": "t", "LEVEL": "loud"}, "must be one of: info, debug"),
        ({"PEER": "x", "TOKEN": "t", "PORT": "many"}, "PORT: 'many' will not do"),
    ],
)
def test_values_are_checked_before_anything_happens(
    host: ThrowawayHost, make_image: MakeImage, skeleton: None, values: dict[str, str], complaint: str
) -> None:
    reference = make_image(f"{PATIENT} # checked", exports=EXPORTS, name="values")
    host.run(["syscontainer", "prune"])
    before = take_state(host)
    words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    assert complaint in syscontainer(host, "install", "--name", "never", *words, reference, code=2).stderr
    assert difference(before, take_state(host)) == []


def environment_of(host: ThrowawayHost, unit: str) -> list[str]:
    """Environment= as PID 1 has it, which systemctl would print in words that have to be parsed again."""
    reading, writing = os.pipe()

    def ask() -> None:
        path = f"/org/freedesktop/systemd1/unit/{unit.replace('.', '_2e')}"
        found = Connection().get_properties(path, "org.freedesktop.systemd1.Service")["Environment"]
        os.write(writing, json.dumps(found).encode())

    run_inside(host, ask)
    os.close(writing)
    with open(reading, "rb") as pipe:
        return [str(word) for word in json.loads(pipe.read())]


@pytest.mark.parametrize("evil", EVIL)
def test_no_value_becomes_syntax(host: ThrowawayHost, make_image: MakeImage, evil: str) -> None:
    """Either the value is refused, or the payload and systemd have it as it was given, and nothing else."""
    reference = make_image(f"{PATIENT} # evil", exports=EXPORTS, name="evil")
    words = ["--set", "PEER=x", "--set", f"TOKEN={evil}"]
    done = host.run(["syscontainer", "install", "--name", "evil", *words, reference], check=False)
    if done.returncode != 0:
        assert (done.returncode, done.stdout) == (2, "")
        assert host.run(["ls", "/etc/systemd/system/evil.service"], check=False).returncode != 0
        return
    text = host.path("/etc/systemd/system/evil.service").read_text()
    assert len(text.splitlines()) == len(UNIT.splitlines())
    assert environment_of(host, "evil.service") == [f"TOKEN={evil}"]
    assert unit_property(host, "evil.service", "User") == ""
    assert unit_property(host, "evil.service", "ExecStartPre").count("path=") <= 1
    syscontainer(host, "uninstall", "evil")


def test_no_text_of_an_image_becomes_syntax(host: ThrowawayHost, make_image: MakeImage) -> None:
    evil = "\n".join(EVIL).replace("\r", "")  # which our own reading of /proc would lose
    run = {"Cmd": ["sh", evil], "Env": ["PATH=/bin", f"EVIL={evil}"], "Labels": {"atomic.type": evil, evil: evil}}
    reference = make_image("trap 'exit 0' TERM; echo up; sleep 1000000 & wait # texts", run=run)
    syscontainer(host, "install", "--now", "--name", "texts", reference)
    assert show(host, "texts")["state"] == "running"
    environment = host.run(["cat", f"/proc/{show(host, 'texts')['pid']}/environ"]).stdout.split("\0")
    arguments = host.run(["cat", f"/proc/{show(host, 'texts')['pid']}/cmdline"]).stdout.split("\0")
    assert f"EVIL={evil}" in environment
    assert evil in arguments
    text = host.path("/etc/systemd/system/texts.service").read_text()
    assert "evil" not in text
    syscontainer(host, "uninstall", "texts")
