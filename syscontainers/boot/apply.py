"""Making this host have the containers that it should have."""

from __future__ import annotations

import contextlib
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
from ..containers.trial import Trial, begin_trial
from ..containers.uninstall import uninstall
from ..containers.update import UpdateRequest, update
from ..errors import SyscontainersError, UsageError, from_os_error
from ..exports.parameters import ParameterError
from ..storage.images import Image
from ..systemd.manager import Manager, connect
from .binding import check_bindings, declared_names, write_binding
from .declaration import ALWAYS, Declaration, make_declarations
from .desired import UNKNOWN, Step, make_step, read_state
from .fragments import read_declared, read_paths
from .lockfile import read_lock
from .order import sort_by_needs
from .places import Places
from .resolve import NotHereError, Sources, ask_digest, fetch_image, find_digest
from .seeds import read_seeds
from .stamp import take_stamp, write_stamp

FETCH_UNIT = "syscontainers-fetch.service"


@dataclass(frozen=True)
class ApplyRequest:
    """What was asked for."""

    paths: tuple[Path, ...] = ()
    """Files and directories to take in place of this host's own."""
    prune: bool = False
    """Uninstall what ``apply`` once installed and nobody declares any more."""
    source: SourceOptions = field(default_factory=SourceOptions)


@dataclass
class Report:
    """What became of each container, in the order in which it happened."""

    done: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, SyscontainersError] = field(default_factory=dict)
    missing: dict[str, NotHereError] = field(default_factory=dict)
    """Those whose images have to be fetched once there is a network."""

    bound: bool = False
    """Whether a drop-in was written, which PID 1 has to read before anything starts."""

    def note(self, name: str, what: str) -> None:
        """Something was done to a container."""
        self.done.setdefault(name, []).append(what)

    @contextlib.contextmanager
    def catch(self, name: str) -> Iterator[None]:
        """Note what goes wrong with a container, and go on."""
        try:
            yield
        except NotHereError as error:
            self.missing[name] = error
        except SyscontainersError as error:
            self.failed[name] = error
        except OSError as error:
            self.failed[name] = from_os_error(error)

    @property
    def is_complete(self) -> bool:
        """Everything is as declared now."""
        return not self.failed and not self.missing


def apply(context: Context, places: Places, request: ApplyRequest) -> Report:
    """Install, update, re-value, bind, enable and start what is declared; one failure does not stop the rest.

    Raises UsageError, before anything was changed, for declarations that make no sense.
    """
    report = Report()
    with host_lock(context, "apply"):  # the second one then finds nothing left to do
        listing = take_stamp()
        declarations = read_wishes(context, places, request)
        sources = find_sources(context, places, request)
        with connect() as manager:
            for declaration in declarations:
                _apply_one(context, manager, sources, declaration, report)
            if request.prune:
                _prune(context, declarations, report)
            if report.bound:
                manager.reload()
            _start_all(context, manager, declarations, report)
            if report.missing and context.early:
                manager.queue_start(FETCH_UNIT)
        if report.is_complete and not request.paths:
            write_stamp(places.stamp, listing)
    return report


def check(context: Context, places: Places, request: ApplyRequest) -> list[str]:
    """What ``apply`` would change, as a diff; empty for nothing. Raises UsageError, and what registries raise."""
    declarations = read_wishes(context, places, request)
    sources = find_sources(context, places, request)
    lines: list[str] = []
    with connect() as manager:
        for declaration in declarations:
            digest = _expect_digest(context, sources, declaration)
            lines += make_step(declaration, digest, read_state(context, manager, declaration.name)).diff()
    for name in _strays(context, declarations) if request.prune else ():
        lines += [f"--- present/{name}", "+++ /dev/null"]
    return lines


def _expect_digest(context: Context, sources: Sources, declaration: Declaration) -> str:
    """What ``apply`` would find the image to be. A registry is asked only where ``apply`` always asks it."""
    digest = find_digest(context, sources, declaration)
    if digest is None and declaration.update == ALWAYS:
        return ask_digest(context, declaration.image, sources.options)
    return digest or UNKNOWN


def read_wishes(context: Context, places: Places, request: ApplyRequest) -> list[Declaration]:
    """The declarations in the order of their needs, each checked. Raises UsageError."""
    if request.paths and request.prune:
        raise UsageError("--prune goes with all declarations of this host, not with some", "leave the paths away")
    declared = read_paths(request.paths) if request.paths else read_declared(places.declarations)
    declarations = sort_by_needs(make_declarations(declared), container_names(context))
    check_bindings(context, declarations)
    return declarations


def find_sources(context: Context, places: Places, request: ApplyRequest) -> Sources:
    """Where images may come from; before the network is up, only from this host. Raises UsageError."""
    seeds = tuple(read_seeds(context, places.seeds))
    return Sources(read_lock(places.locks), seeds, request.source, online=not context.early)


def _apply_one(context: Context, manager: Manager, sources: Sources, declaration: Declaration, report: Report) -> None:
    """Bring one container to its declaration, but for starting it."""
    name = declaration.name
    with report.catch(name):
        image = fetch_image(context, sources, declaration)
        step = make_step(declaration, image.digest, read_state(context, manager, name))
        report.bound |= step.binds
        try:
            for what in _carry_out(context, step, image):
                report.note(name, what)
        except ParameterError as error:
            if error.parameter not in declaration.values:
                raise  # a default of the image's own
            raise declaration.refuse(("values", error.parameter), error.problem) from None


def _carry_out(context: Context, step: Step, image: Image) -> Iterator[str]:
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
        update(context, _update_request(step))
        _try_at_boot(context, declaration, before.number)
        yield f"now at {current_generation(context, declaration.name)}"
    if step.switches and step.wanted.starts:
        control.enable(context, [declaration.name])
        yield "enabled"
    elif step.switches:
        control.disable(context, [declaration.name])
        yield "disabled"


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


def _strays(context: Context, declarations: Sequence[Declaration]) -> list[str]:
    wanted = {declaration.name for declaration in declarations}
    return [name for name in declared_names(context) if name not in wanted]


def _prune(context: Context, declarations: Sequence[Declaration], report: Report) -> None:
    for name in _strays(context, declarations):
        with report.catch(name):
            uninstall(context, name)
            report.note(name, "uninstalled")


def _start_all(context: Context, manager: Manager, declarations: Sequence[Declaration], report: Report) -> None:
    """Start what should run and does not; what needs one that failed is left alone."""
    for declaration in declarations:
        name = declaration.name
        if name in report.failed or name in report.missing or not declaration.start:
            continue
        broken = [need for need in declaration.requires if need in report.failed or need in report.missing]
        if broken:
            report.failed[name] = SyscontainersError(f"{name}: not started, because it requires {', '.join(broken)}")
            continue
        with report.catch(name):
            if _start_one(context, manager, name):
                report.note(name, "queued to start" if context.early else "started")


def _start_one(context: Context, manager: Manager, name: str) -> bool:
    generation = current_generation(context, name)
    if not generation.read_info().has_service or manager.status(service_unit(name)).is_running:
        return False
    if not context.early:
        control.start(context, [name])
        return True
    manager.queue_start(service_unit(name))
    return True
