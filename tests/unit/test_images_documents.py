from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syscontainers.errors import RefusedError
from syscontainers.images.config import NO_TIME, ImageConfig
from syscontainers.images.documents import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MOST_LAYERS,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    Manifest,
    Platform,
    RawManifest,
    parse_manifest,
)
from tests.images import build_image, build_index, layer, make_config, to_json

DIGEST = f"sha256:{'1' * 64}"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def manifest(**change: Any) -> dict[str, Any]:
    document = json.loads(build_image([layer({"a": "b"}), layer({"c": "d"}, "zstd")]).manifest)
    return {key: value for key, value in {**document, **change}.items() if value is not ...}


def docker_manifest(**change: Any) -> dict[str, Any]:
    document = json.loads(build_image([layer({"a": "b"})], docker=True).manifest)
    return {key: value for key, value in {**document, **change}.items() if value is not ...}


def index(**change: Any) -> dict[str, Any]:
    document = json.loads(build_index({"linux/amd64": build_image([layer({"a": "b"})])}).manifest)
    return {key: value for key, value in {**document, **change}.items() if value is not ...}


def parse(document: object, media_type: str = "") -> Manifest | Index:
    data = document if isinstance(document, bytes) else to_json(document)
    return parse_manifest(RawManifest(data, media_type), "image")


@pytest.mark.parametrize(
    ("docker", "compression"), [(False, "gzip"), (False, "zstd"), (False, "plain"), (True, "gzip"), (True, "plain")]
)
def test_manifests_of_both_kinds(docker: bool, compression: str) -> None:
    image = build_image([layer({"a": "b"}, compression)], docker=docker)
    found = parse(image.manifest, image.media_type)
    assert isinstance(found, Manifest)
    assert found.raw.digest == image.digest
    assert [each.digest for each in found.layers] == [each.digest for each in image.layers]
    assert found.config.size == len(image.config)


@pytest.mark.parametrize("docker", [False, True])
def test_indexes_of_both_kinds(docker: bool) -> None:
    image = build_image([])
    whole = build_index({"linux/arm/v7": image, "": image}, docker=docker)
    found = parse(whole.manifest, whole.media_type)
    assert isinstance(found, Index)
    assert [entry.platform for entry in found.manifests] == [Platform("linux", "arm", "v7"), None]


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "text/plain; charset=utf-8", "application/octet-stream", OCI_MANIFEST]
)
@pytest.mark.parametrize("inner", [..., OCI_MANIFEST])
def test_types_that_agree(content_type: str, inner: Any) -> None:
    assert isinstance(parse(manifest(mediaType=inner), content_type), Manifest)


