"""The ancestor's names of images, and the containers that they are called after."""

from __future__ import annotations

from pathlib import Path

import pytest

from syscontainers.cli.ancestor.names import Named, read_image
from syscontainers.errors import UsageError


@pytest.mark.parametrize(
    ("text", "canonical", "plain_http", "container"),
    [
        ("oci:r.example/etcd", "r.example/etcd:latest", False, "etcd"),
        ("oci:etcd:v2", "docker.io/library/etcd:v2", False, "etcd-v2"),
        ("https:r.example/x/node:v3.9", "r.example/x/node:v3.9", False, "node-v3.9"),
        ("http:localhost:5000/etcd", "localhost:5000/etcd:latest", True, "etcd"),
        ("http://localhost:5000/etcd", "localhost:5000/etcd:latest", True, "etcd"),
        ("gscrivano/etcd", "docker.io/gscrivano/etcd:latest", False, "etcd"),
        ("docker.io/library/etcd", "docker.io/library/etcd:latest", False, "etcd"),
        # a host may be called like a prefix
        ("http:5000/x", "http:5000/x:latest", False, "x"),
        ("docker:5000/x", "docker:5000/x:latest", False, "x"),
        ("docker://r.example/x:1", "r.example/x:1", False, "x-1"),
        # the engine of this host
        ("docker:r.example/etcd:v2", "containers-storage:r.example/etcd:v2", False, "etcd-v2"),
        ("docker:r.example/etcd", "containers-storage:r.example/etcd:latest", False, "etcd"),
        # what is said beyond the prefix cannot be another transport
        ("oci:r.example/dir", "r.example/dir:latest", False, "dir"),
        # ours are understood as well
        ("oci-archive:/i/etcd.tar", "oci-archive:/i/etcd.tar", False, "etcd"),
    ],
)
def test_each_spelling_of_the_ancestors_names_one_image(
    text: str, canonical: str, plain_http: bool, container: str
) -> None:
    named = read_image(text)
    assert (str(named.reference), named.plain_http) == (canonical, plain_http)
    assert named.reference.container_name == container


@pytest.mark.parametrize(
    ("text", "defaulted"),
    [
        ("etcd", True),
        ("oci:gscrivano/etcd:1", True),
        ("docker.io/gscrivano/etcd", False),
        ("r.example/etcd", False),
        ("etcd:1.2", True),
    ],
)
def test_a_name_without_registry_is_noticed(text: str, defaulted: bool) -> None:
    assert read_image(text).defaulted is defaulted


@pytest.mark.parametrize("text", ["ostree:etcd", "oci:dir:/images/x", "http:", "oci:"])
def test_a_transport_that_is_not_here_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        read_image(text)


def test_both_spellings_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "images" / "etcd.tar"
    archive.parent.mkdir()
    archive.touch()
    monkeypatch.chdir(tmp_path)

    def path(text: str) -> Named:
        return read_image(text)

    # as the code was: it takes "dockertar:/" away
    assert path(f"dockertar:/{archive}").reference.path == archive
    assert path("dockertar:/images/etcd.tar").reference.path == archive
    # as the manual had it
    assert path(f"dockertar:{archive}").reference.path == archive
    assert path("dockertar:/no/such.tar").reference.path == Path("/no/such.tar")
    assert path(f"dockertar:/{archive}").reference.container_name == "etcd"
