"""Installing a container: its first generation, and the switch to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import SyscontainersError, UsageError
from ..images.reference import Reference
from ..storage.images import Image
from ..systemd.manager import Manager, connect
from ..systemd.unitstatus import UnitStatus
from .context import Context
from .generation import current_generation, next_number
from .journal import Switch
from .names import check_name, service_unit
from .obtain import SourceOptions, image_on_approval, obtain_image
from .once import ImageRun, is_run_once, run_image
from .plan import GenerationRequest, Plan, plan_generation
from .publish import publishing_changes
from .roots import find_root
from .runtime import Runtime, find_runtime
from .starting import start_one
from .transaction import carry_out, changing

# systemd.unit(5), "Unit File Load Path": what packages bring; a file in /etc comes before it.
_VENDOR_UNITS = ("/usr/lib/systemd/", "/lib/systemd/", "/usr/local/lib/systemd/")


class AlreadyInstalledError(SyscontainersError):
    """A container of that name is installed, from another image or with other values."""


@dataclass(frozen=True)
class InstallRequest:
    """What was asked for."""

    reference: Reference
    name: str
    user_values: Mapping[str, str]
    source: SourceOptions = field(default_factory=SourceOptions)
    now: bool = False
    enable: bool = True
    dry_run: bool = False
    runtime: str | None = None
    shadow: bool = False
    """Whether it may stand in for a unit of the OS with its name, one that is neither enabled nor running."""
    rootfs: Path | None = None
    """A directory that is the root, or holds it as ``rootfs``, in place of the image's layers."""
    may_run: bool = True
    """Whether an image that says so may be run once; else it is refused."""
    terminal: bool = False
    """Whether such an image gets our terminal."""


@dataclass(frozen=True)
class Ran:
    """The image was one to run once: it ran, and nothing is installed."""

    exit_status: int


def install(context: Context, request: InstallRequest) -> Plan | Ran | None:
    """Install a container; None when the very same is installed already.

    An image that says so is run once instead. Raises SyscontainersError and its kin; then nothing has changed, an
    image pulled for it included.
    """
    check_name(request.name)
    runtime = find_runtime(request.runtime or request.user_values.get("RUNTIME") or context.settings.runtime)
    if request.dry_run:
        return _plan_only(context, request, runtime)
    with changing(context, request.name, "install") as manager:
        if _is_installed(context, request):
            _start_if_asked(context, manager, request)
            return None
        _check_name_is_free(context, manager, request)
        with image_on_approval(context, request.reference, request.source) as image:
            if is_run_once(context, image):
                return Ran(_run_once(context, request))
            plan = plan_generation(context, _first_generation(context, request, image, runtime))
            _switch_to(context, manager, request, plan)
    return plan


def _run_once(context: Context, request: InstallRequest) -> int:
    if request.now or not request.enable or request.rootfs or not request.may_run:
        raise UsageError(f"{request.reference}: runs once and is not installed", "leave out what is about a service")
    present = replace(request.source, policy="missing")
    run = ImageRun(request.reference, request.name, (), request.user_values, present, request.runtime, request.terminal)
    return run_image(context, run)


def _plan_only(context: Context, request: InstallRequest, runtime: Runtime) -> Plan | None:
    """The plan of a dry run: no lock file, no pull, nothing finished; only what is there is looked at."""
    with connect() as manager:
        if _is_installed(context, request):
            return None
        _check_name_is_free(context, manager, request)
    image = obtain_image(context, request.reference, replace(request.source, policy="never"))
    if is_run_once(context, image):
        raise UsageError(f"{request.reference}: runs once and is not installed", "there is nothing to show in advance")
    return plan_generation(context, _first_generation(context, request, image, runtime))


def _first_generation(context: Context, request: InstallRequest, image: Image, runtime: Runtime) -> GenerationRequest:
    return GenerationRequest(
        name=request.name,
        number=next_number(context, request.name),
        reference=str(request.reference),
        image=image,
        user_values=request.user_values,
        runtime=runtime,
        rootfs=find_root(request.rootfs) if request.rootfs else None,
    )


def _is_installed(context: Context, request: InstallRequest) -> bool:
    """Whether the very container asked for is there. Raises AlreadyInstalledError if another one has its name."""
    if not (context.settings.containers / request.name).is_symlink():
        return False
    info = current_generation(context, request.name).read_info()
    asked = str(request.reference)
    root = str(find_root(request.rootfs)) if request.rootfs else ""
    same_values = all(info.user_values.get(key) == value for key, value in request.user_values.items())
    if info.image == asked and root == info.remote and same_values:
        return True
    what = f"from {info.image}" if info.image != asked else "with other values or another root"
    raise AlreadyInstalledError(
        f"{request.name}: already installed, {what}",
        f"syscontainer update {request.name} changes it; --name installs a second one",
    )


def _start_if_asked(context: Context, manager: Manager, request: InstallRequest) -> None:
    if request.now and manager.status(service_unit(request.name)).active_state != "active":
        start_one(context, manager, request.name, restart=False)


def _check_name_is_free(context: Context, manager: Manager, request: InstallRequest) -> None:
    """Refuse a name under which the host has a unit, rules or a directory that is not ours."""
    name = request.name
    status = manager.status(service_unit(name))
    hint = "choose another with --name"
    if request.shadow and _is_spare(manager, status):
        context.progress.say(f"{name}: stands in for {status.fragment_path}")
    elif status.load_state != "not-found" and not _is_a_memory(status):
        where = status.fragment_path or status.load_state
        raise SyscontainersError(
            f"{name}: the host has a unit {service_unit(name)} already ({where})",
            f"{hint}, or with --shadow stand in for one of the OS that is neither enabled nor running",
        )
    for path in (context.settings.containers / name, context.tmpfiles_file(name)):
        if path.exists() or path.is_symlink():
            raise SyscontainersError(f"{name}: {path} exists already", hint)


def _is_a_memory(status: UnitStatus) -> bool:
    """Whether only PID 1 still knows the unit: its file is gone, and nothing runs of it."""
    gone = bool(status.fragment_path) and not Path(status.fragment_path).exists()
    return gone and status.is_down


def _is_spare(manager: Manager, status: UnitStatus) -> bool:
    """Whether the unit is the OS's own, and nobody wants it to run."""
    vendor = status.fragment_path.startswith(_VENDOR_UNITS)
    unwanted = manager.unit_file_state(status.name) in ("disabled", "static", "indirect")
    return vendor and status.is_down and unwanted


def _switch_to(context: Context, manager: Manager, request: InstallRequest, plan: Plan) -> None:
    for notice in plan.info.notices:
        context.progress.say(f"{request.name}: {notice}")
    switch = Switch(
        name=request.name,
        verb="install",
        old=None,
        new=plan.generation.number,
        changes=publishing_changes(context, plan.generation, plan.contents),
        makes_new=True,
        start=request.now and plan.info.has_service,
        enable=request.enable and plan.info.has_service,
    )
    carry_out(context, manager, switch, plan)
