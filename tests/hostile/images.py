"""Images whose documents, not their layers, are the attack; each as a file or directory to pull from."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.images import (
    OCI_INDEX,
    OCI_MANIFEST,
    Entry,
    Image,
    build_image,
    build_index,
    digest_of,
    docker_archive_files,
    layer,
    layout_files,
    make_config,
    make_tar,
    symlink,
    to_json,
)

Write = Callable[[Path, Path], str]
"""Makes the image below the first path, aiming at the canary; returns what to pull."""


@dataclass(frozen=True)
class ImageCase:
    """One image and why it is refused."""

    name: str
    attack: str
    write: Write
    rejected: str


_LAYER = layer({"etc/hello": "world\n"}, "plain")
_GOOD = build_image([_LAYER])


def _layout(change: Callable[[dict[str, bytes]], None], image: Image = _GOOD, transport: str = "oci") -> Write:
    def write(top: Path, _canary: Path) -> str:
        files = layout_files({"": image})
        change(files)
        path = top / "image"
        if transport == "oci-archive":
            path.write_bytes(make_tar(files, parents=False))
        else:
            _write_files(path, files)
        return f"{transport}:{path}"

    return write


def _write_files(path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _unchanged(_files: dict[str, bytes]) -> None:
    pass


def _index_with(**change: Any) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        index = json.loads(files["index.json"])
        index["manifests"][0].update(change)
        files["index.json"] = to_json(index)

    return apply


def _manifest_with(**change: Any) -> Write:
    return _layout(_unchanged, build_image([_LAYER], change=change))


def _described(**change: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_GOOD.manifest)["layers"][0]
    return {**found, **change}


def _config_with(run: Any = None, **change: Any) -> Write:
    return _layout(_unchanged, build_image([_LAYER], config=make_config([_LAYER], run, **change)))


_BAD_DIGESTS = {
    "dots": "sha256:../../../../etc/shadow",
    "path": "sha256:" + "/" * 64,
    "short": "sha256:" + "1" * 63,
    "long": "sha256:" + "1" * 65,
    "capitals": "sha256:" + "A" * 64,
    "other-algorithm": "sha512:" + "1" * 128,
    "newline": "sha256:" + "1" * 64 + "\n",
    "no-algorithm": "1" * 64,
    "digits-of-another-script": "sha256:" + "\u0661" * 64,
}


def _digests() -> Iterator[ImageCase]:
    attack = "digests that are paths, CVE-2024-3727, CVE-2014-9358"
    why = "must be sha256"
    for label, digest in _BAD_DIGESTS.items():
        yield ImageCase(f"digest-{label}-in-index", attack, _layout(_index_with(digest=digest)), why)
        yield ImageCase(f"digest-{label}-of-layer", attack, _manifest_with(layers=[_described(digest=digest)]), why)
        config = {**json.loads(_GOOD.manifest)["config"], "digest": digest}
        yield ImageCase(f"digest-{label}-of-config", attack, _manifest_with(config=config), why)
        rootfs = {"type": "layers", "diff_ids": [digest]}
        yield ImageCase(f"digest-{label}-of-diff", attack, _config_with(rootfs=rootfs), why)


def _lies() -> Iterator[ImageCase]:
    attack = "bytes that are not the promised ones, CVE-2014-8178, CVE-2014-8179, CVE-2024-24557"

    def replaced(digest: str) -> Callable[[dict[str, bytes]], None]:
        def apply(files: dict[str, bytes]) -> None:
            name = f"blobs/sha256/{digest.removeprefix('sha256:')}"
            files[name] = files[name][:-2] + b" " + files[name][-1:]

        return apply

    for label, digest in (
        ("manifest", _GOOD.digest),
        ("config", digest_of(_GOOD.config)),
        ("layer", _LAYER.digest),
    ):
        yield ImageCase(f"lie-{label}", attack, _layout(replaced(digest)), "has the digest|the bytes received are")
    size = _index_with(size=len(_GOOD.manifest) + 1)
    yield ImageCase("lie-size-of-manifest", attack, _layout(size), "promised were")
    yield ImageCase("lie-size-of-layer", attack, _manifest_with(layers=[_described(size=9)]), "promised were")
    other = {"type": "layers", "diff_ids": ["sha256:" + "2" * 64]}
    yield ImageCase("lie-diff", attack, _config_with(rootfs=other), "the image's config says")
    fewer = {"type": "layers", "diff_ids": []}
    yield ImageCase("lie-number-of-layers", attack, _config_with(rootfs=fewer), "its config 0")
    negative = _manifest_with(layers=[_described(size=-1)])
    yield ImageCase("size-negative", "numbers", negative, "at least 0")
    yield ImageCase("size-beyond", "numbers", _manifest_with(layers=[_described(size=1 << 60)]), "beyond reason")
    yield ImageCase("size-no-number", "CVE-2021-21285", _manifest_with(layers=[_described(size="9")]), "must be an int")


def _two_meanings() -> Iterator[ImageCase]:
    attack = "one document, two meanings: CVE-2021-41190"
    index = json.loads(build_index({"linux/amd64": _GOOD}).manifest)["manifests"]
    yield ImageCase("both-manifest-and-index", attack, _manifest_with(manifests=index), "both manifests and layers")
    yield ImageCase("type-of-index", attack, _manifest_with(mediaType=OCI_INDEX), "calls itself|came as")
    yield ImageCase("type-promised", attack, _layout(_index_with(mediaType=OCI_INDEX)), "came as")
    yield ImageCase("schema-1", attack, _manifest_with(schemaVersion=1), "schema 1")
    yield ImageCase("fs-layers", attack, _manifest_with(fsLayers=[]), "schema 1")
    yield ImageCase("history", attack, _manifest_with(history=[]), "must not stand here")
    yield ImageCase("capitals", attack, _manifest_with(Layers=[]), "must be spelt")
    twice = _GOOD.manifest.replace(b'"schemaVersion":2', b'"schemaVersion":2,"schemaVersion":2')
    double = Image(twice, OCI_MANIFEST, _GOOD.blobs)
    yield ImageCase("key-twice", attack, _layout(_unchanged, double), "stands twice")
    yield ImageCase("artifact", attack, _manifest_with(config=_described(mediaType="application/x")), "artifact")


def _floods() -> Iterator[ImageCase]:
    attack = "documents without end, CVE-2020-1702, CVE-2023-25153"

    def padded(name: str) -> Callable[[dict[str, bytes]], None]:
        def apply(files: dict[str, bytes]) -> None:
            files[name] += b" " * (4 << 20)

        return apply

    for transport in ("oci", "oci-archive"):
        for name in ("index.json", "oci-layout"):
            write = _layout(padded(name), transport=transport)
            yield ImageCase(f"endless-{name}-{transport}", attack, write, "longer than")
    deep = Image(b'{"a":' * 100_000, OCI_MANIFEST, {})
    yield ImageCase("nested-deeply", attack, _layout(_unchanged, deep), "nested too deeply|not valid JSON")
    yield ImageCase("many-layers", attack, _manifest_with(layers=[_described()] * 501), "at most 500")
    image = _GOOD
    for _ in range(6):
        image = build_index({"linux/amd64": image})
    yield ImageCase("indexes-within-indexes", attack, _layout(_unchanged, image), "within each other")
    huge = make_config([_LAYER], history=[{"comment": "x" * (4 << 20)}])
    yield ImageCase("endless-config", attack, _layout(_unchanged, build_image([_LAYER], config=huge)), "more than")


def _docker_archives() -> Iterator[ImageCase]:
    attack = "archives as docker save writes them, CVE-2014-6407, CVE-2025-11395"

    def archive(change: Callable[[dict[str, Entry | str | bytes], Path], None]) -> Write:
        def write(top: Path, canary: Path) -> str:
            files = docker_archive_files(_GOOD, ["localhost/x:1"])
            change(files, canary)
            (top / "image.tar").write_bytes(make_tar(files, parents=False))
            return f"docker-archive:{top / 'image.tar'}"

        return write

    def naming(key: str, name: Callable[[Path], Any]) -> Write:
        def change(files: dict[str, Entry | str | bytes], canary: Path) -> None:
            document = json.loads(bytes(files["manifest.json"]))  # type: ignore[arg-type]
            document[0][key] = name(canary)
            files["manifest.json"] = to_json(document)

        return archive(change)

    def linking(files: dict[str, Entry | str | bytes], canary: Path) -> None:
        name = next(each for each in files if each.endswith("layer.tar"))
        files[name] = symlink(str(canary / "secret"))

    def hard_linking(files: dict[str, Entry | str | bytes], canary: Path) -> None:
        name = next(each for each in files if each.endswith("layer.tar"))
        files[name] = Entry(kind=tarfile.LNKTYPE, link=str(canary / "secret"))

    yield ImageCase(
        "docker-config-path", attack, naming("Config", lambda c: str(c / "secret")), "leads out of the archive"
    )
    yield ImageCase(
        "docker-layer-path", attack, naming("Layers", lambda c: [f"../../..{c}/secret"]), "leads out of the archive"
    )
    yield ImageCase("docker-layer-link", attack, archive(linking), "leads out of the archive")
    yield ImageCase("docker-layer-hard-link", attack, archive(hard_linking), "leads out of the archive")
    yield ImageCase("docker-config-number", "CVE-2021-21285", naming("Config", lambda _: 7), "must be a string")


def _configs() -> Iterator[ImageCase]:
    attack = "configs of a shape that others fail on, CVE-2021-21285"
    yield ImageCase("config-no-object", attack, _config_with(config=[]), "must be an object")
    yield ImageCase("config-env-number", attack, _config_with({"Env": [7]}), "must be a string")
    yield ImageCase("config-nul", attack, _config_with({"Cmd": ["a\0b"]}), "NUL")
    yield ImageCase("config-surrogate", attack, _config_with({"Labels": {"a": "\ud800"}}), "surrogate")
    yield ImageCase("config-time", attack, _config_with(created="now"), "must be a time")


def cases() -> Iterator[ImageCase]:
    """All of them."""
    for group in (_digests, _lies, _two_meanings, _floods, _docker_archives, _configs):
        yield from group()
