"""Bringing a container to a new generation: a new image, other values, or both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import NotFoundError, SyscontainersError, from_os_error
from ..images.reference import Reference
from ..storage.images import Image
from ..systemd.manager import Manager
from .context import Context
from .enablement import refuse_masked
from .generation import Generation, container_names, current_generation, next_number
from .holds import kept_image
from .info import Info
from .journal import Switch
from .names import service_unit
from .obtain import SourceOptions, obtain_image
from .plan import GenerationRequest, Plan, plan_generation
from .publish import edits_to_keep, is_published, publishing_changes, tell_edits
from .retention import generations_to_drop
from .runtime import find_runtime
from .texts import plain_texts, read_contents
from .transaction import carry_out, changing
from .trial import Trial, trial_changes

# DESTDIR and what is made from it hold the generation's number, so they always differ
NUMBERED = frozenset({"DESTDIR", "EXEC_START", "EXEC_STOP", "EXEC_STARTPRE", "EXEC_STOPPOST"})


@dataclass(frozen=True)
class UpdateRequest:
    """What was asked for; what is not named stays as it is."""

    name: str
    reference: Reference | None = None
    """The image to go to; None takes the recorded reference anew."""
    source: SourceOptions = field(default_factory=SourceOptions)
    set_values: Mapping[str, str] = field(default_factory=dict)
    unset: Sequence[str] = ()
    runtime: str | None = None
    dry_run: bool = False


def update(context: Context, request: UpdateRequest) -> Plan | None:
    """Make a new generation and switch to it; None when it would equal the current one.

    The service is restarted only if it ran, and the old generation runs again if the new one does not become
    healthy. Raises UnhealthyError, RolledBackError, NotFoundError, UnitMaskedError and everything that planning raises.
    """
    current_generation(context, request.name)
    if request.dry_run:  # not even an image may change
        return plan_update(context, replace(request, source=replace(request.source, policy="never")))
    with changing(context, request.name, "update") as manager:
        refuse_masked(manager, request.name)
        context = _at_its_storage(context, request)
        with _image_for(context, request) as image:
            plan = _plan(context, request, image)
            if plan is not None:
                _switch_to(context, manager, current_generation(context, request.name), plan)
    return plan


@dataclass(frozen=True)
class Outcome:
    """What became of one container's update."""

    name: str
    before: str
    """The digest of the image it was at; empty where its record cannot be read."""
    after: str
    plan: Plan | None = None
    """The generation that was made; None with nothing to do or an error."""
    error: SyscontainersError | None = None

    @property
    def status(self) -> str:
        """``updated``, ``unchanged`` or ``failed``; after a failure the container is as before."""
        if self.error is not None:
            return "failed"
        return "unchanged" if self.plan is None else "updated"

    def to_json(self) -> dict[str, object]:
        """For ``update --json``; its keys are a contract."""
        return {
            "name": self.name,
            "status": self.status,
            "before": self.before or None,
            "after": self.after or None,
            "generation": self.plan.generation.number if self.plan else None,
            "error": self.error.message if self.error else None,
            "exit_code": self.error.exit_code if self.error else 0,
        }


def update_all(context: Context, source: SourceOptions) -> Iterator[Outcome]:
    """Update every container from its recorded reference; the failure of one does not stop the rest."""
    for name in container_names(context):
        yield try_update(context, UpdateRequest(name, source=source))


def try_update(context: Context, request: UpdateRequest) -> Outcome:
    """As ``update``, with its errors as part of the outcome."""
    before = _digest_of(context, request.name)
    try:
        plan = update(context, request)
    except SyscontainersError as error:
        return Outcome(request.name, before, _digest_of(context, request.name), error=error)
    except OSError as error:
        return Outcome(request.name, before, _digest_of(context, request.name), error=from_os_error(error))
    return Outcome(request.name, before, _digest_of(context, request.name), plan)


