from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from syscontainers.errors import UsageError
from syscontainers.exports.commands import is_detached
from syscontainers.exports.contract import ExportsManifest
from syscontainers.exports.parameters import Parameter
from syscontainers.exports.values import Values, parse_assignments, resolve_values
from tests.unit.exports_image import make_target


def resolve(user: dict[str, str] | None = None, defaults: dict[str, str] | None = None, **others: object) -> Values:
    manifest = ExportsManifest(default_values=defaults or {})
    return resolve_values(make_target(), manifest, user or {}, **{"detached": True, **others})  # type: ignore[arg-type]


def test_assignments_split_at_the_first_equals() -> None:
    assert parse_assignments(["A=b=c", "B=", "A=d"]) == {"A": "d", "B": ""}


@pytest.mark.parametrize("item", ["A", "=x", "a-b=c", "1A=x", "é=x", "A B=x", "A=\udcff"])
def test_assignments_that_make_no_sense_are_refused(item: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_assignments([item])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NAME", "etcd"),
        ("DESTDIR", "/var/lib/syscontainers/containers/etcd.0"),
        ("HOST_UID", "0"),
        ("HOST_GID", "0"),
        ("IMAGE_NAME", "registry.example/etcd:3.5"),
        ("IMAGE_ID", "ab" * 32),
    ],
)
def test_forced_variables_cannot_be_set_and_say_so(name: str, value: str) -> None:
    values = resolve({name: "mine"}, {name: "the image's"})
    assert values[name] == value
    assert values.origins()[name] == "forced"
    assert values.user_texts() == {name: "mine"}
    assert values.notices == (f"--set {name} has no effect: the installer decides it",)


@pytest.mark.parametrize("name", ["EXEC_START", "EXEC_STOP", "EXEC_STARTPRE", "EXEC_STOPPOST"])
def test_commands_are_forced(name: str) -> None:
    values = resolve({name: "/bin/evil"}, {name: "/bin/evil"})
    assert "evil" not in values[name]
    assert values.origins()[name] == "forced"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUN_DIRECTORY", "/run"),
        ("STATE_DIRECTORY", "/var/lib"),
        ("CONF_DIRECTORY", "/etc"),
        ("PIDFILE", "/run/container-etcd.pid"),
        ("RUNTIME", "/usr/sbin/runc"),
        ("ATOMIC", "/usr/bin/syscontainer"),
    ],
)
def test_the_user_may_change_what_the_host_provides_but_the_image_may_not(name: str, value: str) -> None:
    assert resolve(defaults={name: "/image"})[name] == value
    assert resolve(defaults={name: "/image"}).origins()[name] == "os"
    assert resolve({name: "/mine"})[name] == "/mine"
    assert resolve({name: "/mine"}).origins()[name] == "set"


def test_other_variables_go_from_default_over_image_to_user() -> None:
    ours = ExportsManifest(default_values={"A": "ours", "B": "ours", "C": "ours"})
    values = resolve({"C": "user", "D": "user"}, {"B": "image", "C": "image"}, ours=ours)
    picked = {name: (values[name], values.origins()[name]) for name in "ABCD"}
    assert picked == {
        "A": ("ours", "default"),
        "B": ("image", "image"),
        "C": ("user", "set"),
        "D": ("user", "set"),
    }
    assert values.user_texts() == {"C": "user", "D": "user"}


def test_a_uuid_is_made_once_and_then_kept() -> None:
    first = resolve()
    assert uuid.UUID(first["UUID"]).version == 4
    assert first["UUID"] != resolve()["UUID"]
    kept = resolve(defaults={"UUID": "the new image's"}, previous_uuid=first["UUID"])
    assert (kept["UUID"], kept.origins()["UUID"]) == (first["UUID"], "kept")


def test_an_image_may_preset_the_uuid_and_the_user_has_the_last_word() -> None:
    assert resolve(defaults={"UUID": "image"})["UUID"] == "image"
    assert resolve({"UUID": "user"}, previous_uuid="old")["UUID"] == "user"


def test_all_capabilities_come_as_json_strings_without_brackets() -> None:
    text = resolve()["ALL_PROCESS_CAPABILITIES"]
    assert text.endswith('"\n')
    assert text.startswith('"CAP_CHOWN",\n"CAP_DAC_OVERRIDE",\n')
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert len(json.loads(f"[{text}]")) == min(last, 40) + 1


