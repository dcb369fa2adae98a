"""``NAME.service.d/50-syscontainers.conf``: what ties a service to its generation, whatever its template says.

The template of an image decides how the service looks; these settings are ours, so they stand in a drop-in, which
wins over the unit (systemd.unit(5)) and leaves the image's own text readable. Reasons, each seen with runc 1.1.5
and crun 1.8.1 under systemd 252 (tests/machine/test_manager.py):

* ``RequiresMountsFor=`` the root: pulls in our mount unit and orders it (see ``mountunit``).
* ``Delegate=yes``: the payload lives one level below the unit's own control group and systemd must not move it
  (https://systemd.io/CGROUP_DELEGATION, "three different tree setups"). With it ``OOMPolicy=`` silently becomes
  ``continue`` (systemd.service(5)), hence that is written out.
* ``DelegateSubgroup=`` where systemd knows it: the runtime starts in a group of its own, and no shell has to move there
  (see ``startscript``, which says why it must). Older versions would warn of it at each reload.
* forced delete before, where the unit does not start by our script, which does it too (see ``startscript``).
* forced delete after: ``KillMode=mixed`` ends the payload, but only the runtime's own delete runs the poststop hooks
  and removes its state below /run. ``ExecStopPost=`` runs however the service ended, also after timeouts.
* ``UnsetEnvironment=NOTIFY_SOCKET`` unless the service notifies: with the variable set ``runc run --detach`` waits
  for ever for a READY=1 that never comes (opencontainers/runc#1308); conmon does the same.
* ``NotifyAccess=main`` for a payload that notifies past a runtime that leaves (see ``readiness``).
* ``ExecStartPost=`` for runtimes that leave a helper for a moment (see ``detached``).
* ``LogExtraFields=``: each journal line says which image and generation wrote it.

What no setting cures in systemd 252: a payload that fails at once may be dead when its PID file is read. Mostly that
is a failed start (``protocol``); rarely, when the runtime has not quite left the group, systemd waits for another PID
file until TimeoutStartSec= is over. So a unit whose runtime only has to start something should keep that short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .detached import settle_command
from .readiness import is_told_when_ready
from .startscript import GROUP, clears
from .unitfile import UnitFile, make_unit, parse, quote_command, quote_path, quote_word, service_notifies

FILE_NAME = "50-syscontainers.conf"
_KNOWS_SUBGROUPS = 254


@dataclass(frozen=True)
class DropIn:
    """The binding of a service to one generation. Empty parts leave their settings out."""

    mounts: Sequence[Path] = ()
    """Paths whose mount units the service needs: the root, the storage, volumes."""
    clear_command: Sequence[str] = ()
    """The runtime's forced delete before the start: ``/usr/sbin/runc delete --force NAME``."""
    delete_command: Sequence[str] = ()
    """The same after the end."""
    settle_command: Sequence[str] = ()
    """What waits until the payload is systemd's own child."""
    log_fields: Sequence[tuple[str, str]] = ()
    """Journal fields, upper-case names, for instance ``SYSCONTAINERS_GENERATION``."""
    oom_policy: str = ""
    hide_notify_socket: bool = False
    notify_access: str = ""
    delegate: bool = True
    subgroup: str = ""
    """Below the unit's control group, where the start's processes are."""
    after: Sequence[str] = ()
    """Units that must have started before, if they are started at all."""
    extra: Sequence[tuple[str, str, str]] = field(default=())
    """Further (section, key, value), already escaped."""

    def to_unit(self) -> UnitFile:
        """The drop-in. Raises UnitSyntaxError for parts that cannot stand in a unit."""
        unit = [("RequiresMountsFor", quote_path(path)) for path in self.mounts]
        unit += [("After", name) for name in self.after]
        extra = {section: [(k, v) for s, k, v in self.extra if s == section] for section, _, _ in self.extra}
        return make_unit(
            ("Unit", [*unit, *extra.pop("Unit", [])]),
            ("Service", [*self._service(), *extra.pop("Service", [])]),
            *extra.items(),
        )

    def _service(self) -> list[tuple[str, str]]:
        settings = [("Delegate", "yes")] if self.delegate else []
        if self.subgroup:
            settings.append(("DelegateSubgroup", self.subgroup))
        if self.oom_policy:
            settings.append(("OOMPolicy", self.oom_policy))
        if self.hide_notify_socket:
            settings.append(("UnsetEnvironment", "NOTIFY_SOCKET"))
        if self.notify_access:
            settings.append(("NotifyAccess", self.notify_access))
        if self.clear_command:
            settings.append(("ExecStartPre", "-" + quote_command(self.clear_command)))
        if self.delete_command:
            settings.append(("ExecStopPost", "-" + quote_command(self.delete_command)))
        if self.settle_command:
            settings.append(("ExecStartPost", quote_command(self.settle_command)))
        return settings + [("LogExtraFields", quote_word(f"{name}={value}")) for name, value in self.log_fields]


def bind_generation(
    service_text: str,
    *,
    root: Path,
    delete_command: Sequence[str],
    log_fields: Sequence[tuple[str, str]],
    systemd: int,
    bundle: Path | None = None,
    mounts: Sequence[Path] = (),
    after: Sequence[str] = (),
) -> DropIn:
    """The drop-in for a service with the given unit text, completing only what the text leaves open.

    ``bundle`` is the directory of the config, unless ``root`` lies in it; ``systemd`` the version that will read this.
    """
    service = parse(service_text)
    directory = bundle or root.parent
    start = " ".join(service.get_all("Service", "ExecStart"))
    notifies = service_notifies(service)
    return DropIn(
        mounts=(root, *mounts),
        clear_command=() if clears(start, directory) else delete_command,
        delete_command=() if _deletes(service, delete_command) else delete_command,
        settle_command=settle_command(service, directory),
        log_fields=log_fields,
        oom_policy="" if service.get("Service", "OOMPolicy") else "stop",
        hide_notify_socket=not notifies,
        subgroup="" if systemd < _KNOWS_SUBGROUPS or service.get("Service", "DelegateSubgroup") else GROUP,
        notify_access="main" if notifies and is_told_when_ready(start, directory) else "",
        after=after,
    )


def _deletes(service: UnitFile, command: Sequence[str]) -> bool:
    commands = {text.lstrip("-") for text in service.get_all("Service", "ExecStopPost")}
    return bool(command) and quote_command(command) in commands