REFUSED: dict[str, tuple[object, str]] = {
    # CVE-2021-41190: the same bytes must not be a manifest to one reader and an index to another
    "manifest that is also an index": (manifest(manifests=[]), OCI_MANIFEST),
    "index that also has layers": (index(layers=[]), OCI_INDEX),
    "index that also has a config": (index(config={}), OCI_INDEX),
    "manifest that came as an index": (manifest(mediaType=...), OCI_INDEX),
    "index that came as a manifest": (index(mediaType=...), OCI_MANIFEST),
    "manifest that calls itself an index": (manifest(mediaType=OCI_INDEX), ""),
    "index that calls itself a manifest": (index(mediaType=DOCKER_MANIFEST), ""),
    "types of two worlds": (manifest(), DOCKER_MANIFEST),
    "index types of two worlds": (index(), DOCKER_LIST),
    "Docker manifest without mediaType": (docker_manifest(mediaType=...), DOCKER_MANIFEST),
    "Docker manifest with an empty mediaType": (docker_manifest(mediaType=""), DOCKER_MANIFEST),
    "Docker manifest with an OCI config": (docker_manifest(config=manifest()["config"]), ""),
    "Docker manifest with OCI layers": (docker_manifest(layers=manifest()["layers"]), ""),
    "OCI manifest with a Docker config": (manifest(config=docker_manifest()["config"]), ""),
    "second layers in capitals": (manifest(LAYERS=[]), ""),
    "manifests in capitals": (manifest(Manifests=[]), ""),
    "history of schema 1": (manifest(history=[]), ""),
    "history of schema 1, null": (docker_manifest(history=None), ""),
    "history in capitals": (manifest(History=[]), ""),
    "index with a history": (index(history=[]), ""),
    "annotation a number": (manifest(annotations={"a": 1}), ""),
    "subject a string": (manifest(subject="x"), ""),
    "neither": (manifest(layers=..., config=...), ""),
    "a web page": (b"<html>log in to the network</html>", "text/html"),
    "a manifest that came as a web page": (manifest(), "text/html"),
    "unknown mediaType": (manifest(mediaType="application/x-other"), ""),
    "schema 1": ({"schemaVersion": 1, "fsLayers": [], "history": []}, ""),
    "schema 1 by content type": (manifest(), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    "schema 1 and 2 at once": (manifest(fsLayers=[]), ""),
    "schema 3": (manifest(schemaVersion=3), ""),
    "no schema": (manifest(schemaVersion=...), ""),
    "schema true": (manifest(schemaVersion=True), ""),
    "schema 2.0": (manifest(schemaVersion=2.0), ""),
    "artifact": (manifest(config={"mediaType": "application/vnd.x", "digest": DIGEST, "size": 2}), ""),
    "empty config type": (manifest(config={"mediaType": "", "digest": DIGEST, "size": 2}), ""),
    "endless config": (
        manifest(config={"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 5 << 20}),
        "",
    ),
    "layers no list": (manifest(layers={}), ""),
    "layers null": (manifest(layers=None), ""),
    "config missing": (manifest(config=...), ""),
    "too many layers": (manifest(layers=manifest()["layers"] * MOST_LAYERS), ""),
    "list": ([], ""),
    "duplicate key": (b'{"schemaVersion":2,"schemaVersion":2,"layers":[],"config":{}}', ""),
    "NaN": (b'{"schemaVersion":NaN}', ""),
    "not utf-8": (b'{"schemaVersion":2,"x":"\xff"}', ""),
    "deep": (b"[" * 100_000, ""),
    "empty": (b"", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_document_that_is_no_manifest_is_refused(case: str) -> None:
    document, content_type = REFUSED[case]
    with pytest.raises(RefusedError) as caught:
        parse(document, content_type)
    assert caught.value.exit_code == 5
    assert caught.value.message.startswith("image")


BAD_DESCRIPTORS: list[dict[str, Any]] = [
    {"digest": "sha256:../../../../etc/passwd"},  # CVE-2024-3727
    {"digest": ""},
    {"digest": f"sha256:{'A' * 64}"},
    {"digest": f"sha256:{'1' * 63}"},
    {"digest": f"sha256:{'1' * 64}\n"},
    {"digest": f"sha512:{'1' * 128}"},
    {"digest": f"md5:{'1' * 32}"},
    {"digest": 7},
    {"size": -1},
    {"size": "7"},
    {"size": 1.5},
    {"size": True},
    {"size": None},
    {"size": 1 << 60},
    {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"},
    {"mediaType": "application/vnd.oci.image.layer.v1.tar+lz4"},
    {"mediaType": "application/vnd.in-toto+json"},
    {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.zstd"},
    {"mediaType": None},
    {"annotations": {"a": 1}},
    {"platform": "linux"},
    {"platform": {"os.features": "x"}},
    {"Digest": f"sha256:{'2' * 64}"},
    {"SIZE": 5},
    {"urls": "https://x.example/"},
    {"data": "no base64"},
]


@pytest.mark.parametrize("change", BAD_DESCRIPTORS)
def test_bad_layers_are_refused(change: dict[str, Any]) -> None:
    document = manifest()
    document["layers"][1].update(change)
    with pytest.raises(RefusedError, match=r"image: layers\[1\]"):
        parse(document)


@given(st.sampled_from(sorted(manifest())), ANYTHING)
def test_a_manifest_with_anything_in_it_parses_or_is_refused(key: str, value: object) -> None:
    with contextlib.suppress(RefusedError):
        parse(manifest(**{key: value}))


def config(**change: Any) -> dict[str, Any]:
    document = json.loads(make_config([layer({"a": "b"})], {"Cmd": ["/x"]}))
    return {key: value for key, value in {**document, **change}.items() if value is not ...}


def parse_config(document: object) -> ImageConfig:
    return ImageConfig.parse(document if isinstance(document, bytes) else to_json(document), "config")


def test_a_whole_config() -> None:
    run = {
        "User": "10:20",
        "ExposedPorts": {"2379/tcp": {}},
        "Env": ["A=b", "A=c"],
        "Entrypoint": ["/etcd"],
        "Cmd": ["--x"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/w",
        "Labels": {"k": "v"},
        "StopSignal": "SIGINT",
        "ArgsEscaped": True,
    }
    found = parse_config(config(config=run, variant="v8", architecture="arm64"))
    assert found.platform == Platform("linux", "arm64", "v8")
    assert found.created == "2026-01-02T03:04:05.678Z"
    assert (found.entrypoint, found.cmd, found.env) == (("/etcd",), ("--x",), ("A=b", "A=c"))
    assert (found.user, found.working_dir, found.stop_signal) == ("10:20", "/w", "SIGINT")
    assert (found.volumes, found.exposed_ports, found.labels) == (("/data",), ("2379/tcp",), {"k": "v"})


@pytest.mark.parametrize("run", [..., None, {}, {"Entrypoint": None, "Cmd": None, "Env": None, "Volumes": None}])
def test_an_empty_config(run: Any) -> None:
    found = parse_config(config(config=run, created=...))
    assert (found.entrypoint, found.cmd, found.env, found.volumes, found.labels) == ((), (), (), (), {})
    assert found.created == NO_TIME


BAD_CONFIGS: dict[str, object] = {
    "no os": config(os=...),
    "no architecture": config(architecture=...),
    "no rootfs": config(rootfs=...),
    "other rootfs": config(rootfs={"type": "zip", "diff_ids": []}),
    "bad diff_id": config(rootfs={"type": "layers", "diff_ids": ["sha256:../x"]}),
    "diff_ids no strings": config(rootfs={"type": "layers", "diff_ids": [1]}),
    "bad time": config(created="yesterday"),
    "time with a month 13": config(created="2026-13-01T00:00:00Z"),
    "time that ends in a newline": config(created="2026-01-01T00:00:00Z\n"),
    "command with NUL": config(config={"Cmd": ["a\0b"]}),
    "label key with NUL": config(config={"Labels": {"a\0b": "c"}}),
    "half a surrogate pair": b'{"os":"\\ud800"}',
    "environment no list": config(config={"Env": "A=b"}),
    "environment with a number": config(config={"Env": [1]}),
    "user a number": config(config={"User": 0}),
    "volumes a list": config(config={"Volumes": ["/x"]}),
    "labels no strings": config(config={"Labels": {"a": []}}),
    "deep": b'{"a":' * 100_000,
    # What follows would break podman for the whole store.
    "command a string": config(config={"Cmd": "/bin/true"}),
    "day 30 of February": config(created="2026-02-30T00:00:00Z"),
    "second 60": config(created="2016-12-31T23:59:60Z"),
    "empty time": config(created=""),
    "history with a bad time": config(history=[{"created": "yesterday"}]),
    "history an object": config(history={}),
    "author a number": config(author=5),
    "health check in words": config(config={"Healthcheck": {"Interval": "5s"}}),
    "stop timeout beyond 64 bits": config(config={"StopTimeout": 1 << 63}),
    "ports a list": config(config={"ExposedPorts": ["80"]}),
    "volume that is no object": config(config={"Volumes": {"/x": 1}}),
    # Go takes these for os, Cmd and user.
    "OS": config(OS="windows"),
    "cmd": config(config={"cmd": ["/other"]}),
    "long s": config(config={"u\u017fer": "other"}),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_bad_configs_are_refused(case: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_config(BAD_CONFIGS[case])
    assert caught.value.message.startswith("config")


@given(st.sampled_from(sorted(config())), ANYTHING)
def test_a_config_with_anything_in_it_parses_or_is_refused(key: str, value: object) -> None:
    with contextlib.suppress(RefusedError):
        parse_config(config(**{key: value}))
