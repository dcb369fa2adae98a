"""Making this host have the containers that it should have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..containers import control
from ..containers.context import Context
from ..containers.generation import container_names, current_generation
from ..containers.install import InstallRequest, install
from ..containers.lock import host_lock
from ..containers.names import service_unit
from ..containers.obtain import SourceOptions
from ..containers.rejection import Rejection, drop_rejection, read_rejection, write_rejection
from ..containers.trial import Trial, begin_trial
from ..containers.update import UpdateRequest, update
from ..errors import RefusedError, SyscontainersError, UnhealthyError, UsageError
from ..exports.parameters import ParameterError
from ..images.platforms import wished_platform
from ..storage.images import Image
from ..systemd.manager import Manager, connect
from .binding import check_bindings, check_needs, read_needs, write_binding
from .declaration import ALWAYS, Declaration, make_declarations
from .desired import STATIC, UNKNOWN, Step, make_step, read_state
from .fragments import read_declared, read_paths
from .lockfile import read_lock
from .order import sort_by_needs
from .places import Places
from .prune import find_strays, prune
from .report import Report
from .resolve import NotHereError, Sources, ask_digest, expect_digest, fetch_image
from .seeds import read_seeds
from .stamp import drop_stamp, take_stamp, write_stamp

FETCH_UNIT = "syscontainers-fetch.service"


@dataclass(frozen=True)
class ApplyRequest:
    """What was asked for."""

    paths: tuple[Path, ...] = ()
    """Files and directories to take in place of this host's own."""
    prune: bool = False
    """Uninstall what ``apply`` once installed and nobody declares any more."""
    retry: bool = False
    """Try also what did not come up when it was tried before."""
    source: SourceOptions = field(default_factory=SourceOptions)


def apply(context: Context, places: Places, request: ApplyRequest) -> Report:
    """Install, update, re-value, bind, enable and start what is declared; one failure does not stop the rest.

    Raises UsageError, before anything was changed, for declarations that make no sense.
    """
    report = Report()
    with host_lock(context, "apply"), connect() as manager:  # the second one then finds nothing left to do
        listing = take_stamp(seeds=places.seeds)
        declarations = read_wishes(context, places, request)
        sources = find_sources(context, places, request)
        drop_stamp(places.stamp)  # until everything is as declared it would say what is not so
        for declaration in declarations:
            _apply_one(context, manager, sources, request, declaration, report)
        _finish(context, manager, request, declarations, report)
        if report.is_complete and not request.paths:
            with report.catch(str(places.stamp)):
                write_stamp(places.stamp, listing)
    return report


def _finish(
    context: Context, manager: Manager, request: ApplyRequest, declarations: Sequence[Declaration], report: Report
) -> None:
    """What comes after all containers have been looked at; none of it may lose the report about them."""
    if report.bound:
        with report.catch("systemd"):
            manager.reload()
    if request.prune:
        with report.catch("--prune"):
            prune(context, manager, declarations, report)
    _start_all(context, manager, declarations, report)
    if report.missing and context.early:
        with report.catch(FETCH_UNIT):
            manager.queue_start(FETCH_UNIT)


def check(context: Context, places: Places, request: ApplyRequest) -> tuple[list[str], Report]:
    """What ``apply`` would change, as a diff; empty for nothing. The report has what could not be compared.

    Raises UsageError for declarations that make no sense.
    """
    declarations = read_wishes(context, places, request)
    sources = find_sources(context, places, request)
    lines: list[str] = []
    report = Report()
    with connect() as manager:
        for declaration in declarations:
            with report.catch(declaration.name):
                check_needs(context, declaration)
                digest = _expect_digest(context, sources, declaration)
                lines += make_step(declaration, digest, read_state(context, manager, declaration.name)).diff()
        if request.prune:
            with report.catch("--prune"):
                strays, _ = find_strays(context, manager, declarations)
                lines += [line for name in strays for line in (f"--- present/{name}", "+++ /dev/null")]
    return lines, report


def _expect_digest(context: Context, sources: Sources, declaration: Declaration) -> str:
    """What ``apply`` would find the image to be. A registry is asked only where ``apply`` always asks it."""
    digest = expect_digest(context, sources, declaration)
    if digest is None and declaration.update == ALWAYS:
        return ask_digest(context, declaration.image, sources.options)
    return digest or UNKNOWN


def read_wishes(context: Context, places: Places, request: ApplyRequest) -> list[Declaration]:
    """The declarations in the order of their needs, each checked. Raises UsageError."""
    if request.paths and request.prune:
        raise UsageError("--prune goes with all declarations of this host, not with some", "leave the paths away")
    declared = read_paths(request.paths) if request.paths else read_declared(places.declarations)
    installed = {name: read_needs(context, name) for name in container_names(context)}
    declarations = sort_by_needs(make_declarations(declared), installed)
    check_bindings(context, declarations)
    return declarations


def find_sources(context: Context, places: Places, request: ApplyRequest) -> Sources:
    """Where images may come from; before the network is up, only from this host. Raises UsageError."""
    seeds = tuple(read_seeds(context, places.seeds, wished_platform(request.source.platform)))
    return Sources(read_lock(places.locks), seeds, request.source, online=not context.early)