def test_a_detached_runtime_leaves_and_is_cleaned_up_after() -> None:
    values = resolve()
    assert values["EXEC_START"] == (
        "/bin/sh /var/lib/syscontainers/containers/etcd.0/start /usr/sbin/runc etcd"
        " /usr/sbin/runc run --detach --pid-file /run/container-etcd.pid"
        " --bundle /var/lib/syscontainers/containers/etcd.0 etcd"
    )
    assert values["EXEC_STOPPOST"] == "/usr/sbin/runc delete --force etcd"
    assert values["EXEC_STARTPRE"] == ""
    assert values["EXEC_STOP"] == ""


def test_a_runtime_in_the_foreground_is_asked_to_stop() -> None:
    values = resolve(detached=False)
    directory = "/var/lib/syscontainers/containers/etcd.0"
    assert (
        values["EXEC_START"]
        == f"/bin/sh {directory}/start /usr/sbin/runc etcd /usr/sbin/runc run --bundle {directory} etcd"
    )
    assert values["EXEC_STOP"] == "/usr/sbin/runc kill etcd"
    assert values["EXEC_STOPPOST"] == ""


@pytest.mark.parametrize("detached", [True, False])
def test_no_runtime_is_told_to_make_scopes(detached: bool) -> None:
    assert not [text for text in resolve(detached=detached).texts().values() if "systemd-cgroup" in text]


def test_commands_follow_a_runtime_and_pid_file_that_the_user_set() -> None:
    values = resolve({"RUNTIME": "/opt/runc", "PIDFILE": "/run/100%.pid"})
    script = "/bin/sh /var/lib/syscontainers/containers/etcd.0/start"
    assert values["EXEC_START"].startswith(
        f'{script} /opt/runc etcd /opt/runc run --detach --pid-file "/run/100%%.pid" --bundle '
    )
    assert values["PIDFILE"] == "/run/100%.pid"


@pytest.mark.parametrize("name", ["RUNTIME", "STATE_DIRECTORY", "PIDFILE"])
def test_paths_of_the_host_have_to_be_paths(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: "):
        resolve({name: "relative"})


@pytest.mark.parametrize(
    ("template", "detached"),
    [
        ("$EXEC_STOPPOST $PIDFILE", True),
        ("${EXEC_STOPPOST} ${PIDFILE}", True),
        ("$EXEC_STOPPOST", False),
        ("$PIDFILE $EXEC_STOP", False),
        ("$PIDFILES $EXEC_STOPPOST", False),
        ("PIDFILE EXEC_STOPPOST", False),
    ],
)
def test_a_unit_is_detached_that_mentions_both_sides(template: str, detached: bool) -> None:
    assert is_detached(template) is detached


def described(**parameters: Parameter) -> ExportsManifest:
    return ExportsManifest(default_values={"PORT": "80"}, parameters=parameters)


def test_required_parameters_have_to_be_given() -> None:
    manifest = described(
        TOKEN=Parameter("TOKEN", help="the cluster's", required=True), ROLE=Parameter("ROLE", required=True)
    )
    with pytest.raises(UsageError, match="TOKEN, ROLE: the image needs to be told") as caught:
        resolve_values(make_target(), manifest, {}, detached=True)
    assert "--set TOKEN=… the cluster's" in caught.value.hint


def test_defaults_of_the_image_are_checked_as_well() -> None:
    with pytest.raises(UsageError, match="PORT: '80' will not do: must be one of: 443"):
        resolve_values(make_target(), described(PORT=Parameter("PORT", "integer", allowed=("443",))), {}, detached=True)


def test_an_image_can_narrow_our_parameters_but_not_change_their_type() -> None:
    ours = described(PORT=Parameter("PORT", "integer", "ours"))
    theirs = described(PORT=Parameter("PORT", "raw", allowed=("80",), required=True))
    values = resolve_values(make_target(), theirs, {}, detached=True, ours=ours)
    assert values.parameters["PORT"] == Parameter("PORT", "integer", "ours", ("80",), required=True)


def test_secrets_are_not_shown() -> None:
    values = resolve_values(make_target(), described(T=Parameter("T", secret=True)), {"T": "hunter2"}, detached=True)
    assert values.shown("T") == "(secret)"
    assert values.shown("NAME") == "etcd"
