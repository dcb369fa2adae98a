"""Everything a new generation will be, computed in memory before a byte outside the store changes.

``--dry-run`` prints a plan, ``diff`` compares it, a transaction carries it out.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UsageError
from ..exports.compose import Composition, Past, compose
from ..exports.contract import Exports, read_exports
from ..exports.host import Host
from ..exports.mountpoints import MountPoint
from ..exports.render import without_secrets
from ..exports.runtime import RuntimeConfig
from ..exports.values import Target
from ..images.config import ImageConfig
from ..storage.images import Image
from ..storage.mounts import HARDENING, open_tree
from ..systemd import readiness, startscript, tmpfiles, verify
from ..systemd.dropin import FILE_NAME, bind_generation
from ..systemd.mountunit import OverlayMount
from ..systemd.version import installed_version
from .context import Context
from .generation import ROOT_FSTAB, Generation, generation_at
from .hostfiles import SAVED_NAME, HostFiles, fingerprint, read_host_files, save_host_files
from .info import Info
from .names import service_unit
from .publish import saved_names
from .runtime import Runtime

ROOTS_SERVICE = "syscontainers-roots.service"
"""Mounts the roots of all enabled containers at boot; reads ``ROOT_FSTAB`` of their generations."""
# At boot these may still change what a service is, where they have anything to do.
BOOT_SERVICES = ("syscontainers-recover.service", "syscontainers-apply.service")


@dataclass(frozen=True)
class GenerationRequest:
    """What a generation is to be made from."""

    name: str
    number: int
    reference: str
    image: Image
    user_values: Mapping[str, str]
    runtime: Runtime
    rootfs: Path | None = None
    """The root, where it is not to be made of the image's layers."""
    previous: Generation | None = None
    """The generation that it replaces; what outlives an update, the UUID for one, comes from it."""


@dataclass(frozen=True)
class Plan:
    """A generation that does not exist yet."""

    generation: Generation
    info: Info
    contents: Mapping[str, bytes]
    """The files of its directory by name."""
    mount_points: tuple[MountPoint, ...]
    """What its root needs on top of the image's layers so that every mount finds its place."""

    def texts(self) -> Iterator[tuple[Path, str]]:
        """Each file with its text, for showing: without ``info`` and without values that are secret."""
        for name, data in self.contents.items():
            if name != "info":
                yield self.generation.directory / name, without_secrets(self.info.secret_texts(), data.decode())


def plan_generation(context: Context, request: GenerationRequest) -> Plan:
    """Render and check everything. Raises what reading the image, rendering and checking raise; nothing has changed."""
    generation = generation_at(context, request.name, request.number)
    lowers = [request.rootfs] if request.rootfs else context.store.lower_directories(request.image)
    with open_tree(lowers) as tree:
        exports = read_exports(tree)
        composition = _compose(context, generation, request, tree, exports)
        host_files = read_host_files(tree, exports.manifest, composition.values.texts())
    if composition.config is None or composition.service is None:
        return _plan_host_files_only(context, generation, request, composition, host_files)
    points = composition.config.mount_points
    lowers = [*([generation.points] if points else []), *lowers]
    mount = None if request.rootfs else _overlay(context, generation, composition.config, lowers)
    drop_in = _drop_in(generation, request, composition.service)
    units = {
        service_unit(request.name): composition.service,
        f"{service_unit(request.name)}.d/{FILE_NAME}": drop_in,
        **({mount.unit_name: mount.to_unit().to_text()} if mount else {}),
    }
    _check_texts(units, composition.tmpfiles)
    info = _make_info(context, request, composition, mount.unit_name if mount else "", host_files)
    fstab = {ROOT_FSTAB: mount.fstab_line().encode()} if mount else {}
    contents = {**_contents(generation, composition, tuple(units.values())), **fstab, **_saved(host_files)}
    return _make_plan(generation, info, contents, points)


