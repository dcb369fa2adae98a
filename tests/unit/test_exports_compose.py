from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from syscontainers.errors import SyscontainersError, UsageError
from syscontainers.exports.capabilities import DEFAULT
from syscontainers.exports.compose import Composition
from syscontainers.exports.render import MissingValueError, TemplateError
from syscontainers.systemd.unitfile import parse
from tests.unit.exports_image import HOST, compose_config, compose_image, make_config, make_image

CONFIG = json.dumps(
    {"process": {"args": ["$PROGRAM"]}, "root": {"path": "rootfs", "readonly": True}, "ociVersion": "1.0.0"}
)
SERVICE = "[Service]\nExecStart=$EXEC_START\nEnvironment=PROGRAM=$PROGRAM\n"
PARTS = {
    "exports/config.json": CONFIG.replace("$PROGRAM", "/bin/literal"),
    "exports/config.json.template": CONFIG,
    "exports/service.template": SERVICE,
    "exports/tmpfiles.template": "d $STATE_DIRECTORY/$PROGRAM - - - -\n",
    "exports/manifest.json": '{"defaultValues": {"PROGRAM": "/bin/mine"}}',
}


def args_of(composition: Composition) -> tuple[str, ...]:
    assert composition.config is not None
    return composition.config.args


@pytest.mark.parametrize("present", list(itertools.product([False, True], repeat=len(PARTS))))
def test_every_combination_of_parts(tmp_path: Path, present: tuple[bool, ...]) -> None:
    chosen = {name for name, here in zip(PARTS, present, strict=True) if here}
    literal, template, service, tmpfiles, manifest = (name in chosen for name in PARTS)
    root = make_image(tmp_path, {name: PARTS[name] for name in chosen})
    values = {} if manifest else {"PROGRAM": "/bin/set"}
    composition = compose_image(root, values)
    mine = "/bin/mine" if manifest else "/bin/set"
    assert args_of(composition) == (("/bin/literal" if literal else mine if template else "/bin/true"),)
    assert composition.service is not None
    assert (f"Environment=PROGRAM={mine}" in composition.service) == service
    assert composition.detached != service
    assert composition.tmpfiles == (f"d /var/lib/{mine} - - - -\n" if tmpfiles else None)


def test_our_unit(tmp_path: Path) -> None:
    composition = compose_image(make_image(tmp_path, {}), image=make_config(StopSignal="SIGQUIT"))
    assert composition.service is not None
    unit = parse(composition.service)
    assert unit.problems == ()
    expected = {
        "Type": "forking",
        "PIDFile": "/run/container-etcd.pid",
        "Delegate": "yes",
        "KillMode": "mixed",
        "KillSignal": "SIGQUIT",
        "SuccessExitStatus": "131",
        "Slice": "system-syscontainers.slice",
        "Restart": "on-failure",
        "OOMPolicy": "kill",
        "MemoryMax": "infinity",
        "SyslogIdentifier": "etcd",
    }
    assert {key: unit.get("Service", key) for key in expected} == expected
    assert unit.get("Unit", "Description") == "etcd from registry.example/etcd:3.5"
    assert unit.get("Install", "WantedBy") == "multi-user.target"
    assert composition.detached


def test_the_payload_lives_below_its_unit(tmp_path: Path) -> None:
    root = make_image(tmp_path, {})
    ours = compose_config(root)["linux"]["cgroupsPath"]
    assert ours == "/system.slice/system-syscontainers.slice/etcd.service/payload"
    assert (
        compose_config(root, {"SLICE": "a-b.slice"})["linux"]["cgroupsPath"]
        == "/a.slice/a-b.slice/etcd.service/payload"
    )
    make_image(root, {"exports/service.template": "[Service]\nExecStart=$EXEC_START\n"})
    assert compose_config(root)["linux"]["cgroupsPath"] == "/system.slice/etcd.service/payload"


def test_every_field_of_the_image_config_is_honoured(tmp_path: Path) -> None:
    root = make_image(
        tmp_path, {"etc/passwd": "app:x:5:6::/home/app:/bin/sh\n", "etc/group": "app:x:6:\nlog:x:7:app\n"}
    )
    image = make_config(
        Entrypoint=["/bin/app"],
        Cmd=["--flag", 'quo"te $HOME %n'],
        Env=["A=b c", 'Q="$x" %i'],
        WorkingDir="/srv",
        User="app",
        StopSignal="SIGRTMIN+3",
        Volumes={"/data": {}},
    )
    composition = compose_image(root, image=image)
    assert composition.config is not None
    process = composition.config.data["process"]
    assert process["args"] == ["/bin/app", "--flag", 'quo"te $HOME %n']
    assert process["env"][1:] == ["A=b c", 'Q="$x" %i', "HOME=/home/app"]
    assert process["cwd"] == "/srv"
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [7]}
    mount = composition.config.data["mounts"][-1]
    assert (mount["source"], mount["destination"]) == ("/var/lib/etcd/data", "/data")
    assert composition.tmpfiles is not None
    assert "\nd /var/lib/etcd/data 0755 0 0 -\n" in composition.tmpfiles
    assert composition.service is not None
    assert parse(composition.service).get("Service", "KillSignal") == "SIGRTMIN+3"


