"""The types of what we do not read ourselves but others of the shared store will.

One image whose documents Go cannot unmarshal makes ``podman images`` fail for the whole store, every other image
included: whoever can push an image could break podman on each host that pulls it with us. So every field that
containers/image knows must have its type, also those that mean nothing here. And as Go matches names of fields
without regard to case, ``OS`` would be ``os`` for them and nothing for us: such names are refused, because two
readers must not see two images (CVE-2021-41190's family).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Callable, Mapping

from ..typed import Document

Check = Callable[[Document, str], object]
"""Look at one field that is there. Raises DocumentError."""

# RFC 3339 as Go's time.Time reads it.
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_INT64 = 1 << 63


def check_shape(document: Document, fields: Mapping[str, Check]) -> None:
    """Check those of ``fields`` that are there, under exactly these names. Raises DocumentError."""
    by_folded = {name.casefold(): name for name in fields}
    for key in document:
        name = by_folded.get(key.casefold())
        if name is None:
            continue
        if name != key:
            document.fail(key, f"must be spelt {name!r}: to some readers both are the same")
        fields[name](document, key)


def text(document: Document, key: str) -> None:
    """A string."""
    document.get_str(key, "")


def texts(document: Document, key: str) -> None:
    """A list of strings."""
    document.get_strings(key, [])


def text_map(document: Document, key: str) -> None:
    """An object of strings."""
    document.get_string_map(key, {})


def flag(document: Document, key: str) -> None:
    """A boolean."""
    document.get_bool(key, False)


def number(document: Document, key: str) -> None:
    """An integer of 64 bits."""
    value = document.get_int(key, 0)
    if not -_INT64 <= value < _INT64:
        document.fail(key, "must fit into 64 bits")


def time(document: Document, key: str) -> None:
    """A time of RFC 3339, which as a string must not be empty."""
    value = document.get(key)
    if value is None:
        return
    match = _TIME.fullmatch(document.get_str(key))
    if match is None or not _is_date(match[1]):
        document.fail(key, f"must be a time of RFC 3339, not {value[:40]!r}")


def _is_date(value: str) -> bool:
    try:
        dt.date.fromisoformat(value)
    except ValueError:
        return False
    return True


def base64_text(document: Document, key: str) -> None:
    """Bytes, in base64."""
    try:
        base64.b64decode(document.get_str(key, ""), validate=True)
    except (binascii.Error, ValueError):
        document.fail(key, "must be base64")


def names(document: Document, key: str) -> None:
    """A set of names, written as an object of empty objects."""
    inner = document.get_object(key, {})
    for name in inner:
        inner.get_object(name, {})


def anything(_document: Document, _key: str) -> None:
    """What is read and checked elsewhere; only its name matters here."""


def forbidden(document: Document, key: str) -> None:
    """What must not be here, whatever its value."""
    document.fail(key, "must not stand here: to some readers it makes another kind of document")


def nested(fields: Mapping[str, Check]) -> Check:
    """An object with ``fields``."""

    def check(document: Document, key: str) -> None:
        inner = document.get_optional_object(key)
        if inner is not None:
            check_shape(inner, fields)

    return check


def several(fields: Mapping[str, Check]) -> Check:
    """A list of objects with ``fields``."""

    def check(document: Document, key: str) -> None:
        for inner in document.get_objects(key, []):
            check_shape(inner, fields)

    return check


_HEALTH = {
    **dict.fromkeys(("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"), number),
    "Test": texts,
}
_RUN: Mapping[str, Check] = {
    **dict.fromkeys(
        ("User", "WorkingDir", "StopSignal", "Hostname", "Domainname", "Image", "MacAddress"),
        text,
    ),
    **dict.fromkeys(("Env", "Entrypoint", "Cmd", "OnBuild", "Shell"), texts),
    **dict.fromkeys(
        (
            *("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"),
            *("ArgsEscaped", "NetworkDisabled"),
        ),
        flag,
    ),
    "Volumes": names,
    "ExposedPorts": names,
    "Labels": text_map,
    "StopTimeout": number,
    "Healthcheck": nested(_HEALTH),
}
_HISTORY: Mapping[str, Check] = {
    **dict.fromkeys(("created_by", "author", "comment"), text),
    "created": time,
    "empty_layer": flag,
}
CONFIG: Mapping[str, Check] = {
    **dict.fromkeys(
        (
            *("os", "os.version", "architecture", "variant", "author"),
            *("id", "parent", "comment", "container", "docker_version"),
        ),
        text,
    ),
    "created": time,
    "size": number,
    "os.features": texts,
    "config": nested(_RUN),
    "container_config": nested(_RUN),
    "rootfs": nested({"type": text, "diff_ids": texts}),
    "history": several(_HISTORY),
}
"""An image config, OCI or Docker."""

_PLATFORM: Mapping[str, Check] = {
    **dict.fromkeys(("os", "os.version", "architecture", "variant"), text),
    **dict.fromkeys(("os.features", "features"), texts),
}
_DESCRIPTOR: Mapping[str, Check] = {
    **dict.fromkeys(("mediaType", "digest", "artifactType"), text),
    "size": number,
    "urls": texts,
    "annotations": text_map,
    "data": base64_text,
    "platform": nested(_PLATFORM),
}
MANIFEST: Mapping[str, Check] = {
    **dict.fromkeys(("mediaType", "artifactType"), text),
    "schemaVersion": number,
    "config": nested(_DESCRIPTOR),
    "layers": several(_DESCRIPTOR),
    "manifests": several(_DESCRIPTOR),
    "subject": nested(_DESCRIPTOR),
    "annotations": text_map,
    "fsLayers": anything,
    # Schema 1's: containers/image refuses any other manifest with it, and so fails on a store that has one.
    "history": forbidden,
}
"""A manifest or index, OCI or Docker."""