def _digest_of(context: Context, name: str) -> str:
    try:
        return current_generation(context, name).read_info().digest
    except SyscontainersError:
        return ""  # broken: updating it says how


def plan_update(context: Context, request: UpdateRequest) -> Plan | None:
    """The generation that ``update`` would make; None when it would equal the current one."""
    context = _at_its_storage(context, request)
    return _plan(context, request, _find_image(context, request))


def _at_its_storage(context: Context, request: UpdateRequest) -> Context:
    return context.at_storage_of(current_generation(context, request.name).read_info())


def _image_for(context: Context, request: UpdateRequest) -> AbstractContextManager[Image]:
    return kept_image(context, lambda: _find_image(context, request))


def _plan(context: Context, request: UpdateRequest, image: Image) -> Plan | None:
    current = current_generation(context, request.name)
    info = current.read_info()
    plan = plan_generation(context, _next_generation(context, request, current, info, image))
    return None if is_published(context, current) and _is_same(current, info, plan) else plan


def _is_same(current: Generation, info: Info, plan: Plan) -> bool:
    """Whether the new generation would be the current one once more.

    Its files count too: they differ with a newer template of ours, after a change of the host, and in a root that
    somebody else made.
    """
    if _essence(info) != _essence(plan.info):
        return False
    return plain_texts(current, read_contents(current)) == plain_texts(plan.generation, plan.contents)


def _essence(info: Info) -> tuple[object, ...]:
    values = {key: value for key, value in info.values.items() if key not in NUMBERED}
    return info.image, info.digest, info.runtime, values, dict(info.user_values), info.health


def _next_generation(
    context: Context, request: UpdateRequest, current: Generation, info: Info, image: Image
) -> GenerationRequest:
    kept = {key: value for key, value in info.user_values.items() if key not in request.unset}
    user_values = {**kept, **request.set_values}
    return GenerationRequest(
        name=request.name,
        number=next_number(context, request.name),
        reference=str(request.reference or info.image),
        image=image,
        user_values=user_values,
        runtime=find_runtime(request.runtime or user_values.get("RUNTIME") or info.runtime),
        rootfs=Path(info.remote) if info.remote else None,
        previous=current,
    )


def _find_image(context: Context, request: UpdateRequest) -> Image:
    """The image to go to; one whose root is elsewhere stays at its image, which says no more than how it is run."""
    info = current_generation(context, request.name).read_info()
    if info.remote and not Path(info.remote).is_dir():
        raise NotFoundError(f"{request.name}: its root {info.remote} is gone", "put it back, or uninstall it")
    if info.remote and request.reference is None:
        context.progress.say(f"{request.name}: its root is {info.remote}, only its configuration can change")
        present = context.store.find_image(info.image_id)
        if present is not None:
            return present
    return obtain_image(context, request.reference or Reference.parse(info.image), request.source)


def _switch_to(context: Context, manager: Manager, current: Generation, plan: Plan) -> None:
    status = manager.settled_status(service_unit(current.name))
    enabled = manager.is_enabled(service_unit(current.name))
    # What cannot be started now proves itself at the next boot, or goes back by itself.
    on_trial = enabled and not status.is_running and plan.info.has_service
    trial = Trial(plan.generation.number, current.number) if on_trial else None
    published = publishing_changes(context, plan.generation, plan.contents)
    edits = edits_to_keep(context, current, plan.generation, published)
    switch = Switch(
        name=current.name,
        verb="update",
        old=current.number,
        new=plan.generation.number,
        changes=(*edits, *published, *trial_changes(context, current.name, trial)),
        was_active=status.is_running,
        was_enabled=enabled,
        makes_new=True,
        start=status.is_running and plan.info.has_service,
        enable=enabled and plan.info.has_service,
        invocation=status.invocation_id,
        stop_first=not plan.info.has_service or plan.info.runtime != current.read_info().runtime,
        remove=generations_to_drop(context, current, plan.generation),
    )
    carry_out(context, manager, switch, plan)
    tell_edits(context, current.name, edits)
