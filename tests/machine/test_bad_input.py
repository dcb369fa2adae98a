"""Whatever is wrong with what was asked: one line that says it, one that helps, the exit code, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.machine.command import syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import shell_image

pytestmark = [pytest.mark.machine, pytest.mark.root]


@pytest.fixture
def refused(host: ThrowawayHost, unchanged: None) -> Callable[..., str]:
    """Runs an install that must fail with a code and a text, and nothing must have changed after it."""

    def run(code: int, text: str, *words: str, hint: bool = True) -> str:
        done = syscontainer(host, "install", "--now", *words, code=code)
        lines = done.stderr.splitlines()
        told = [line for line in lines if line.startswith("syscontainer: ")]
        assert len(told) == 1
        assert text in told[0]
        assert [line for line in lines if line.startswith("hint: ")] or not hint
        assert "Traceback" not in done.stderr
        return done.stderr

    return run


def test_unknown_image(refused: Callable[..., str]) -> None:
    refused(4, "127.0.0.1:5000/nothing:1", "127.0.0.1:5000/nothing:1")


def test_unknown_tag(refused: Callable[..., str], etcd: str) -> None:
    refused(4, f"{etcd}:nothing", f"{etcd}:nothing")


def test_unreachable_registry(refused: Callable[..., str]) -> None:
    refused(1, "127.0.0.1:5999", "--plain-http", "127.0.0.1:5999/etcd:1")


def test_registry_that_speaks_plain_http(refused: Callable[..., str], host: ThrowawayHost) -> None:
    host.run(["sed", "-i", "s/^insecure/#&/", "/etc/syscontainers/config.toml"])
    try:
        done = syscontainer(host, "install", "127.0.0.1:5000/etcd:1", code=1)
        assert "--plain-http" in done.stderr
    finally:
        host.run(["sed", "-i", "s/^#//", "/etc/syscontainers/config.toml"])


def test_wrong_digest(refused: Callable[..., str], host: ThrowawayHost, make_image: MakeImage) -> None:
    image = shell_image("echo to be damaged")
    reference = make_image(image=image)
    digest, _ = min(
        ((digest, data) for digest, data in image.all_blobs().items() if data[:2] == b"\x1f\x8b"),
        key=lambda item: len(item[1]),
    )
    name = digest.removeprefix("sha256:")
    blob = host.path(f"/var/lib/registry/docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data")
    data = blob.read_bytes()
    blob.write_bytes(data[:-6] + bytes([data[-6] ^ 1]) + data[-5:])
    refused(5, name[:12], reference)


def test_not_enough_space(host: ThrowawayHost, etcd: str, unchanged: None) -> None:
    host.shell("mkdir /srv/small; mount -t tmpfs -o size=2M tmpfs /srv/small")
    try:
        host.path("/srv/small.toml").write_text(
            'state = "/srv/small/state"\ninsecure_registries = ["127.0.0.1:5000"]\n'
        )
        done = syscontainer(host, "--config", "/srv/small.toml", "install", f"{etcd}:1", code=1)
        assert "not enough space" in done.stderr
        assert host.shell("find /srv/small/state/storage/overlay -mindepth 2").stdout == ""
    finally:
        host.shell("umount /srv/small; rmdir /srv/small; rm /srv/small.toml")


@pytest.mark.parametrize("name", ["a/b", "../x", "-x", "a@b", "", "x" * 200, "a b"])
def test_invalid_name(refused: Callable[..., str], etcd: str, name: str) -> None:
    refused(2, "", f"--name={name}", f"{etcd}:1") if name else refused(2, "", "--name= ", f"{etcd}:1")


@pytest.mark.parametrize("reference", ["registry.example/UPPER", "a b", "x:y:z", "registry.example/x@sha256:12", ""])
def test_invalid_reference(refused: Callable[..., str], reference: str) -> None:
    refused(2, "", reference)


def test_name_of_a_unit_of_the_host(refused: Callable[..., str], etcd: str) -> None:
    assert "choose another with --name" in refused(1, "dbus.service", "--name", "dbus", f"{etcd}:1")


def test_missing_variable(refused: Callable[..., str], make_image: MakeImage) -> None:
    exports = {"service.template": "[Service]\nExecStart=$EXEC_START $WHAT_IS_MISSING\n"}
    told = refused(2, "still contains an unreplaced value for: ''WHAT_IS_MISSING''", make_image(exports=exports))
    assert "--set WHAT_IS_MISSING=" in told


@pytest.mark.parametrize(
    ("exports", "text"),
    [
        ({"config.json.template": '{"process": {"args": ["x"],}}'}, "config.json.template"),
        ({"config.json.template": "[]"}, "config.json.template"),
        ({"service.template": "[Service]\nType=simple\n"}, "ExecStart"),
        ({"service.template": "[Service]\nExecStart=$5\n"}, "Invalid placeholder"),
        ({"manifest.json": "{"}, "manifest.json"),
    ],
)
def test_invalid_template(
    refused: Callable[..., str], host: ThrowawayHost, make_image: MakeImage, exports: dict[str, str], text: str
) -> None:
    reference = make_image(exports=exports)
    done = host.run(["syscontainer", "install", reference], check=False)
    assert done.returncode in (1, 2, 5)
    refused(done.returncode, text, reference, hint=False)


def test_runtime_that_is_missing(refused: Callable[..., str], etcd: str) -> None:
    refused(1, "the runtime nosuch is not installed", "--runtime", "nosuch", f"{etcd}:1")


def test_no_systemd(host: ThrowawayHost, etcd: str, unchanged: None) -> None:
    hidden = "mount -t tmpfs t /run/systemd; mount -t tmpfs t /run/dbus; exec syscontainer install"
    done = host.run(["unshare", "--mount", "sh", "-c", f"{hidden} {etcd}:1"], check=False)
    assert done.returncode == 1
    assert "systemd" in done.stderr.splitlines()[0]
    assert done.stderr.splitlines()[1].startswith("hint: ")


def test_unknown_container(host: ThrowawayHost, unchanged: None) -> None:
    for verb in ("uninstall", "start", "stop", "restart", "show", "logs", "update", "rollback", "diff", "enable"):
        assert "nothing: no such container" in syscontainer(host, verb, "nothing", code=4).stderr
    assert "nothing: no such container" in syscontainer(host, "exec", "nothing", "true", code=4).stderr


@pytest.mark.parametrize("name", ["/p1", "**", "../x", "a b", "x.service"])
def test_what_can_be_no_name(host: ThrowawayHost, unchanged: None, name: str) -> None:
    plain = (
        "uninstall",
        "start",
        "stop",
        "restart",
        "enable",
        "disable",
        "show",
        "verify",
        "logs",
        "update",
        "rollback",
    )
    for words in (*((verb, name) for verb in plain), ("diff", name), ("exec", name, "true"), ("stats", name)):
        done = syscontainer(host, *words, code=2)
        assert "syscontainer: " in done.stderr
        assert name in done.stderr


def test_not_root(host: ThrowawayHost) -> None:
    for verb in ("list", "images", "pull x", "install x", "uninstall x"):
        done = host.run(["setpriv", "--reuid=65534", "syscontainer", *verb.split()], check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "root" in done.stderr


def test_unknown_verb_and_option(host: ThrowawayHost) -> None:
    assert "not a verb" in syscontainer(host, "instal", code=2).stderr
    assert "unrecognized" in syscontainer(host, "list", "--nothing", code=2).stderr
