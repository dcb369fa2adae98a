"""``atomic pull`` as a command, against a registry that wants to know who asks."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.images import build_image, layer
from tests.registry import FaultyRegistry, Reply, Request, error_reply

pytestmark = pytest.mark.root

Atomic = Callable[..., subprocess.CompletedProcess[str]]
WANTED = "Basic " + base64.b64encode(b"user:pass:word").decode()


def ask_who(request: Request, _honest: Reply) -> Reply | None:
    if request.headers.get("Authorization") == WANTED:
        return None
    return error_reply(401, "UNAUTHORIZED", "who are you", WWW_Authenticate='Basic realm="here"')


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry(ask_who) as server:
        architecture = "amd64" if os.uname().machine == "x86_64" else "arm64"
        server.add(build_image([layer({"etc/x": "x"}), layer({"etc/y": "y"})], architecture=architecture))
        yield server


@pytest.fixture
def atomic(tmp_path: Path) -> Atomic:
    """The command, with a state of its own and no credentials but those given."""
    link = tmp_path / "atomic"
    link.symlink_to(Path(sys.executable).with_name("syscontainer"))
    config = tmp_path / "config.toml"
    config.write_text(f'state = "{tmp_path}/state"\n')
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "SYSCONTAINERS_CONFIG": str(config)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([link, *words], capture_output=True, text=True, check=False, env=environment)

    return run


def test_credentials_reach_the_registry(atomic: Atomic, registry: FaultyRegistry) -> None:
    image = f"http:{registry.host}/group/x"
    done = atomic("pull", "--storage=ostree", "--src-creds", "user:pass:word", image)
    assert (done.returncode, done.stdout.count("Pulling layer ")) == (0, 2), done.stderr
    again = atomic("pull", "--storage=ostree", "--src-creds=user:pass:word", image)
    assert (again.returncode, again.stdout) == (0, "")
    assert len(registry.paths("/manifests/latest")) >= 2  # it asks every time
    listed = atomic("images", "list", "-n", "-f", f"repo={registry.host}/group/x")
    assert listed.stdout.split()[:2] == [f"{registry.host}/group/x", "latest"]


def test_failing_is_said_as_it_always_was(atomic: Atomic, registry: FaultyRegistry) -> None:
    for words in ([], ["--src-creds", "user:wrong"]):
        done = atomic("pull", *words, f"http:{registry.host}/group/x")
        assert done.returncode == 1
        assert done.stderr.startswith("Failed: "), done.stderr
        assert "wrong" not in done.stderr
    assert atomic("images", "list", "-n").stdout == ""