def test_the_user_overrides_the_image(tmp_path: Path) -> None:
    values = {
        "ARGS": '["/bin/other"]',
        "ENV": "A=user",
        "CWD": "/opt",
        "USER": "7:8",
        "STOP_SIGNAL": "INT",
        "DESCRIPTION": "100% mine",
        "MEMORY": "1G",
    }
    image = make_config(Cmd=["x"], Env=["A=image"], WorkingDir="/srv", User="root", StopSignal="SIGQUIT")
    composition = compose_image(make_image(tmp_path, {}), values, image=image)
    assert composition.config is not None
    assert composition.service is not None
    process, unit = composition.config.data["process"], parse(composition.service)
    assert (process["args"], process["cwd"], process["user"]) == (["/bin/other"], "/opt", {"uid": 7, "gid": 8})
    assert "A=user" in process["env"]
    assert unit.get("Service", "KillSignal") == "SIGINT"
    assert unit.get("Service", "MemoryMax") == "1G"
    assert unit.get("Unit", "Description") == "100%% mine"
    assert composition.values.user_texts() == values


def test_our_config_confines(tmp_path: Path) -> None:
    config = compose_config(make_image(tmp_path, {}))
    capabilities = config["process"]["capabilities"]
    assert capabilities["bounding"] == capabilities["effective"] == capabilities["permitted"] == list(DEFAULT)
    assert capabilities["inheritable"] == capabilities["ambient"] == []
    assert config["process"]["noNewPrivileges"] is True
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert "/proc/kcore" in config["linux"]["maskedPaths"]
    assert "/proc/sys" in config["linux"]["readonlyPaths"]
    assert config["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    assert config["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ALLOW"


def namespaces(config: dict[str, Any]) -> set[str]:
    return {entry["type"] for entry in config["linux"]["namespaces"]}


def test_the_hosts_network_comes_with_the_hosts_names(tmp_path: Path) -> None:
    host = make_image(tmp_path / "host", {"etc/resolv.conf": "", "etc/hosts": "", "etc/localtime": ""})
    root = make_image(tmp_path / "root", {"etc/localtime": "-> /usr/share/zoneinfo/UTC", "etc/hosts": ""})
    config = compose_config(root, on=host)
    assert namespaces(config) == {"pid", "ipc", "mount", "cgroup"}
    assert "hostname" not in config
    bound = [mount["destination"] for mount in config["mounts"] if mount["type"] == "bind"]
    assert bound == ["/etc/resolv.conf", "/etc/hosts"]  # through its link UTC would become local time


def test_without_network_there_is_nothing_of_the_hosts(tmp_path: Path) -> None:
    config = compose_config(make_image(tmp_path, {}), {"NETWORK": "none"})
    assert namespaces(config) == {"pid", "ipc", "mount", "cgroup", "network", "uts"}
    assert config["hostname"] == "etcd"
    assert not [mount for mount in config["mounts"] if mount["type"] == "bind"]


def test_other_parameters_of_our_config(tmp_path: Path) -> None:
    values = {
        "HOSTNAME": "node1",
        "READONLY": "no",
        "CAPABILITIES": "none",
        "SECCOMP": "unconfined",
        "NO_NEW_PRIVILEGES": "0",
        "SHM_SIZE": "1G",
        "ADDTL_MOUNTS": ',{"destination": "/x", "type": "tmpfs"},\n{"destination": "/y", "type": "tmpfs"}',
    }
    config = compose_config(make_image(tmp_path, {}), values)
    assert config["hostname"] == "node1"
    assert "uts" in namespaces(config)
    assert config["root"]["readonly"] is False
    assert config["process"]["capabilities"]["bounding"] == []
    assert "seccomp" not in config["linux"]
    assert config["process"]["noNewPrivileges"] is False
    assert "size=1G" in next(mount for mount in config["mounts"] if mount["destination"] == "/dev/shm")["options"]
    assert [mount["destination"] for mount in config["mounts"]][-2:] == ["/x", "/y"]


EVIL = 'x"\n[Service]\nExecStartPre=/bin/evil\n%n $HOME \\ ,{}'


@pytest.mark.parametrize(
    "settings",
    [
        {"Entrypoint": [EVIL]},
        {"Cmd": [EVIL]},
        {"Env": [f"A={EVIL}"]},
        {"Labels": {EVIL: EVIL, "SLICE": "evil.slice", "MEMORY": "1"}},
        {"ExposedPorts": {EVIL: {}}},
    ],
)
def test_no_text_of_an_image_config_becomes_syntax(tmp_path: Path, settings: dict[str, Any]) -> None:
    root = make_image(tmp_path, {})
    plain, evil = compose_image(root, image=make_config()), compose_image(root, image=make_config(**settings))
    assert (evil.service, evil.tmpfiles) == (plain.service, plain.tmpfiles)
    assert evil.config is not None
    assert plain.config is not None
    before, after = plain.config.data, evil.config.data
    assert {key: after[key] for key in after if key != "process"} == {k: before[k] for k in before if k != "process"}
    process = make_config(**settings)
    assert after["process"]["args"] == [*process.entrypoint, *process.cmd]


@pytest.mark.parametrize(
    "settings", [{"StopSignal": EVIL}, {"User": EVIL}, {"WorkingDir": f"/{EVIL}"}, {"Volumes": {f"/{EVIL}": {}}}]
)
def test_fields_with_a_grammar_are_refused_outside_of_it(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(SyscontainersError):
        compose_image(make_image(tmp_path, {}), image=make_config(**settings))


@pytest.mark.parametrize(
    "name", ["MEMORY", "SLICE", "WANTED_BY", "DESCRIPTION", "RESTART_SEC", "CPU", "RESTART", "TASKS"]
)
def test_no_default_of_an_image_adds_a_line_to_our_unit(tmp_path: Path, name: str) -> None:
    manifest = {"defaultValues": {name: EVIL}, "parameters": {name: {"type": "raw"}}}
    root = make_image(tmp_path, {"exports/manifest.json": json.dumps(manifest)})
    with pytest.raises(UsageError, match=f"^{name}: "):
        compose_image(root)


def described(**kinds: str) -> str:
    return json.dumps({"parameters": {name: {"type": kind} for name, kind in kinds.items()}})


def test_described_parameters_are_escaped_in_the_images_templates(tmp_path: Path) -> None:
    files = {
        "exports/manifest.json": described(TEXT="string", COUNT="integer", WORDS="list"),
        "exports/config.json.template": '{"process": {"args": $WORDS, "env": ["T=$TEXT", $TEXT]},'
        ' "root": {"path": "rootfs", "readonly": true}, "annotations": {"count": $COUNT}}',
        "exports/service.template": '[Service]\nExecStart=$EXEC_START\nEnvironment="T=$TEXT"\nDescription=$TEXT\n',
        "exports/tmpfiles.template": "d /srv/$TEXT\n",
    }
    values = {"TEXT": 'a "b" %n', "COUNT": "3", "WORDS": "run it"}
    composition = compose_image(make_image(tmp_path, files), values)
    assert composition.config is not None
    assert composition.config.data["process"]["args"] == ["run", "it"]
    assert composition.config.data["process"]["env"] == ['T=a "b" %n', 'a "b" %n']
    assert composition.config.data["annotations"] == {"count": 3}
    assert composition.service is not None
    assert 'Environment="T=a \\"b\\" %%n"\nDescription=a "b" %%n\n' in composition.service
    assert composition.tmpfiles == 'd /srv/"a \\"b\\" %%n"\n'


def test_undescribed_variables_go_in_as_they_are(tmp_path: Path) -> None:
    files = {"exports/service.template": "[Service]\nExecStart=$EXEC_START\n$MORE\n"}
    composition = compose_image(make_image(tmp_path, files), {"MORE": "Nice=5\nAfter=%n"})
    assert composition.service is not None
    assert composition.service.endswith("\nNice=5\nAfter=%n\n")


@pytest.mark.parametrize("name", ["config.json.template", "service.template", "tmpfiles.template"])
def test_a_missing_value_names_the_right_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingValueError, match=rf"^The template file '/exports/{name}' still .*: ''WANTED''$"):
        compose_image(
            make_image(tmp_path, {f"exports/{name}": PARTS[f"exports/{name}"] + "$WANTED"}), {"PROGRAM": "/x"}
        )


def test_a_literal_config_is_not_rendered(tmp_path: Path) -> None:
    text = CONFIG.replace("$PROGRAM", "$HOME $")
    assert args_of(compose_image(make_image(tmp_path, {"exports/config.json": text}))) == ("$HOME $",)


def test_our_defaults_do_not_leak_into_the_images_templates(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/config.json.template": CONFIG.replace("$PROGRAM", "$HOSTNAME")})
    with pytest.raises(MissingValueError, match="''HOSTNAME''"):
        compose_image(root)


def test_a_unit_that_starts_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SyscontainersError, match=r"^/exports/service\.template: has no ExecStart="):
        compose_image(make_image(tmp_path, {"exports/service.template": "[Unit]\nDescription=x\n"}))


def test_a_config_that_is_no_json_after_rendering_names_the_variable(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/config.json.template": '{\n"a": $VALUE\n}'})
    with pytest.raises(TemplateError, match=r"line 2, column 6, near the value of VALUE"):
        compose_image(root, {"VALUE": "nonsense"})


def test_an_image_that_only_has_host_files(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/manifest.json": '{"noContainerService": true}'})
    composition = compose_image(root, image=make_config(Entrypoint=[], Cmd=[]))
    assert not composition.has_service
    assert (composition.config, composition.service, composition.tmpfiles) == (None, None, None)


def bind_template(source: str) -> str:
    mount = {"destination": "/data", "type": "bind", "source": source, "options": ["rbind", "mode=755"]}
    return CONFIG[:-1] + f', "mounts": [{json.dumps(mount)}]}}'


def test_missing_sources_get_rules_as_they_always_did(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/config.json.template": bind_template("$STATE_DIRECTORY/no such/dir")})
    composition = compose_image(root, {"PROGRAM": "/x"})
    assert composition.tmpfiles is not None
    assert composition.tmpfiles.splitlines()[-1] == 'd "/var/lib/no such/dir" 0700 0 0 -'
    assert any("mode=755 was dropped" in notice for notice in composition.notices)


def test_an_empty_tmpfiles_template_means_no_rules_and_a_notice(tmp_path: Path) -> None:
    files = {"exports/config.json.template": bind_template("/no/such"), "exports/tmpfiles.template": ""}
    composition = compose_image(make_image(tmp_path, files), {"PROGRAM": "/x"})
    assert composition.tmpfiles is None
    assert "/no/such is not on the host; the container starts only when it is" in composition.notices


def test_volumes_have_rules_beside_the_images_own(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/tmpfiles.template": "d /run/mine"})
    composition = compose_image(root, image=make_config(Volumes={"/data": {}}))
    assert composition.tmpfiles == "d /run/mine\nd /var/lib/etcd/data 0755 0 0 -\n"
    assert composition.notices == ()


def test_what_a_volume_hides_is_told(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"data/seed": "x", "empty": None})
    composition = compose_image(root, image=make_config(Volumes={"/data": {}, "/empty": {}}))
    assert composition.notices == ("the volume /data starts empty: what the image has there is not copied into it",)


def test_values_that_nothing_mentions_are_kept_with_a_notice(tmp_path: Path) -> None:
    composition = compose_image(make_image(tmp_path, {}), {"TYPO": "x"})
    assert composition.values["TYPO"] == "x"
    assert composition.notices == ("--set TYPO has no effect: no template of the image mentions it",)


def test_a_secret_may_have_no_value(tmp_path: Path) -> None:
    files = {"exports/manifest.json": '{"parameters": {"TOKEN": {"secret": true}}}'}
    assert compose_image(make_image(tmp_path, files)).has_service


def test_a_secret_is_not_in_the_complaint_about_the_config_it_breaks(tmp_path: Path) -> None:
    files = {
        "exports/manifest.json": '{"parameters": {"TOKEN": {"secret": true}}}',
        "exports/config.json.template": '{"token": "$TOKEN" oops}',
    }
    with pytest.raises(TemplateError) as caught:
        compose_image(make_image(tmp_path, files), {"TOKEN": "hunter2"})
    assert "hunter2" not in "".join((caught.value.message, caught.value.hint, *caught.value.details))


def test_health_comes_from_the_manifest(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/manifest.json": '{"health": {"command": ["true"]}}'})
    health = compose_image(root).health
    assert health is not None
    assert health.command == ("true",)


def test_what_the_host_cannot_grant_is_a_notice_in_our_config_too(tmp_path: Path) -> None:
    host = replace(HOST, capabilities=HOST.capabilities - {"CAP_SYS_ADMIN"})
    composition = compose_image(make_image(tmp_path, {}), {"CAPABILITIES": "SYS_ADMIN"}, host=host)
    assert composition.notices == ("capabilities that this host cannot grant were dropped: CAP_SYS_ADMIN",)


@pytest.mark.parametrize(("kind", "given"), [("notify", True), ("exec", False)])
def test_only_what_notifies_gets_a_place_for_the_socket(tmp_path: Path, kind: str, given: bool) -> None:
    service = f"[Service]\nType={kind}\nExecStart=$EXEC_START\n"
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/x"], "cwd": "/"},
        "root": {"path": "rootfs", "readonly": True},
    }
    exports = {"exports/service.template": service, "exports/config.json": json.dumps(config)}
    composition = compose_image(make_image(tmp_path, exports))
    assert composition.config is not None
    assert ("/run/notify" in [point.path for point in composition.config.mount_points]) is given
