from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syscontainers.errors import UsageError
from syscontainers.images.reference import Reference

HEX = "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical", "container"),
    [
        ("etcd", "docker.io/library/etcd:latest", "etcd"),
        ("etcd:3.5", "docker.io/library/etcd:3.5", "etcd-3.5"),
        ("user/etcd", "docker.io/user/etcd:latest", "etcd"),
        ("index.docker.io/user/etcd", "docker.io/user/etcd:latest", "etcd"),
        ("docker://quay.io/coreos/etcd:v3.5", "quay.io/coreos/etcd:v3.5", "etcd-v3.5"),
        ("Host.example/x", "Host.example/x:latest", "x"),
        ("localhost/x", "localhost/x:latest", "x"),
        ("localhost:5000/a/b_c", "localhost:5000/a/b_c:latest", "b_c"),
        ("docker:5000/x", "docker:5000/x:latest", "x"),
        # the digest decides, the tag names the container
        (f"r.example/x:1@sha256:{HEX}", f"r.example/x@sha256:{HEX}", "x-1"),
        (f"r.example/x@sha256:{HEX}", f"r.example/x@sha256:{HEX}", "x"),
        ("containers-storage:localhost/x:2", "containers-storage:localhost/x:2", "x-2"),
        ("containers-storage:x", "containers-storage:docker.io/library/x:latest", "x"),
        ("containers-storage:[/srv/c]r.example/x:2", "containers-storage:[overlay@/srv/c]r.example/x:2", "x-2"),
        (
            "containers-storage:[overlay@/srv/c+/run/c:overlay.mountopt=nodev]r.example/x",
            "containers-storage:[overlay@/srv/c]r.example/x:latest",
            "x",
        ),
        (f"containers-storage:{HEX}", f"containers-storage:@{HEX}", "aaaaaaaaaaaa"),
        ("containers-storage:[/srv/c]@abcdef", "containers-storage:[overlay@/srv/c]@abcdef", "abcdef"),
        ("oci:/images/etcd:3.5", "oci:/images/etcd:3.5", "etcd-3.5"),
        ("oci:/images/etcd:@1", "oci:/images/etcd:@1", "etcd"),
        ("oci-archive:/i/etcd.tar:quay.io/coreos/etcd:v3", "oci-archive:/i/etcd.tar:quay.io/coreos/etcd:v3", "etcd-v3"),
        ("docker-archive:/i/../etcd.tar.gz", "docker-archive:/etcd.tar.gz", "etcd"),
        ("dir:/i/with:colon", "dir:/i/with:colon", "with:colon"),
    ],
)
def test_each_spelling_has_one_canonical_form(text: str, canonical: str, container: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == canonical
    assert reference.container_name == container
    assert str(Reference.parse(canonical)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "x:",
        ":x",
        "x@",
        "x@sha256:12",
        f"x@sha256:{'A' * 64}",
        f"x@sha512:{'a' * 128}",
        "x@sha256:../../../etc/passwd",
        "r.example/Upper",
        "Host/x",  # neither a host, without a dot, nor a repository, in capitals; podman says the same
        "[::1]:5000/x/y",  # distribution/reference knows no such hosts
        "[::1]/y",
        "r.example/",
        "r.example//x",
        "a/../b",
        "r.example/..",
        "r.example/.x",
        "r.example/x/../../y:z",
        "r.example/a..b",
        "r.example/x:../../y",
        "r.example/x:-bad",
        f"r.example/x:{'t' * 129}",
        f"r.example/{'n' * 250}",
        "r.example:99999/x",
        "r.example:0/x",
        "r.example:/x",
        "-r.example/x",
        "r..example/x",
        "user@host/x",
        "r.example/x y",
        "r.example/x\n",
        "r.example/x:1\n",
        "r.example/x?y=z",
        "r.example/x#y",
        "r.example/%2e%2e/x",
        "r.example/é",
        "r.example/x\0",
        HEX,
        "oci:",
        "dir:",
        "oci:/x:b\0d",
        "oci:/x:../y",
        "http:r.example/x",
        "https:r.example/x",
        "docker:etcd:v2",
        "docker-daemon:etcd:v2",
        "dockertar:/x.tar",
        "ostree:x",
        "containers-storage:",
        "containers-storage:[]x",
        "containers-storage:[vfs@/srv/c]x",
        "containers-storage:[overlay@srv/c]x",
        "containers-storage:[overlay@/srv/../c]x",
        "containers-storage:[overlay@/srv/c",
        "containers-storage:[overlay@/srv/c]",
        "containers-storage:@ab",
        "containers-storage:r.example/../x",
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Reference.parse(text)
    assert caught.value.hint
    assert "\n" not in caught.value.message


@given(st.text(st.sampled_from(string.ascii_letters + string.digits + "._-/:@[]%?# \0\n"), max_size=60))
@example("localhost/x:1")
def test_what_passes_is_harmless_in_paths_and_urls(text: str) -> None:
    try:
        reference = Reference.parse(f"docker://{text}")
    except UsageError:
        return
    whole = f"{reference.registry}/{reference.repository}/{reference.tag}{reference.digest}"
    assert not set(whole) & set("%?#@ \0\n\\")
    assert ".." not in whole.split("/")
    assert "//" not in whole
    assert reference == Reference.parse(str(reference)) or reference.digest


@pytest.mark.parametrize(
    ("text", "annotated", "stored"),
    [
        ("r.example/x:1", "ignored", "r.example/x:1"),
        ("oci:/i/etcd", None, "localhost/etcd:latest"),
        ("oci:/i/etcd", "3.5", "localhost/etcd:3.5"),
        ("oci:/i/My Image", "3.5", "localhost/my-image:3.5"),
        ("oci:/i/etcd", "quay.io/coreos/etcd:3", "quay.io/coreos/etcd:3"),
        ("docker-archive:/i/x.tar", "etcd:3", "docker.io/library/etcd:3"),
        ("oci:/i/etcd", "Not/A Name", "localhost/etcd:latest"),
        # what names no registry's image, or promises a digest that nobody compared, is not believed
        ("oci:/i/etcd", f"r.example/x@sha256:{HEX}", "localhost/etcd:latest"),
        ("docker-archive:/i/etcd.tar", f"r.example/x:1@sha256:{HEX}", "localhost/etcd:latest"),
        ("oci:/i/etcd", "oci:/x/y", "localhost/etcd:latest"),
        ("oci:/i/etcd", "dir:/x", "localhost/etcd:latest"),
        ("oci:/i/etcd", "docker-archive:/a/b", "localhost/etcd:latest"),
        ("oci:/i/etcd", "containers-storage:foo", "localhost/etcd:latest"),
        ("oci:/i/etcd", f"containers-storage:{HEX}", "localhost/etcd:latest"),
        ("oci:/i/etcd", "Foo/bar:1", "localhost/etcd:latest"),
        ("oci:/i/etcd", "[::1]:5000/foo:latest", "localhost/etcd:latest"),
        ("oci:/i/etcd", "r.example/x:\x1b[2J", "localhost/etcd:latest"),
        (f"oci:/i/{'n' * 250}", None, f"localhost/{'n' * 100}:latest"),
        ("dir:/i/---", None, "localhost/image:latest"),
    ],
)
def test_stored_name(text: str, annotated: str | None, stored: str) -> None:
    assert Reference.parse(text).stored_name(annotated) == stored


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("r.example/x", "r.example/x:latest"),
        (f"r.example/x:1@sha256:{HEX}", f"r.example/x@sha256:{HEX}"),
        ("containers-storage:[/srv/c]r.example/x", "r.example/x:latest"),
        (f"containers-storage:{HEX}", HEX),
    ],
)
def test_kept_as(text: str, kept: str) -> None:
    assert Reference.parse(text).kept_as == kept


def test_files_of_one_name_are_kept_apart_under_names_of_images() -> None:
    kept = [Reference.parse(f"oci:/{place}/My Image:1").kept_as for place in ("one", "two")]
    assert kept[0] != kept[1]
    assert [str(Reference.parse(name)) for name in kept] == kept


def test_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert str(Reference.parse("oci:bin/x:1")) == "oci:/usr/bin/x:1"


@pytest.mark.parametrize(
    ("text", "name", "asked"),
    [
        ("r.example/x:1", "r.example/x:1", True),
        ("oci:/i/etcd:quay.io/coreos/etcd:3", "quay.io/coreos/etcd:3", True),
        ("docker-archive:/i/x.tar:etcd:3", "docker.io/library/etcd:3", True),
        ("oci:/i/etcd", "quay.io/coreos/etcd:3", False),
        ("oci:/i/etcd:3", "localhost/etcd:3", False),
        ("containers-storage:x", "localhost/x:latest", False),
    ],
)
def test_which_name_was_asked_for(text: str, name: str, asked: bool) -> None:
    assert Reference.parse(text).asks_for(name) == asked
