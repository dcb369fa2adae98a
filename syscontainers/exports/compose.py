"""From what an image says and what the user wants to the texts that run it; nothing is written here.

This is where the parts of ``exports/`` meet: choose the templates, resolve the variables, render, finalize, check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..errors import SyscontainersError
from ..images.config import ImageConfig
from ..systemd.unitfile import UnitFile, parse, service_notifies, unit_cgroup
from .commands import NAMES as COMMAND_NAMES
from .commands import is_detached, is_notifying
from .contract import Exports
from .escape import escape_json, escape_tmpfiles, escape_unit
from .fragments import config_fragments
from .health import HealthCheck
from .host import Host
from .parameters import Parameter
from .process import Process, read_process
from .render import Escape, Rendering, Spot, placeholders, render, render_traced
from .rules import created_by, quote_field
from .runtime import RuntimeConfig, RuntimeFacts, finalize_config
from .signals import parse_signal
from .templates import Template, Templates, choose_templates, our_manifest
from .values import Target, Values, resolve_values, with_unused_notices

__all__ = ["Composition", "Host", "Once", "Past", "compose", "compose_once"]

_ParameterEscape = Callable[[Parameter, str, Spot], str]


@dataclass(frozen=True)
class Composition:
    """Everything an image's exports come to for one container."""

    values: Values
    config: RuntimeConfig | None
    """None, like ``service``, for an image that has only host files (``noContainerService``)."""
    service: str | None
    tmpfiles: str | None
    """None where no rules are needed."""
    detached: bool
    health: HealthCheck | None
    notices: tuple[str, ...]

    @property
    def has_service(self) -> bool:
        """Whether there is anything to run."""
        return self.service is not None


@dataclass(frozen=True)
class Past:
    """What outlives a generation."""

    uuid: str | None = None
    rules: str = ""
    """Its tmpfiles rules. What those of ours have made is there now, and will be missing again after a boot."""


@dataclass(frozen=True)
class Once:
    """How something is run once."""

    cgroup: str
    """The control group that is made for it, from the root of the cgroup tree."""
    command: tuple[str, ...] = ()
    """In place of the whole command of the config; nothing keeps that."""
    terminal: bool = False

    def adapt(self, config: RuntimeConfig) -> RuntimeConfig:
        """The config with this command and terminal."""
        process = {**config.data["process"], "terminal": self.terminal}
        if self.command:
            process["args"] = list(self.command)
        return replace(config, data={**config.data, "process": process})


def compose(
    target: Target,
    exports: Exports,
    image: ImageConfig,
    tree: int,
    user_values: Mapping[str, str],
    host: Host,
    past: Past | None = None,
) -> Composition:
    """Render and check everything.

    ``tree`` is a descriptor of the image's root. Raises UsageError for values that are missing or not allowed, and
    SyscontainersError's other kin for what the image itself has wrong; each names the file and what to do.
    """
    templates = choose_templates(exports)
    detached = is_detached(templates.service.text)
    values = resolve_values(
        target,
        exports.manifest,
        user_values,
        detached=detached,
        notifying=is_notifying(templates.service.text),
        ours=our_manifest(templates),
        previous_uuid=past.uuid if past else None,
    )
    values = with_unused_notices(values, _mentioned(templates, exports))
    if exports.manifest.no_container_service:
        return _compose_files(templates, values, detached)
    process = read_process(image, values.texts(), tree) if templates.config.ours else None
    service = _render_service(templates.service, values, image)
    unit = _parse_service(service, templates.service.where)
    rendering = replace(_render_config(templates.config, values, process, target, tree), secrets=_secrets(values))
    cgroup = unit_cgroup(unit, f"{target.name}.service")
    terminal = unit.get("Service", "StandardInput").startswith("tty")
    facts = replace(
        _facts(target, cgroup, host, tree, terminal=terminal),
        notifies=service_notifies(unit),
        made=created_by(past.rules) if past and templates.tmpfiles.ours else (),
    )
    config = finalize_config(rendering, facts)
    tmpfiles = _make_tmpfiles(templates.tmpfiles, values, config, process)
    return Composition(
        values=values,
        config=config,
        service=service,
        tmpfiles=tmpfiles,
        detached=detached,
        health=exports.manifest.health,
        notices=(*values.notices, *config.notices, *_source_notices(config, tmpfiles), *_volume_notices(process)),
    )


def compose_once(
    target: Target,
    exports: Exports,
    image: ImageConfig,
    tree: int,
    user_values: Mapping[str, str],
    host: Host,
    once: Once,
) -> Composition:
    """As ``compose``, for what runs once and outside of any unit: the image's service template is not looked at."""
    templates = choose_templates(exports)
    if templates.config.ours:
        # What it keeps goes with it.
        target = replace(target, state_directory=str(target.directory / "state"))
        user_values = {**user_values, "ARGS": json.dumps(list(once.command))} if once.command else user_values
    values = resolve_values(target, exports.manifest, user_values, detached=False, ours=our_manifest(templates))
    values = with_unused_notices(values, _mentioned(templates, exports))
    process = read_process(image, values.texts(), tree) if templates.config.ours else None
    rendering = replace(_render_config(templates.config, values, process, target, tree), secrets=_secrets(values))
    config = once.adapt(finalize_config(rendering, _facts(target, once.cgroup, host, tree, terminal=True)))
    tmpfiles = _make_tmpfiles(templates.tmpfiles, values, config, process)
    notices = (*values.notices, *config.notices, *_source_notices(config, tmpfiles))
    return Composition(values, config, None, tmpfiles, False, None, notices)


