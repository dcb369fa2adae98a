"""What an image says about itself: the files in its ``/exports``, named and read as Project Atomic's images have them.

Every part may be missing, in any combination. ``config.json`` is taken word for word and beats its template; an
empty ``tmpfiles.template`` says "no rules at all", which is not the same as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import RefusedError
from ..storage.mounts import read_file
from ..typed import Document, DocumentError, check_texts
from .health import HealthCheck
from .parameters import TYPES, Parameter
from .tree import resolve_in_tree

EXPORTS = "/exports"
_TEMPLATE_LIMIT = 1 << 20


@dataclass(frozen=True)
class ExportsManifest:
    """``manifest.json``; every field may be absent."""

    version: str = ""
    default_values: Mapping[str, str] = field(default_factory=dict)
    rename_files: Mapping[str, str] = field(default_factory=dict)
    """Host path → new host path; the values are templates."""
    installed_files_template: tuple[str, ...] = ()
    """Host files that are templates, by their names after renaming."""
    use_links: bool = True
    no_container_service: bool = False
    """Only host files: no unit, no root."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    health: HealthCheck | None = None

    @classmethod
    def parse(cls, data: bytes | str, where: str) -> ExportsManifest:
        """Read a manifest. Raises DocumentError naming ``where`` and the field."""
        document = Document.parse(data, where)
        check_texts(document.raw(), where)
        health = document.get_optional_object("health")
        return cls(
            version=_as_text(document, "version") if document.get("version") is not None else "",
            default_values=_read_defaults(document.get_object("defaultValues", {})),
            rename_files=document.get_string_map("renameFiles", {}),
            installed_files_template=tuple(document.get_strings("installedFilesTemplate", [])),
            use_links=document.get_bool("useLinks", True),
            no_container_service=document.get_bool("noContainerService", False),
            parameters=_read_parameters(document.get_object("parameters", {})),
            health=None if health is None else HealthCheck.from_json(health),
        )


@dataclass(frozen=True)
class Exports:
    """The contract files of one image as text; None where the image has no such file."""

    config: str | None = None
    config_template: str | None = None
    service_template: str | None = None
    tmpfiles_template: str | None = None
    manifest: ExportsManifest = field(default_factory=ExportsManifest)
    present: bool = False
    """Whether the image has a directory ``/exports``."""


def read_exports(tree: int) -> Exports:
    """Read ``/exports`` below ``tree``, a descriptor of the image's root.

    Raises RefusedError for files that are no text or too long, DocumentError for a bad manifest.
    """
    manifest = _read_text(tree, "manifest.json")
    return Exports(
        config=_read_text(tree, "config.json"),
        config_template=_read_text(tree, "config.json.template"),
        service_template=_read_text(tree, "service.template"),
        tmpfiles_template=_read_text(tree, "tmpfiles.template"),
        manifest=ExportsManifest() if manifest is None else ExportsManifest.parse(manifest, f"{EXPORTS}/manifest.json"),
        present=resolve_in_tree(tree, EXPORTS).is_directory,
    )


def _read_text(tree: int, name: str) -> str | None:
    data = read_file(tree, f"{EXPORTS}/{name}", _TEMPLATE_LIMIT)
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(f"{EXPORTS}/{name}: not UTF-8 text at byte {error.start}") from None


def _as_text(document: Document, key: str) -> str:
    value = document[key]
    if not isinstance(value, (str, int, float)):
        document.fail(key, "must be a string, a number or a boolean")
    # str(True) is "True", as it always was for these images: string.Template does the same.
    return str(value)


def _read_defaults(document: Document) -> dict[str, str]:
    return {name: _as_text(document, name) for name in document}


def _read_parameters(document: Document) -> dict[str, Parameter]:
    return {name: _read_parameter(name, document.get_object(name)) for name in document}


def _read_parameter(name: str, document: Document) -> Parameter:
    if not is_variable(name):
        raise DocumentError(f"{document.where}: {name!r} cannot be the name of a variable")
    kind = document.get_str("type", "string")
    if kind not in TYPES:
        document.fail("type", f"must be one of {', '.join(TYPES)}, not {kind!r}")
    return Parameter(
        name=name,
        type=kind,
        help=document.get_str("help", ""),
        allowed=tuple(_as_allowed(value) for value in document.get_list("allowed", [])),
        secret=document.get_bool("secret", False),
        required=document.get_bool("required", False),
    )


def _as_allowed(value: object) -> str:
    # Values of type boolean have become "true" and "false" when they are compared.
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_variable(name: str) -> bool:
    """Whether a template can mention ``name``: ASCII letters, digits and ``_``, not beginning with a digit."""
    return name.isascii() and name.isidentifier()
