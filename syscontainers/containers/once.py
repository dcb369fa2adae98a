"""Running an image, or a stopped container's image, once: in the foreground, outside systemd, leaving nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SyscontainersError, UsageError
from ..exports.compose import Composition, Once, compose_once
from ..exports.contract import read_exports
from ..exports.host import Host
from ..exports.repair import is_bind
from ..exports.values import Target
from ..files import make_directories, read_bounded
from ..images.config import ImageConfig
from ..images.reference import Reference
from ..run import replace_process
from ..storage.images import Image
from ..storage.mounts import open_tree
from ..systemd import tmpfiles
from ..systemd.manager import Manager, connect
from ..typed import Document
from .bundle import Bundle, mount_root, temporary_bundle, write_bundle
from .context import Context
from .control import start
from .execute import exec_command
from .foreground import run_bundle
from .generation import Generation, current_generation, write_points
from .holds import kept_image
from .names import check_name, service_unit
from .obtain import SourceOptions, obtain_image
from .roots import lower_directories
from .runtime import Runtime, find_runtime

_LABEL, _ONCE = "atomic.run", "once"
_CONFIG_LIMIT = 16 << 20
_VOLATILE = ("/run/", "/var/run/")


@dataclass(frozen=True)
class ImageRun:
    """An image is to be run once."""

    reference: Reference
    name: str = ""
    """What the templates know it as; by default the image's last part."""
    command: tuple[str, ...] = ()
    """In place of the image's whole command; nothing runs that."""
    user_values: Mapping[str, str] = field(default_factory=dict)
    source: SourceOptions = field(default_factory=SourceOptions)
    runtime: str | None = None
    terminal: bool = False


@dataclass(frozen=True)
class ContainerRun:
    """A command is to be run in an installed container, or aside of it if that is stopped."""

    name: str
    command: tuple[str, ...] = ()
    """Without one the container is started."""
    terminal: bool = False
    detach: bool = False


def is_run_once(context: Context, image: Image) -> bool:
    """Whether the image says that installing it means running it and forgetting it."""
    return _read_config(context, image).labels.get(_LABEL) == _ONCE


def run_image(context: Context, request: ImageRun) -> int:
    """Pull the image if it is missing, run it to its end and clear up; returns its exit status.

    Raises what obtaining, rendering and starting it raise.
    """
    name = check_name(request.name or request.reference.container_name)
    runtime = find_runtime(request.runtime or request.user_values.get("RUNTIME") or context.settings.runtime)
    kept = kept_image(context, lambda: obtain_image(context, request.reference, request.source))
    with kept as image, connect() as manager, temporary_bundle(context, manager, name) as bundle:
        composition = _compose(context, request, image, bundle, runtime, name)
        for notice in composition.notices:
            context.progress.say(f"{name}: {notice}")
        _furnish(context, bundle, image, runtime, composition)
        return run_bundle(manager, bundle, runtime.path, f"{request.reference}, run once")


def run_container(context: Context, request: ContainerRun) -> int:
    """Start it, or run a command in it; returns the exit status.

    In a running one this process becomes the runtime's exec. Beside a stopped one the command gets the same root and
    config and, where that can be written, a throw-away copy. Raises NotFoundError, UsageError and what starting raises.
    """
    generation = current_generation(context, request.name)
    if not request.command:
        start(context, [request.name])
        return 0
    with connect() as manager:
        if manager.status(service_unit(request.name)).active_state not in ("active", "reloading"):
            return _run_aside(context, manager, generation, request)
    words = exec_command(context, request.name, request.command, terminal=request.terminal, detach=request.detach)
    return replace_process(words)


def _compose(
    context: Context, request: ImageRun, image: Image, bundle: Bundle, runtime: Runtime, name: str
) -> Composition:
    target = Target(
        name=name,
        directory=bundle.directory,
        image_name=str(request.reference),
        image_id=image.digest.removeprefix("sha256:"),
        runtime=runtime.path,
        host=context.settings.host,
    )
    once = Once(bundle.cgroup, request.command, request.terminal)
    with open_tree(context.store.lower_directories(image)) as tree:
        exports = read_exports(tree)
        config = _read_config(context, image)
        return compose_once(target, exports, config, tree, request.user_values, Host.look(), once)


def _read_config(context: Context, image: Image) -> ImageConfig:
    return ImageConfig.parse(context.store.read_config(image), f"{image.id[:12]}: config")


def _furnish(context: Context, bundle: Bundle, image: Image, runtime: Runtime, composition: Composition) -> None:
    """Everything that has to be there before it runs, noted before it is."""
    config = composition.config
    if config is None:
        raise SyscontainersError("the image has nothing to run")
    layers = [layer.id for layer in context.store.chain(image)]
    write_bundle(bundle, config.to_text(), composition.tmpfiles, runtime.path, layers)
    points = bundle.directory / "points"
    write_points(points, config.mount_points)
    lowers = context.store.lower_directories(image)
    mount_root(bundle, [*([points] if config.mount_points else []), *lowers], writable=config.writable)
    tmpfiles.create(bundle.rules)


def _run_aside(context: Context, manager: Manager, generation: Generation, request: ContainerRun) -> int:
    """Run a command beside a stopped container, as it would run in it."""
    info = generation.read_info()
    hint = f"syscontainer start {request.name}"
    if not info.has_service:
        raise UsageError(f"{request.name} has nothing to run: it only brings files for the host")
    if request.detach:
        raise UsageError(f"{request.name} is not running: nothing would look after a detached command", hint)
    with temporary_bundle(context, manager, request.name) as bundle:
        config = _adapt_config(generation, bundle, request)
        write_bundle(bundle, json.dumps(config, indent=4), None, Path(info.runtime), info.layers)
        if not info.remote:
            mount_root(bundle, lower_directories(context, generation), writable=info.writable)
        tmpfiles.create(context.tmpfiles_file(request.name))
        _make_volatile_sources(config)
        return run_bundle(manager, bundle, Path(info.runtime), f"A command beside {generation}")


def _adapt_config(generation: Generation, bundle: Bundle, request: ContainerRun) -> dict[str, Any]:
    path = generation.directory / "config.json"
    config = Document.parse(read_bounded(path, _CONFIG_LIMIT), str(path))
    config.get_object("process").raw().update(args=list(request.command), terminal=request.terminal)
    config.get_object("linux").raw()["cgroupsPath"] = f"{bundle.cgroup}/payload"
    return config.raw()


def _make_volatile_sources(config: Mapping[str, Any]) -> None:
    """Directories below /run are made by whoever comes first after a boot, which may be us."""
    for mount in config.get("mounts", []):
        source = mount.get("source", "")
        if is_bind(mount.get("type"), mount.get("options", [])) and source.startswith(_VOLATILE):
            make_directories(Path(source))