def _compose_files(templates: Templates, values: Values, detached: bool) -> Composition:
    """Of an image that has nothing to run."""
    template = templates.tmpfiles
    escape = _escape_declared(values, escape_tmpfiles)
    text = "" if template.ours else render(template.text, values.texts(), template.where, escape)
    return Composition(values, None, None, text if text.strip() else None, detached, None, values.notices)


def _mentioned(templates: Templates, exports: Exports) -> tuple[str, ...]:
    renamed = [name for text in exports.manifest.rename_files.values() for name in placeholders(text)]
    # Host files may be templates as well; whether they mention a variable is not looked up here.
    if exports.manifest.installed_files_template:
        renamed += list(exports.manifest.default_values)
    return (*templates.mentioned(), *renamed)


def _secrets(values: Values) -> tuple[str, ...]:
    texts = values.texts()  # a parameter may be described and have no value
    return tuple(texts[name] for name, each in values.parameters.items() if each.secret and texts.get(name))


def _facts(target: Target, cgroup: str, host: Host, tree: int, *, terminal: bool) -> RuntimeFacts:
    return RuntimeFacts(
        tree=tree,
        cgroup=cgroup,
        capabilities=host.capabilities,
        bundle=target.directory,
        root=target.root,
        host=target.host,
        limits=host.limits,
        selinux=host.selinux,
        apparmor=host.apparmor,
        terminal=terminal,
    )


def _render_service(template: Template, values: Values, image: ImageConfig) -> str:
    texts = values.texts()
    if not template.ours:
        return render(template.text, texts, template.where, _escape_declared(values, escape_unit))
    signal = parse_signal(texts["STOP_SIGNAL"] or image.stop_signal)
    texts |= {
        "KILL_SIGNAL": signal.name,
        "KILL_STATUS": str(128 + signal.number),
        "DESCRIPTION": texts["DESCRIPTION"] or f"{texts['NAME']} from {texts['IMAGE_NAME']}",
    }
    return render(template.text, texts, template.where, _escape_all(values, escape_unit, frozenset(COMMAND_NAMES)))


def _parse_service(text: str, where: str) -> UnitFile:
    unit = parse(text)
    if not unit.get_all("Service", "ExecStart"):
        raise SyscontainersError(f"{where}: has no ExecStart= in a [Service] section", *unit.problems[:1])
    return unit


def _render_config(template: Template, values: Values, process: Process | None, target: Target, tree: int) -> Rendering:
    if template.literal:
        return Rendering(template.text, template.where, (), ())
    texts = values.texts()
    if process is None:
        return render_traced(template.text, texts, template.where, _escape_declared(values, escape_json))
    fragments = config_fragments(process, texts, target, tree)
    escape = _escape_all(values, escape_json, frozenset(fragments))
    return render_traced(template.text, texts | fragments, template.where, escape)


def _make_tmpfiles(template: Template, values: Values, config: RuntimeConfig, process: Process | None) -> str | None:
    """The image's rules, or ours for missing bind sources; volumes, which only our config has, need theirs too."""
    base = f"{values['STATE_DIRECTORY']}/{values['NAME']}"
    volumes = {volume.source(base): volume.rule(base) for volume in process.volumes} if process else {}
    rules = list(volumes.values())
    if not template.ours:
        text = render(template.text, values.texts(), template.where, _escape_declared(values, escape_tmpfiles))
        return "\n".join(filter(None, (text.rstrip("\n"), *rules))) + "\n" if text.strip() or rules else None
    owner = f"{values['HOST_UID']} {values['HOST_GID']}"
    for source in config.missing_sources:
        if source.kind != "other" and source.path not in volumes:
            kind, mode = ("d", "0700") if source.kind == "directory" else ("f", "0600")
            rules.append(f"{kind} {quote_field(source.path)} {mode} {owner} -")
    texts = values.texts() | {"TMPFILES_RULES": "\n".join(rules)}
    return render(template.text, texts, template.where) if rules else None


def _escape_declared(values: Values, escape: _ParameterEscape) -> Escape:
    return _escape_all(values, escape, frozenset(values.entries) - frozenset(values.parameters))


def _escape_all(values: Values, escape: _ParameterEscape, raw: frozenset[str]) -> Escape:
    """Escape every variable but ``raw``."""

    def apply(name: str, text: str, spot: Spot) -> str:
        parameter = values.parameters.get(name) or Parameter(name)
        return text if name in raw else escape(parameter, text, spot)

    return apply


def _source_notices(config: RuntimeConfig, tmpfiles: str | None) -> list[str]:
    made = created_by(tmpfiles or "")
    return [
        f"{source.path} is not on the host; the container starts only when it is"
        for source in config.missing_sources
        # systemd-tmpfiles makes parents too.
        if not any(path == source.path or path.startswith(source.path + "/") for path in made)
    ]


def _volume_notices(process: Process | None) -> list[str]:
    return [
        f"the volume {volume.destination} starts empty: what the image has there is not copied into it"
        for volume in (process.volumes if process else ())
        if volume.hides
    ]
