from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syscontainers.errors import SyscontainersError, UsageError
from syscontainers.images.auth import Challenge, parse_challenges
from syscontainers.images.credentials import SYSTEMD_CREDENTIAL, Credentials, find_credentials
from syscontainers.images.reference import Reference

IMAGE = Reference.parse("r.example:5000/group/name:1")
HUB = Reference.parse("etcd")


def encode(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    def write(name: str, document: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


def find(tmp_path: Path, reference: Reference = IMAGE, **environ: str) -> Credentials | None:
    return find_credentials(
        reference, None, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), **environ}
    )


def test_no_files_is_anonymous(tmp_path: Path) -> None:
    assert find(tmp_path) is None


def test_the_longest_key_wins(write: Callable[[str, Any], Path], tmp_path: Path) -> None:
    keys = ["r.example:5000", "r.example:5000/group", "r.example:5000/group/name", "r.example:5000/group/other"]
    for number in range(3):
        write("run/containers/auth.json", {"auths": {key: encode(f"u:{key}") for key in keys[: number + 1]}})
        assert find(tmp_path) == Credentials("u", keys[number])


def test_other_registries_do_not_match(write: Callable[[str, Any], Path], tmp_path: Path) -> None:
    others = ["r.example", "r.example:5001", "xr.example:5000", "r.example:5000/gro", "r.example:5000/group/name/x"]
    write("run/containers/auth.json", {"auths": {key: encode("u:p") for key in others}})
    assert find(tmp_path) is None


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        (IMAGE, "https://r.example:5000"),
        (IMAGE, "https://r.example:5000/v2/"),
        (HUB, "https://index.docker.io/v1/"),
        (HUB, "index.docker.io"),
        (HUB, "docker.io"),
        (HUB, "docker.io/library/etcd"),
    ],
)
def test_keys_as_docker_writes_them(
    write: Callable[[str, Any], Path], tmp_path: Path, reference: Reference, key: str
) -> None:
    write(".docker/config.json", {"auths": {key: encode("u:p:with:colons")}})
    assert find(tmp_path, reference) == Credentials("u", "p:with:colons")


def test_order_of_files(write: Callable[[str, Any], Path], tmp_path: Path) -> None:
    document = {"r.example:5000": encode("u:legacy")}
    write(".dockercfg", document)
    assert find(tmp_path) == Credentials("u", "legacy")
    places = [
        ".docker/config.json",
        ".config/containers/auth.json",
        "run/containers/auth.json",
        f"c/{SYSTEMD_CREDENTIAL}",
    ]
    for place in places:
        write(place, {"auths": {"r.example:5000": encode(f"u:{place}")}})
        assert find(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path / "c")) == Credentials("u", place)
    other = write("other.json", {"auths": {}})
    assert find(tmp_path, REGISTRY_AUTH_FILE=str(other)) is None
    assert find_credentials(IMAGE, tmp_path / "run/containers/auth.json", {}) == Credentials("u", places[2])


def test_a_file_without_an_answer_is_passed_over(write: Callable[[str, Any], Path], tmp_path: Path) -> None:
    write("run/containers/auth.json", {"auths": {"r.example:5000": {}}})
    write(".docker/config.json", {"auths": {"r.example:5000": encode("u:p")}})
    assert find(tmp_path) == Credentials("u", "p")


def test_refresh_token(write: Callable[[str, Any], Path], tmp_path: Path) -> None:
    write("run/containers/auth.json", {"auths": {"r.example:5000": {**encode("u:p"), "identitytoken": "refresh"}}})
    found = find(tmp_path)
    assert found is not None
    assert found.is_refresh_token
    assert found.secret == "refresh"


