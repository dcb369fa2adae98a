"""What a container should be and what it is, in one form, so that the difference is a diff and a list of steps."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..containers.context import Context
from ..containers.generation import container_names, current_generation
from ..containers.names import service_unit
from ..containers.rejection import Attempt
from ..containers.runtime import find_runtime
from ..systemd.manager import Manager
from .binding import binding_text, read_binding
from .declaration import NEVER, Declaration

UNKNOWN = "(not on this host yet)"
STATIC = ("static", "indirect")
"""The states of unit files that nothing can enable: they have no [Install] section, or none of their own."""


@dataclass(frozen=True)
class State:
    """What ``apply`` cares about in one container."""

    image: str
    digest: str
    """Of the manifest for this host; ``UNKNOWN`` where that takes a registry to tell."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What the user set."""
    runtime: str = ""
    starts: bool = True
    """Whether boot starts it."""
    runs: bool = True
    binding: str = ""
    """The drop-in of the declaration."""
    known_as: tuple[str, ...] = ()
    """Further digests of the same image: an index may name it by several manifests, compressed in several ways."""
    has_service: bool = True
    can_switch: bool = True
    """Whether it can be enabled and disabled."""

    def lines(self) -> list[str]:
        """The state as text, for comparing."""
        facts = {"image": self.image, "digest": self.digest, "runtime": self.runtime or "(default)"}
        facts |= {f"set {key}": value for key, value in sorted(self.values.items())}
        facts |= {
            "at boot": "started" if self.starts else "not started",
            "now": "runs" if self.runs else "does not run",
        }
        return [*(f"{key}: {value}" for key, value in facts.items()), *self.binding.splitlines()]


@dataclass(frozen=True)
class Step:
    """What has to be done about one container; ``present`` is None where it is not installed."""

    declaration: Declaration
    present: State | None
    wanted: State

    @property
    def installs(self) -> bool:
        """It is not there."""
        return self.present is None

    @property
    def updates(self) -> bool:
        """Another generation is needed."""
        if self.present is None:
            return False
        old, new = self.present, self.wanted
        same_image = old.image == new.image and new.digest in (old.digest, *old.known_as)
        return not same_image or (old.values, old.runtime) != (new.values, new.runtime)

    @property
    def binds(self) -> bool:
        """Its drop-in has to be written."""
        return self.present is None or self.present.binding != self.wanted.binding

    @property
    def switches(self) -> bool:
        """It has to be enabled or disabled."""
        return self.present is not None and self.present.starts != self.wanted.starts

    @property
    def starts(self) -> bool:
        """It does not run and should."""
        return self.wanted.runs and (self.present is None or not self.present.runs)

    @property
    def attempt(self) -> Attempt:
        """What an update would try."""
        return Attempt(self.wanted.image, self.wanted.digest, self.wanted.runtime, dict(self.wanted.values))

    def without_update(self) -> Step:
        """The same, but that the generation stays."""
        if self.present is None:
            return self
        old = self.present
        kept = replace(self.wanted, image=old.image, digest=old.digest, runtime=old.runtime, values=old.values)
        return replace(self, wanted=kept)

    @property
    def is_nothing(self) -> bool:
        """All is as it should be."""
        return not (self.installs or self.updates or self.binds or self.switches or self.starts)

    def diff(self) -> list[str]:
        """From what is to what should be; nothing where nothing has to be done."""
        if self.is_nothing:
            return []
        before = [] if self.present is None else self.present.lines()
        old = "/dev/null" if self.present is None else f"present/{self.declaration.name}"
        new = f"declared/{self.declaration.name}"
        return list(difflib.unified_diff(before, self.wanted.lines(), old, new, lineterm=""))


def read_state(context: Context, manager: Manager, name: str) -> State | None:
    """What a container is; None if it is not installed. Raises SyscontainersError for a damaged one."""
    if name not in container_names(context):
        return None
    info = current_generation(context, name).read_info()
    status, unit_file = manager.status(service_unit(name)), manager.unit_file_state(service_unit(name))
    image = context.store.find_image(info.image_id) if info.image_id else None
    return State(
        image=info.image,
        digest=info.digest,
        values=dict(info.user_values),
        runtime=info.runtime,
        starts=unit_file == "enabled",
        runs=status.is_running,
        binding=read_binding(context, name),
        known_as=image.digests if image is not None else (),
        has_service=info.has_service,
        can_switch=info.has_service and unit_file not in STATIC,
    )


def make_step(declaration: Declaration, digest: str, present: State | None) -> Step:
    """Compare; ``digest`` is what the image's name means on this host. Raises SyscontainersError for the runtime."""
    wanted = State(
        image=str(declaration.image),
        digest=digest,
        values=declaration.values,
        runtime=str(find_runtime(declaration.runtime).path) if declaration.runtime else "",
        starts=declaration.start,
        runs=declaration.start,
        binding=binding_text(declaration),
    )
    return Step(declaration, present, wanted if present is None else _fit(wanted, present, declaration))


def _fit(wanted: State, present: State, declaration: Declaration) -> State:
    """Leave out of the wish what it does not speak about."""
    if declaration.update == NEVER and wanted.image == present.image:
        wanted = replace(wanted, digest=present.digest)
    if declaration.runtime is None:
        wanted = replace(wanted, runtime=present.runtime)
    if not declaration.start:
        wanted = replace(wanted, runs=present.runs)  # who started it by hand wants it to run
    if not present.has_service:
        wanted = replace(wanted, runs=present.runs)
    if not present.can_switch:
        wanted = replace(wanted, starts=present.starts)
    return wanted
