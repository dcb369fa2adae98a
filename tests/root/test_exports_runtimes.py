"""Our own templates, run by real runtimes: what the payload sees is what the image config says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from syscontainers.systemd.unitfile import parse
from tests.root.exports_bundle import Bundle, make_bundle, make_busybox
from tests.unit.exports_image import compose_image, make_config, make_image

pytestmark = pytest.mark.root
runtimes = pytest.mark.parametrize("runtime", ["runc", "crun"])


def run_shell(tmp_path: Path, runtime: str, script: str, values: dict[str, str] | None = None, **config: Any) -> Bundle:
    image = tmp_path / "image"
    if not image.exists():
        make_busybox(image)
    settings = {"Entrypoint": ["/bin/sh", "-c", script], **config}
    return make_bundle(tmp_path / "bundle", image, runtime, values, make_config(**settings))


def status_of(output: str) -> dict[str, str]:
    """/proc/PID/status in ``output``."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in output.splitlines())}


@runtimes
def test_the_image_config_reaches_the_process(tmp_path: Path, runtime: str) -> None:
    make_busybox(
        tmp_path / "image",
        {
            "etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:250:251::/home/app:/bin/sh\n",
            "etc/group": "app:x:251:\nlog:x:300:app\n",
        },
    )
    bundle = run_shell(
        tmp_path,
        runtime,
        'id; pwd; env; for each; do echo "<$each>"; done',
        {"ENV": "'ADDED=by user'"},
        Cmd=["zero", 'a "b" $HOME %n\n\u00e9', ""],
        Env=["A=b c", "Q=\"$x\" %i 'y'"],
        WorkingDir="/not/in/the/image",
        User="app",
    )
    lines = bundle.output().split("\n")
    assert lines[:2] == ["uid=250(app) gid=251(app) groups=300(log)", "/not/in/the/image"]
    assert {"A=b c", "Q=\"$x\" %i 'y'", "ADDED=by user", "HOME=/home/app"} <= set(lines)
    assert lines[-4:] == ['<a "b" $HOME %n', "é>", "<>", ""]


@runtimes
def test_the_process_is_confined(tmp_path: Path, runtime: str) -> None:
    status = status_of(run_shell(tmp_path, runtime, "exec cat /proc/self/status").output())
    ordinary = "00000000800405fb"
    sets = {key: status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert sets == {
        "CapInh": "0" * 16,
        "CapPrm": ordinary,
        "CapEff": ordinary,
        "CapBnd": ordinary,
        "CapAmb": "0" * 16,
    }
    assert (status["NoNewPrivs"], status["Seccomp"], status["Pid"]) == ("1", "2", "1")


@runtimes
def test_capabilities_can_be_taken_away_altogether(tmp_path: Path, runtime: str) -> None:
    values = {"CAPABILITIES": "none", "SECCOMP": "unconfined", "NO_NEW_PRIVILEGES": "no"}
    status = status_of(run_shell(tmp_path, runtime, "exec cat /proc/self/status", values).output())
    assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("0", "0")


@runtimes
def test_user_namespaces_are_withheld(tmp_path: Path, runtime: str) -> None:
    done = run_shell(tmp_path, runtime, "unshare -U true").run()
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    assert run_shell(tmp_path, runtime, "unshare -U true", {"SECCOMP": "unconfined"}).run().returncode == 0


@runtimes
def test_the_root_is_read_only_and_scratch_space_is_there(tmp_path: Path, runtime: str) -> None:
    script = "! touch /x && ! touch /etc/x && touch /tmp/x /var/tmp/x /dev/shm/x && ls -ld /run /tmp"
    output = run_shell(tmp_path, runtime, script, User="1000").output()
    assert [line.split()[0] for line in output.splitlines()] == ["drwxr-xr-x", "drwxrwxrwt"]


@runtimes
def test_what_the_image_has_in_run_is_there(tmp_path: Path, runtime: str) -> None:
    image = make_busybox(tmp_path / "image", {"run/app": None})
    os.chown(image / "run/app", 1000, 1000)
    run_shell(tmp_path, runtime, "touch /run/app/socket", User="1000:1000").output()


@runtimes
def test_a_writable_root_is_written_to_the_generation(tmp_path: Path, runtime: str) -> None:
    bundle = run_shell(tmp_path, runtime, "touch /x", {"READONLY": "false"})
    bundle.output()
    assert (bundle.directory / "upper/x").exists()
    assert not (bundle.image / "x").exists()


@runtimes
def test_volumes_keep_their_data_and_their_owner(tmp_path: Path, runtime: str) -> None:
    image = make_busybox(tmp_path / "image", {"data": None})
    os.chown(image / "data", 1000, 1000)
    (image / "data").chmod(0o700)
    script = "touch /data/x '/new vol%1/y'"
    volumes = ("/data", "/data/inside", "/new vol%1", "/a \\ \"b\" 'c'")
    run_shell(tmp_path, runtime, script, Volumes={path: {} for path in volumes}).output()
    base = tmp_path / "bundle/host/state/c"
    assert (base / "data/x").exists()
    assert (base / r"new\x20vol\x251/y").exists()
    status = (base / "data").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1000, 1000, 0o700)