def test_a_secret_is_not_printed() -> None:
    assert "secret" not in repr(Credentials("user", "secret"))


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        {"auths": []},
        {"auths": {"r.example:5000": "x"}},
        {"auths": {"r.example:5000": {"auth": "***"}}},
        {"auths": {"r.example:5000": encode("nocolon")}},
        {"credHelpers": {"r.example:5000": "../../bin/sh"}},
        {"credHelpers": {"r.example:5000": ""}},
    ],
)
def test_broken_files_are_named(write: Callable[[str, Any], Path], tmp_path: Path, document: Any) -> None:
    path = write("run/containers/auth.json", document)
    with pytest.raises(UsageError, match=str(path)):
        find(tmp_path)


def test_an_authfile_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        find_credentials(IMAGE, tmp_path / "absent", {})


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a credential helper called ``t`` first in PATH; the file returned gets what it was asked."""
    log = tmp_path / "asked"

    def install(script: str) -> Path:
        program = tmp_path / "bin" / "docker-credential-t"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "$1 $(cat)" > {log}\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        return log

    return install


def test_helpers(write: Callable[[str, Any], Path], tmp_path: Path, helper: Callable[[str], Path]) -> None:
    log = helper("""echo '{"ServerURL": "x", "Username": "u", "Secret": "p"}'""")
    write(".docker/config.json", {"credHelpers": {"r.example:5000": "t"}, "auths": {"r.example:5000": encode("a:b")}})
    assert find(tmp_path) == Credentials("u", "p")
    assert log.read_text() == "get r.example:5000\n"


def test_the_default_helper_is_asked_last(
    write: Callable[[str, Any], Path], tmp_path: Path, helper: Callable[[str], Path]
) -> None:
    log = helper("""echo '{"Username": "<token>", "Secret": "refresh"}'""")
    write(".docker/config.json", {"credsStore": "t", "auths": {"r.example:5000": encode("a:b")}})
    assert find(tmp_path) == Credentials("a", "b")
    found = find(tmp_path, HUB)
    assert found is not None
    assert found.is_refresh_token
    assert log.read_text() == "get https://index.docker.io/v1/\n"


def test_a_helper_that_knows_nothing(
    write: Callable[[str, Any], Path], tmp_path: Path, helper: Callable[[str], Path]
) -> None:
    helper("echo credentials not found in native keychain; exit 1")
    write(".docker/config.json", {"credsStore": "t"})
    assert find(tmp_path) is None


@pytest.mark.parametrize("script", ["exit 3", "echo '{}'", "echo nonsense"])
def test_a_helper_that_fails(
    write: Callable[[str, Any], Path], tmp_path: Path, helper: Callable[[str], Path], script: str
) -> None:
    helper(script)
    write(".docker/config.json", {"credHelpers": {"r.example:5000": "t"}})
    with pytest.raises(SyscontainersError, match=r"docker-credential-t|config\.json"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [Challenge("basic", {})]),
        ('Basic realm="a, b=c"', [Challenge("basic", {"realm": "a, b=c"})]),
        (
            'Bearer realm="https://auth.example/token",service="r",scope="repository:a:pull"',
            [
                Challenge(
                    "bearer", {"realm": "https://auth.example/token", "service": "r", "scope": "repository:a:pull"}
                )
            ],
        ),
        (
            'Basic realm="x", Bearer realm=https://a.example/t, service = "r"',
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "https://a.example/t", "service": "r"})],
        ),
        ('BEARER Realm="a\\"b", Negotiate', [Challenge("bearer", {"realm": 'a"b'}), Challenge("negotiate", {})]),
        ('realm="no scheme"', []),
        ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
    ],
)
def test_challenges(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges(header) == expected


@given(st.text(max_size=200))
def test_challenges_of_any_text(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


def test_a_password_may_be_asked_for() -> None:
    def never(_prompt: str) -> str:
        raise AssertionError("it was given")

    assert Credentials.parse("u:p:q", never) == Credentials("u", "p:q")
    assert Credentials.parse("u:", never) == Credentials("u", "")
    assert Credentials.parse("u", lambda prompt: f"<{prompt}>") == Credentials("u", "<Password of u: >")
    with pytest.raises(UsageError):
        Credentials.parse(":p", never)
