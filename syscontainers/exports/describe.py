"""What an image can be told, before anything is installed: its parameters, their defaults and who set those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .commands import NAMES as COMMAND_NAMES
from .contract import Exports, ExportsManifest
from .parameters import Parameter
from .render import placeholders
from .templates import choose_templates, our_manifest
from .values import DEFAULT, FORCED, IMAGE, OS

_FORCED = frozenset({"DESTDIR", "NAME", "HOST_UID", "HOST_GID", "IMAGE_NAME", "IMAGE_ID", *COMMAND_NAMES})
_OS = frozenset(
    {"RUN_DIRECTORY", "STATE_DIRECTORY", "CONF_DIRECTORY", "PIDFILE", "UUID", "RUNTIME", "ATOMIC"}
    | {"ALL_PROCESS_CAPABILITIES"}
)


@dataclass(frozen=True)
class Description:
    """One variable that the templates mention or a manifest describes."""

    name: str
    origin: str
    """``forced``, ``os``, ``image`` or ``default``; ``user`` where only ``--set`` can give it."""
    default: str | None
    """None where there is none, or where it is only known when it is installed."""
    required: bool
    """Whether installing fails without ``--set``."""
    parameter: Parameter


def describe_variables(exports: Exports) -> list[Description]:
    """Every variable of an image, sorted by name. Raises SyscontainersError if our own templates are missing."""
    # An image that has nothing to run uses none of our templates.
    only_files = exports.manifest.no_container_service
    ours = ExportsManifest() if only_files else our_manifest(choose_templates(exports))
    parameters = {**exports.manifest.parameters, **ours.parameters}
    defaults = {**ours.default_values, **exports.manifest.default_values}
    names = {*_mentioned_by_image(exports), *parameters, *defaults}
    return [_describe(name, exports, defaults, parameters) for name in sorted(names)]


def _mentioned_by_image(exports: Exports) -> set[str]:
    texts = [exports.service_template, exports.tmpfiles_template]
    texts += [] if exports.config is not None else [exports.config_template]
    texts += list(exports.manifest.rename_files.values())
    return {name for text in texts if text for name in placeholders(text)}


def _describe(
    name: str, exports: Exports, defaults: Mapping[str, str], parameters: Mapping[str, Parameter]
) -> Description:
    parameter = parameters.get(name) or Parameter(name)
    if name in _FORCED or (name in _OS and name != "UUID") or (name == "UUID" and name not in defaults):
        return Description(name, FORCED if name in _FORCED else OS, None, False, parameter)
    if name not in defaults:
        return Description(name, "user", None, True, parameter)
    origin = IMAGE if name in exports.manifest.default_values else DEFAULT
    return Description(name, origin, defaults[name], parameter.required and not defaults[name], parameter)
