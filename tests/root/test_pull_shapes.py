"""Whatever document we accept, podman can read: else one image would break ``podman images`` for the whole store."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from syscontainers.errors import RefusedError
from syscontainers.images.config import ImageConfig
from syscontainers.images.documents import Manifest, RawManifest, parse_manifest
from syscontainers.images.shape import CONFIG, MANIFEST
from syscontainers.storage.images import NewImage
from syscontainers.storage.store import Store
from tests.images import (
    DOCKER_LAYER,
    OCI_LAYER,
    build_image,
    digest_of,
    make_config,
    to_json,
)
from tests.root.storage_tools import podman_on

pytestmark = pytest.mark.root

VALUES: tuple[Any, ...] = (None, 7, -1, 1.5, 1 << 63, True, "", "x", "2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z")
VALUES += ([], ["x"], [7], [{}], [None], {}, {"a": "x"}, {"a": 7}, {"a": None}, {"a": {}}, {"a": {"b": 1}})
TOP = (*CONFIG, "size", "unknown", "Created", "healthcheck", "moby.buildkit.buildinfo.v1")
RUN = (
    *("User", "WorkingDir", "StopSignal", "Hostname", "Domainname", "Image", "MacAddress", "Env", "Entrypoint", "Cmd"),
    *("OnBuild", "Shell", "AttachStdin", "Tty", "OpenStdin", "StdinOnce", "ArgsEscaped", "NetworkDisabled", "Volumes"),
    *("ExposedPorts", "Labels", "StopTimeout", "Healthcheck", "Unknown", "Memory", "CpuShares", "PortSpecs", "cmd"),
)
HISTORY = ("created", "created_by", "author", "comment", "empty_layer", "unknown", "Created")
HEALTH = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries", "unknown")
DESCRIBED = ("mediaType", "size", "urls", "annotations", "data", "platform", "artifactType", "Size", "unknown")
PLATFORM = ("os", "architecture", "variant", "os.version", "os.features", "features", "unknown")
TYPES = ("", "text/plain", OCI_LAYER, f"{OCI_LAYER}+zstd", f"{DOCKER_LAYER}.gzip", f"{DOCKER_LAYER}.zstd", DOCKER_LAYER)

Place = tuple[str, ...]


def put(document: Any, place: Place, value: Any) -> Any:
    """A copy of ``document`` with ``value`` at ``place``; a place that ends in [] is a list of one."""
    if not place:
        return value
    key = place[0].removesuffix("[]")
    old = document.get(key) or ([{}] if place[0].endswith("[]") else {})
    new = [put(old[0], place[1:], value)] if place[0].endswith("[]") else put(old, place[1:], value)
    return {**document, key: new}


def is_accepted_config(document: Any) -> bool:
    try:
        ImageConfig.parse(to_json(document), "config")
    except RefusedError:
        return False
    return True


def is_accepted_manifest(document: Any) -> bool:
    try:
        return isinstance(parse_manifest(RawManifest(to_json(document), ""), "manifest"), Manifest)
    except RefusedError:
        return False


def put_all(document: Any, places: Iterable[Place], value: Any, is_accepted: Callable[[Any], bool]) -> Any:
    """``document`` with ``value`` in all of ``places`` where we accept it."""
    for place in places:
        changed = put(document, place, value)
        document = changed if is_accepted(changed) else document
    return document


def configs() -> Iterator[Any]:
    inner = [("config", key) for key in RUN]
    places = [*inner, *(("history[]", key) for key in HISTORY), *(("config", "Healthcheck", key) for key in HEALTH)]
    for value in VALUES:
        base = json.loads(make_config([]))
        yield put_all(base, [(key,) for key in TOP], value, is_accepted_config)
        yield put_all(base, places, value, is_accepted_config)


def with_all_kinds(base: Any) -> Any:
    layers = [{"mediaType": kind, "digest": digest_of(b""), "size": 0} for kind in TYPES]
    return {**base, "layers": [each for each in layers if is_accepted_manifest({**base, "layers": [each]})]}


def with_value(base: Any, value: Any, *, top: bool) -> Any:
    if top:
        keys = (*MANIFEST, "unknown", "Layers", "history", "History")
        return put_all(base, [(key,) for key in keys], value, is_accepted_manifest)
    places: list[Place] = [(outer, key) for outer in ("config", "layers[]") for key in DESCRIBED]
    places += [(outer, "platform", key) for outer in ("config", "layers[]") for key in PLATFORM]
    one = {**base, "layers": with_all_kinds(base)["layers"][:1]}
    return put_all(one, places, value, is_accepted_manifest)


def accepted() -> Iterator[tuple[bytes, bytes]]:
    """Manifests and configs, each config another one."""
    changes: list[Callable[[Any], Any]] = [with_all_kinds]
    changes += [functools.partial(with_value, value=value, top=top) for value in VALUES for top in (False, True)]
    for docker in (False, True):
        for number, document in enumerate(configs()):
            config = to_json({**document, "number": [number, docker]})
            yield build_image([], docker=docker, config=config).manifest, config
        for number, change in enumerate(changes):
            config = make_config([], number=[number, docker, "manifest"])
            yield to_json(change(json.loads(build_image([], docker=docker, config=config).manifest))), config


def test_podman_reads_whatever_we_accept(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", tmp_path / "staging")
    expected = set()
    for number, (manifest, config) in enumerate(accepted()):
        assert is_accepted_config(json.loads(config))
        assert is_accepted_manifest(json.loads(manifest))
        new = NewImage(manifest, digest_of(manifest), config, (f"localhost/n{number}:1",), {}, "2026-01-02T03:04:05Z")
        with store.staging_directory() as staging:
            expected.add(store.commit_image(new, [], staging).id)
    with podman_on(tmp_path / "theirs", store.root) as podman:
        said = podman("images", "--all", "--quiet", "--no-trunc", check=False)
        assert {line.removeprefix("sha256:") for line in said.splitlines()} == expected
        inspected = podman.json("inspect", *sorted(expected))
        assert {each["Id"] for each in inspected} == expected


def test_what_podman_could_not_read_is_refused() -> None:
    # One example each of what the test above stands guard against; without the refusal it would prove nothing.
    base = json.loads(make_config([]))
    for place, value in (
        (("created",), "2026-02-30T00:00:00Z"),
        (("author",), 7),
        (("config", "Cmd"), "x"),
        (("config", "cmd"), 7),
        (("history[]", "created"), "x"),
        (("config", "Healthcheck", "Interval"), "5s"),
    ):
        assert is_accepted_config(base)
        assert not is_accepted_config(put(base, place, value))