def _make_plan(
    generation: Generation, info: Info, contents: Mapping[str, bytes], points: tuple[MountPoint, ...] = ()
) -> Plan:
    """The plan with the record of its files among them."""
    info = replace(info, files={name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    return Plan(generation, info, {**contents, "info": info.to_bytes()}, points)


def _plan_host_files_only(
    context: Context,
    generation: Generation,
    request: GenerationRequest,
    composition: Composition,
    host_files: HostFiles,
) -> Plan:
    """An image with ``noContainerService``: nothing runs, so there is neither a unit nor a root."""
    _check_texts({}, composition.tmpfiles)
    info = _make_info(context, request, composition, mount_unit="", host_files=host_files)
    rules = {} if composition.tmpfiles is None else {saved_names(generation)["tmpfiles"]: composition.tmpfiles.encode()}
    return _make_plan(generation, info, {**rules, **_saved(host_files)})


def _saved(host_files: HostFiles) -> dict[str, bytes]:
    return {SAVED_NAME: save_host_files(host_files)} if host_files else {}


def _compose(
    context: Context, generation: Generation, request: GenerationRequest, tree: int, exports: Exports
) -> Composition:
    target = Target(
        name=request.name,
        directory=generation.directory,
        image_name=request.reference,
        image_id=request.image.digest.removeprefix("sha256:"),
        runtime=request.runtime.path,
        root=request.rootfs,
        host=context.settings.host,
    )
    config = ImageConfig.parse(context.store.read_config(request.image), f"{request.reference}: config")
    return compose(target, exports, config, tree, request.user_values, Host.look(), _read_past(request.previous))


def _read_past(previous: Generation | None) -> Past:
    if previous is None:
        return Past()
    rules = previous.directory / saved_names(previous)["tmpfiles"]
    text = rules.read_text(errors="replace") if rules.is_file() else ""
    return Past(previous.read_info().values.get("UUID"), text)


def _overlay(context: Context, generation: Generation, config: RuntimeConfig, lowers: Sequence[Path]) -> OverlayMount:
    return OverlayMount(
        description=f"Root of {generation}",
        where=generation.rootfs,
        lower=lowers,
        storage=context.settings.storage,
        upper=generation.directory / "upper" if config.writable else None,
        work=generation.directory / "work" if config.writable else None,
        after=(ROOTS_SERVICE,),
        options=HARDENING,
    )


def _drop_in(generation: Generation, request: GenerationRequest, service: str) -> str:
    fields = (
        ("SYSCONTAINERS_NAME", request.name),
        ("SYSCONTAINERS_GENERATION", str(generation.number)),
        ("SYSCONTAINERS_IMAGE", request.reference),
        ("SYSCONTAINERS_DIGEST", request.image.digest),
    )
    bound = bind_generation(
        service,
        root=request.rootfs or generation.rootfs,
        bundle=generation.directory,
        delete_command=(str(request.runtime.path), "delete", "--force", request.name),
        log_fields=fields,
        systemd=installed_version(),
        after=BOOT_SERVICES,
    )
    return bound.to_unit().to_text()


def _check_texts(units: Mapping[str, str], rules: str | None) -> None:
    """Ask systemd itself whether it will take them. Raises UsageError with its complaints."""
    fatal = [str(finding) for finding in verify.verify_texts(units) if finding.fatal]
    if fatal:
        raise UsageError("systemd would not load the unit", "the template or a value has to be mended", fatal)
    problems = tmpfiles.check_rules(rules) if rules else ()
    if problems:
        raise UsageError("systemd-tmpfiles would not take the rules", "the template has to be mended", problems)


def _make_info(
    context: Context, request: GenerationRequest, composition: Composition, mount_unit: str, host_files: HostFiles
) -> Info:
    values = composition.values
    return Info(
        image=request.reference,
        digest=request.image.digest,
        image_id=request.image.id,
        layers=() if request.rootfs else tuple(layer.id for layer in context.store.chain(request.image)),
        storage=str(context.settings.storage),
        created=time.time(),
        values=values.texts(),
        user_values=values.user_texts(),
        origins=values.origins(),
        secrets=tuple(name for name, parameter in values.parameters.items() if parameter.secret),
        runtime=str(request.runtime.path),
        has_service=composition.has_service,
        detached=composition.detached,
        writable=composition.config.writable if composition.config else False,
        mount_unit=mount_unit,
        remote=str(request.rootfs or ""),
        health=composition.health,
        host_files={path: fingerprint(content) for path, content in host_files.items()},
        notices=(*composition.notices, *request.runtime.notices),
    )


def _contents(generation: Generation, composition: Composition, units: tuple[str, ...]) -> dict[str, bytes]:
    names = saved_names(generation)
    texts = dict(zip((names["unit"], names["drop-in"], names["mount"]), units, strict=False))
    texts[startscript.FILE_NAME] = startscript.SCRIPT
    if readiness.is_told_when_ready(units[0], generation.directory):
        texts[readiness.FILE_NAME] = readiness.SCRIPT
    if composition.config is not None:
        texts["config.json"] = composition.config.to_text()
    if composition.tmpfiles is not None:
        texts[names["tmpfiles"]] = composition.tmpfiles
    return {name: text.encode() for name, text in texts.items()}