@runtimes
def test_the_hosts_network_and_names(tmp_path: Path, runtime: str) -> None:
    output = run_shell(tmp_path, runtime, "hostname; ls /sys/class/net; cat /etc/hosts").output()
    assert output.startswith(os.uname().nodename)
    assert sorted(os.listdir("/sys/class/net")) == sorted(output.split("\n")[1 : 1 + len(os.listdir("/sys/class/net"))])
    assert output.endswith(Path("/etc/hosts").read_text())


@runtimes
def test_no_network_and_a_name_of_its_own(tmp_path: Path, runtime: str) -> None:
    output = run_shell(tmp_path, runtime, "hostname; ls /sys/class/net", {"NETWORK": "none"}).output()
    assert output.split() == ["c", "lo"]


@runtimes
def test_the_host_is_out_of_sight(tmp_path: Path, runtime: str) -> None:
    script = "ls /proc | sed -n '/^[0-9]*$/p'; ls /proc/acpi /sys/firmware; cat /proc/keys; ! touch /proc/sys/kernel/x"
    assert run_shell(tmp_path, runtime, script).output().split("\n")[0] == "1"


@runtimes
def test_more_mounts_by_hand(tmp_path: Path, runtime: str) -> None:
    more = ', {"destination": "/opt/x", "type": "bind", "source": "/usr", "options": ["ro", "mode=755"]}'
    bundle = run_shell(tmp_path, runtime, "ls -d /opt/x/bin", {"ADDTL_MOUNTS": more})
    assert bundle.output() == "/opt/x/bin\n"
    assert any("mode=755 was dropped" in notice for notice in bundle.composition.notices)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {
            "DESCRIPTION": "100% \"quoted\" 'x' $HOME",
            "STATE_DIRECTORY": "/srv/my data%",
            "MEMORY": "10%",
            "CPU": "150%",
        },
        {
            "STOP_SIGNAL": "SIGRTMAX-2",
            "TASKS": "5%",
            "RESTART": "always",
            "SLICE": "a-b.slice",
            "WANTED_BY": "basic.target",
        },
        {"START_LIMIT_INTERVAL": "0", "START_TIMEOUT": "infinity", "STOP_TIMEOUT": "1min 30s", "OOM_POLICY": "stop"},
    ],
)
def test_systemd_takes_our_unit_without_a_word(tmp_path: Path, values: dict[str, str]) -> None:
    service = compose_image(make_image(tmp_path / "image", {}), values).service
    assert service is not None
    assert parse(service).problems == ()
    unit = tmp_path / "etcd.service"
    unit.write_text(service)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
