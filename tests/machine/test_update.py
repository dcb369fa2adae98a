"""What an update notices, shows in advance, keeps and numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine.command import show, syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FAILING, PATIENT

pytestmark = [pytest.mark.machine, pytest.mark.root]

SECRET = "hunter2-hunter2"
PARAMETERS = {
    "LEVEL": {"type": "string", "help": "how much it says"},
    "TOKEN": {"type": "string", "secret": True},
}


def exports(level: str, **more: object) -> dict[str, str]:
    manifest = {"defaultValues": {"LEVEL": level, "TOKEN": "", "ENV": f"VERSION={level}"}, "parameters": PARAMETERS}
    unit = "[Unit]\nDescription=level $LEVEL\n[Service]\nType=forking\nPIDFile=$PIDFILE\nExecStart=$EXEC_START\n"
    unit += "Environment=TOKEN=$TOKEN\nExecStopPost=-$EXEC_STOPPOST\n[Install]\nWantedBy=multi-user.target\n"
    document = {**manifest, "installedFilesTemplate": ["/etc/noted"], **more}
    return {
        "manifest.json": json.dumps(document),
        "service.template": unit,
        "hostfs/etc/noted": "level=$LEVEL $TOKEN\n",
    }


@pytest.fixture
def name(host: ThrowawayHost, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    yield name
    syscontainer(host, "uninstall", name)


def test_diff_shows_every_part_and_no_secret(host: ThrowawayHost, make_image: MakeImage, name: str) -> None:
    one = make_image(f"{PATIENT} # diff one", exports=exports("low"))
    two = make_image(f"{PATIENT} # diff two", exports=exports("high"))
    syscontainer(host, "install", "--now", "--name", name, "--set", f"TOKEN={SECRET}", one)
    assert syscontainer(host, "diff", name).stdout == ""
    assert json.loads(syscontainer(host, "diff", "--json", name).stdout) == []
    lines = syscontainer(host, "diff", "--image", two, name).stdout.splitlines()
    for line in (
        f"-reference {one}",
        f"+reference {two}",
        "-LEVEL=low",
        "+LEVEL=high",
        "-Description=level low",
        "+Description=level high",
        "--- current//etc/noted",
        "-level=low (secret)",
        "+level=high (secret)",
        '-      "VERSION=low",',
        '+      "VERSION=high",',
    ):
        assert line in lines
    parts = json.loads(syscontainer(host, "diff", "--json", "--image", two, name).stdout)
    assert [part["part"] for part in parts] == [
        "image",
        "values",
        "/etc/noted",
        "config.json",
        f"{name}.service",
        f"{name}.service.conf",
        "rootfs.mount",
    ]
    dry = syscontainer(host, "update", "--dry-run", "--image", two, name).stdout
    assert SECRET not in "\n".join((*lines, str(parts), dry, syscontainer(host, "show", name).stdout))
    assert "Description=level high" in dry
    assert show(host, name)["generations"] == [0]


def test_new_defaults_arrive_and_set_values_stay(host: ThrowawayHost, make_image: MakeImage, name: str) -> None:
    one = make_image(f"{PATIENT} # default one", exports=exports("low"))
    two = make_image(f"{PATIENT} # default two", exports=exports("high"))
    syscontainer(host, "install", "--name", name, "--set", "TOKEN=mine", one)
    before = show(host, name)["values"]
    syscontainer(host, "update", "--image", two, name)
    after = show(host, name)
    assert (after["values"]["LEVEL"], after["origins"]["LEVEL"]) == ("high", "image")
    assert (after["user_values"], after["origins"]["TOKEN"]) == ({"TOKEN": "(secret)"}, "set")
    assert after["values"]["UUID"] == before["UUID"]
    syscontainer(host, "update", "--set", "LEVEL=own", name)
    assert (show(host, name)["values"]["LEVEL"], show(host, name)["origins"]["LEVEL"]) == ("own", "set")
    syscontainer(host, "update", "--unset", "LEVEL", name)
    assert (show(host, name)["values"]["LEVEL"], show(host, name)["origins"]["LEVEL"]) == ("high", "image")
    assert "nothing to change" in syscontainer(host, "update", "--set", "TOKEN=mine", name).stdout


def test_a_number_is_never_used_again(host: ThrowawayHost, make_image: MakeImage, name: str) -> None:
    syscontainer(host, "install", "--now", "--name", name, make_image(f"{PATIENT} # numbers"))
    syscontainer(host, "update", "--image", make_image(FAILING), name, code=6)
    assert show(host, name)["generations"] == [0]
    syscontainer(host, "update", "--set", "DESCRIPTION=two", name)
    syscontainer(host, "update", "--set", "DESCRIPTION=three", name)
    assert show(host, name)["generations"] == [2, 3]
    rows = json.loads(syscontainer(host, "show", "--generations", "--json", name).stdout)
    assert [(row["number"], row["current"], row["user_values"]) for row in rows] == [
        (2, False, {"DESCRIPTION": "two"}),
        (3, True, {"DESCRIPTION": "three"}),
    ]
    assert "3*" in syscontainer(host, "show", "--generations", name).stdout
    assert "no generation 1" in syscontainer(host, "rollback", "--to", "1", name, code=4).stderr
    assert syscontainer(host, "rollback", "--to", "2", name).stdout == f"{name}: now at generation 2\n"
    assert syscontainer(host, "rollback", "--to", "2", name).stdout == f"{name}: now at generation 2\n"
    assert (show(host, name)["generation"], show(host, name)["state"]) == (2, "running")


def test_a_newer_template_of_ours_is_noticed(host: ThrowawayHost, make_image: MakeImage, name: str) -> None:
    """As after an update of this very package: the saved unit is then not what our template makes today."""
    syscontainer(host, "install", "--now", "--name", name, make_image())
    unit = host.path(f"/var/lib/syscontainers/containers/{name}.0/{name}.service")
    text = unit.read_text()
    unit.write_text(text.replace("KillMode=mixed\n", ""))
    diff = syscontainer(host, "diff", name).stdout.splitlines()
    assert [line for line in diff if line[0] in "+-" and line[:3] not in ("+++", "---")] == ["+KillMode=mixed"]
    syscontainer(host, "update", name)
    assert show(host, name)["generation"] == 1
    assert "nothing to change" in syscontainer(host, "update", name).stdout


def test_rules_for_missing_sources_outlive_an_update(host: ThrowawayHost, make_image: MakeImage, name: str) -> None:
    mounts = json.dumps({"type": "bind", "source": "/run/absent", "destination": "/data", "options": ["rbind"]})
    reference = make_image(run={"Env": ["PATH=/bin", "X=1"]})
    syscontainer(host, "install", "--now", "--name", name, "--set", f"ADDTL_MOUNTS=, {mounts}", reference)
    rules = Path(str(host.path(f"/etc/tmpfiles.d/{name}.conf")))
    before = rules.read_text()
    assert "d /run/absent 0700" in before
    assert host.path("/run/absent").is_dir()
    syscontainer(host, "update", "--set", "DESCRIPTION=second", name)
    assert rules.read_text() == before


def test_whether_boot_starts_it_is_read_from_the_links(host: ThrowawayHost, make_image: MakeImage, name: str) -> None:
    """PID 1 keeps what it once read of them (UnitFileState), until the next reload."""
    syscontainer(host, "install", "--now", "--name", name, make_image(PATIENT, exports=exports("low")))
    link = host.path(f"/etc/systemd/system/multi-user.target.wants/{name}.service")
    assert link.is_symlink()
    assert unit_property(host, f"{name}.service", "UnitFileState") == "enabled"
    link.unlink()
    assert show(host, name)["enabled"] is False
    syscontainer(host, "update", "--set", "LEVEL=high", name)
    assert not link.is_symlink()


@pytest.mark.parametrize("word", ["update", "diff"])
def test_nothing_to_do_is_success(host: ThrowawayHost, make_image: MakeImage, word: str) -> None:
    syscontainer(host, "install", "--name", f"idle-{word}", make_image())
    for _ in range(2):
        syscontainer(host, word, f"idle-{word}")
    assert show(host, f"idle-{word}")["generations"] == [0]
    syscontainer(host, "uninstall", f"idle-{word}")