def _apply_one(
    context: Context,
    manager: Manager,
    sources: Sources,
    request: ApplyRequest,
    declaration: Declaration,
    report: Report,
) -> None:
    """Bring one container to its declaration, but for starting it."""
    name = declaration.name
    with report.catch(name):
        check_needs(context, declaration)
        image = _fetch(context, sources, declaration, report)
        if image is None:
            return
        step = make_step(declaration, image.digest, read_state(context, manager, name))
        if not request.retry:
            step = _leave_rejected(context, step, report)
        report.bound |= step.binds
        try:
            for what in _carry_out(context, manager, step, image):
                report.note(name, what)
        except ParameterError as error:
            if error.parameter not in declaration.values:
                raise  # a default of the image's own
            raise declaration.refuse(("values", error.parameter), error.problem) from None


def _fetch(context: Context, sources: Sources, declaration: Declaration, report: Report) -> Image | None:
    """The image, in the storage; None if it could not be had now, which the report then says."""
    try:
        return fetch_image(context, sources, declaration)
    except (RefusedError, UsageError):
        raise  # asking again would not help
    except SyscontainersError as error:
        if not sources.online and not isinstance(error, NotHereError):
            raise
        report.missing[declaration.name] = error
        return None


def _leave_rejected(context: Context, step: Step, report: Report) -> Step:
    """The step without an update to what did not come up when it was last tried: that would stop what is well."""
    name = step.declaration.name
    rejection = read_rejection(context, name)
    if not step.updates:
        drop_rejection(context, name)
    elif rejection is not None and rejection.attempt == step.attempt:
        report.left[name] = UnhealthyError(
            f"{name}: stays as it is, for what is declared did not come up when it was tried: {rejection.reason}",
            "syscontainer apply --retry tries it again",
        )
        return step.without_update()
    return step


def _carry_out(context: Context, manager: Manager, step: Step, image: Image) -> Iterator[str]:
    """Do one step, saying what was done."""
    declaration = step.declaration
    if step.present is not None and step.binds:
        write_binding(context, declaration.name, step.wanted.binding)
        yield "dependencies and limits changed"
    if step.installs:
        install(context, _install_request(declaration))
        write_binding(context, declaration.name, step.wanted.binding)
        _try_at_boot(context, declaration, None)
        yield f"installed from {image.digest}"
    elif step.updates:
        before = current_generation(context, declaration.name)
        _update(context, step)
        _try_at_boot(context, declaration, before.number)
        yield f"now at {current_generation(context, declaration.name)}"
    if step.switches and step.wanted.starts:
        control.enable(context, [declaration.name])
        yield "enabled"
    elif step.switches:
        control.disable(context, [declaration.name])
        yield "disabled"
    if (step.installs or step.updates) and declaration.start:
        yield from _tell_static(manager, declaration.name)


def _update(context: Context, step: Step) -> None:
    name = step.declaration.name
    try:
        # Into the storage in which its image is by now, wherever it was installed
        update(context.using_storage(context.settings.storage), _update_request(step))
    except UnhealthyError as error:
        write_rejection(context, name, Rejection(step.attempt, error.message))
        raise
    drop_rejection(context, name)


def _tell_static(manager: Manager, name: str) -> Iterator[str]:
    if manager.unit_file_state(service_unit(name)) in STATIC:
        yield "not started at boot, for its unit has no [Install] section"


def _try_at_boot(context: Context, declaration: Declaration, previous: int | None) -> None:
    """Before services may start nobody can tell whether the new generation is well."""
    if context.early and declaration.start:
        begin_trial(context, declaration.name, Trial(current_generation(context, declaration.name).number, previous))


# By then the storage has the image under the declared name.
_PRESENT = SourceOptions(policy="never")


def _install_request(declaration: Declaration) -> InstallRequest:
    return InstallRequest(
        reference=declaration.image,
        name=declaration.name,
        user_values=declaration.values,
        source=_PRESENT,
        enable=declaration.start,
        runtime=declaration.runtime,
        may_run=False,
    )


def _update_request(step: Step) -> UpdateRequest:
    declaration = step.declaration
    before = step.present.values if step.present is not None else {}
    return UpdateRequest(
        name=declaration.name,
        reference=declaration.image,
        source=_PRESENT,
        set_values=declaration.values,
        unset=[key for key in before if key not in declaration.values],
        runtime=declaration.runtime,
    )


def _start_all(context: Context, manager: Manager, declarations: Sequence[Declaration], report: Report) -> None:
    """Start what should run and does not; what needs one that failed is left alone."""
    for declaration in declarations:
        name = declaration.name
        if name in report.failed or name in report.missing or not declaration.start:
            continue
        with report.catch(name):
            if not _has_to_start(context, manager, name):
                continue
            broken = [need for need in declaration.requires if _is_broken(context, manager, need, report)]
            if broken:
                raise SyscontainersError(f"{name}: not started, because it requires {', '.join(broken)}")
            _start_one(context, manager, name)
            report.note(name, "queued to start" if context.early else "started")


def _has_to_start(context: Context, manager: Manager, name: str) -> bool:
    if not current_generation(context, name).read_info().has_service:
        return False
    return not manager.status(service_unit(name)).is_running


def _is_broken(context: Context, manager: Manager, name: str, report: Report) -> bool:
    """Whether something went wrong with it and it does not run all the same, from its old generation."""
    if name not in report.failed and name not in report.missing:
        return False
    if context.early:  # nothing runs yet, and boot starts what is there
        return name not in container_names(context)
    return not manager.status(service_unit(name)).is_running


def _start_one(context: Context, manager: Manager, name: str) -> None:
    if context.early:
        manager.queue_start(service_unit(name))
    else:
        control.start(context, [name])
