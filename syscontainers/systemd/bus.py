"""One connection to PID 1: the only module that touches pystemd.

The private socket is used when we are root and it is there: it works before D-Bus exists and when the broker is
down. It is what systemctl itself uses, though not on systemd's list of stable interfaces; the methods spoken over
it are (org.freedesktop.systemd1(5)). Everybody else goes over the system bus.

Sharp edges of pystemd 0.15 that this module keeps from the rest:

* closing twice aborts the process (an assertion in libsystemd), hence ``close`` forgets the connection first;
* signal callbacks are not kept alive by pystemd and must be plain functions, hence ``_on_job_removed``;
* ``call_method`` and ``wait`` hold the interpreter's lock, hence waiting is done with poll(2) on the descriptor;
* signals that arrive during a call lie in sd-bus's queue, not in the kernel's, hence ``process`` before ``poll``;
* known D-Bus errors lose their name, and ``str`` of any of them is not meant for users, hence ``_translate``;
* the method timeout of 25 s is shorter than a daemon-reload on a loaded machine, hence ``SYSTEMD_BUS_TIMEOUT``.

One connection belongs to one thread and does not survive fork(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pystemd.dbusexc import DBusBaseError
from pystemd.dbuslib import DBus, DBusAddress, apply_signature

from ..errors import NotFoundError, SyscontainersError

PRIVATE_SOCKET = Path("/run/systemd/private")
MANAGER_PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"

_DESTINATION = b"org.freedesktop.systemd1"
_CALL_TIMEOUT = "120s"
_REEXEC_SECONDS = 10.0
_END = (-1, None)
_DISCONNECTED = {errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE, errno.ESHUTDOWN, errno.ECONNREFUSED, errno.ECHILD}

# NoReply comes at once if PID 1 leaves in the middle of a call; a call that takes too long is ETIMEDOUT.
_UNANSWERED = {"DBusNoReplyError", "DBusServiceUnknownError", "DBusNameHasNoOwnerError"}


class NoSystemdError(SyscontainersError):
    """Nobody answers who could be systemd."""


class SystemdError(SyscontainersError):
    """PID 1 refused a call; ``name`` is the D-Bus error's name where pystemd keeps it, else empty."""

    def __init__(self, message: str, hint: str = "", name: str = "") -> None:
        super().__init__(message, hint)
        self.name = name


class UnitMaskedError(SystemdError):
    """The unit is masked: a link to /dev/null stands in its place."""


class NoSuchUnitError(NotFoundError):
    """PID 1 knows no unit, or no unit file, of that name."""


class _DisconnectedError(Exception):
    """The connection is gone, or PID 1 from the bus, as it is after a daemon-reexec."""


def decode(value: Any) -> Any:
    """D-Bus strings, which pystemd leaves as bytes, as text, at any depth."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, tuple):
        return tuple(decode(item) for item in value)
    if isinstance(value, dict):
        return {decode(key): decode(item) for key, item in value.items()}
    return value


def _no_systemd() -> NoSystemdError:
    if not Path("/run/systemd/system").is_dir():  # sd_booted(3)
        return NoSystemdError("systemd does not run on this machine", "boot it with systemd as PID 1")
    if os.geteuid() != 0:
        return NoSystemdError("systemd cannot be reached: the system bus does not answer", "run this as root")
    return NoSystemdError(
        f"systemd cannot be reached: neither {PRIVATE_SOCKET} nor the system bus answers", "is PID 1 alive?"
    )


def _is_gone(error: DBusBaseError) -> bool:
    """Whether nobody is there to answer: the socket broke, or the broker says so of the one behind it."""
    return (
        abs(error.errno) in _DISCONNECTED or type(error).__name__ in _UNANSWERED or ".Spawn." in decode(error.err_name)
    )


def _translate(error: DBusBaseError) -> SyscontainersError:
    kind, name = type(error).__name__, decode(error.err_name)
    text = (decode(error.err_message) or os.strerror(abs(error.errno))).rstrip(".")
    if kind in ("DBusNoSuchUnitError", "DBusFileNotFoundError"):
        return NoSuchUnitError(text, "check the name, or reload systemd if its file is new")
    if kind in ("DBusAccessDeniedError", "DBusInteractiveAuthorizationRequiredError"):
        return SystemdError(f"systemd refuses: {text}", "run this as root", name)
    if name.endswith(".UnitMasked"):
        return UnitMaskedError(text, "take the mask away with: systemctl unmask", name)
    if name.endswith((".BadUnitSetting", ".LoadFailed")):
        return SystemdError(text, "see: systemd-analyze verify, journalctl -b _PID=1", name)
    if abs(error.errno) == errno.ETIMEDOUT or kind == "DBusTimeoutError":
        return SystemdError(f"systemd gave no answer within {_CALL_TIMEOUT}", "is the machine overloaded?", name)
    return SystemdError(f"systemd: {text}", name=name)


class Connection:
    """A connection that is opened when first needed, and again when PID 1 re-executes itself."""

    def __init__(self, private_socket: Path = PRIVATE_SOCKET) -> None:
        self._private_socket = private_socket
        self._bus: DBus | None = None
        self._results: dict[str, str] = {}

        # A plain function that this object refers to: pystemd takes neither bound methods nor references.
        def on_job_removed(message: Any, **_: object) -> None:
            message.process_reply(False)
            _number, job, _unit, result = decode(message.body)
            self._results[job] = result

        self._on_job_removed: Callable[..., None] = on_job_removed

    def open(self) -> None:
        """Connect now and not at the first call. Raises NoSystemdError."""
        self._opened()

    def close(self) -> None:
        """Close the connection; closing a closed one does nothing."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()

    def call(self, member: str, signature: str = "", *args: object) -> Any:
        """Call a method of the manager and return its decoded reply. Raises this module's errors."""
        return self.call_object(MANAGER_PATH, MANAGER, member, signature, *args)

    def call_object(self, path: str, interface: str, member: str, signature: str = "", *args: object) -> Any:
        """Call a method of any object of PID 1. Everything we call may safely be asked again."""
        arguments = apply_signature(signature.encode(), list(args)) if signature else []
        return self._call_until_answered(path, interface, member, arguments)

    def start_transient(self, unit: str, properties: Sequence[tuple[str, str, object]]) -> str:
        """StartTransientUnit with properties as (name, signature, value); returns the job. Raises this module's errors.

        pystemd's signatures know no variants, so the message is put together here, as sd_bus_message_open_container(3)
        takes it: a type and what is in it, and (-1, None) where it ends.
        """
        arguments = [*apply_signature(b"ss", [unit, "fail"]), (ord("a"), b"(sv)")]
        for name, signature, value in properties:
            arguments += [(ord("r"), b"sv"), (ord("s"), name.encode()), (ord("v"), signature.encode())]
            arguments += [*apply_signature(signature.encode(), [value]), _END, _END]
        arguments += [_END, (ord("a"), b"(sa(sv))"), _END]
        return str(self._call_until_answered(MANAGER_PATH, MANAGER, "StartTransientUnit", arguments))

    def _call_until_answered(self, path: str, interface: str, member: str, arguments: list[Any]) -> Any:
        # PID 1 may re-execute itself again just after we are back, as it does while packages are upgraded.
        deadline = time.monotonic() + _REEXEC_SECONDS
        while True:
            try:
                return self._call(path, interface, member, arguments)
            except _DisconnectedError:
                if time.monotonic() > deadline:
                    raise _no_systemd() from None
            self._reopen()

    def get_properties(self, path: str, interface: str) -> dict[str, Any]:
        """All properties of one interface of an object."""
        return dict(self.call_object(path, PROPERTIES, "GetAll", "s", interface))

    def job_result(self, job: str) -> str | None:
        """What JobRemoved said about a job, once: ``done``, ``failed``, ``timeout`` or another word."""
        return self._results.pop(job, None)

    def wait_for_signal(self, seconds: float) -> bool:
        """Handle the signals that are there, else wait up to ``seconds`` for some.

        Returns False if the connection broke and was opened anew, so that signals may have been missed.
        """
        try:
            if not self._process():
                self._poll(seconds)
                self._process()
        except _DisconnectedError:
            self._reopen()
            return False
        return True

    def _poll(self, seconds: float) -> None:
        descriptor = self._opened().get_fd()
        if descriptor < 0:  # libsystemd has noticed the end of the connection while processing, and told nobody
            raise _DisconnectedError
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll(max(seconds, 0) * 1000)

    def _process(self) -> bool:
        handled = False
        with self._translated():
            while not self._opened().process().is_empty():
                handled = True
        return handled

    def _call(self, path: str, interface: str, member: str, arguments: list[Any]) -> Any:
        bus = self._opened()
        with self._translated():
            reply = bus.call_method(_DESTINATION, path.encode(), interface.encode(), member.encode(), arguments)
        return decode(reply.body)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBusBaseError as error:
            if _is_gone(error):
                raise _DisconnectedError from None
            raise _translate(error) from None

    def _opened(self) -> DBus:
        if self._bus is None:
            self._bus = self._open_any()
        return self._bus

    def _reopen(self) -> None:
        """After daemon-reexec the socket is back within a second or so; until then connecting fails."""
        self.close()
        deadline = time.monotonic() + _REEXEC_SECONDS
        while True:
            try:
                self._opened()
                return
            except NoSystemdError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _open_any(self) -> DBus:
        # libsystemd reads this once, at the first connection.
        os.environ.setdefault("SYSTEMD_BUS_TIMEOUT", _CALL_TIMEOUT)
        if os.geteuid() == 0:
            with contextlib.suppress(DBusBaseError):  # absent, or its owner is gone: the bus may still do
                return self._open(DBusAddress(f"unix:path={self._private_socket}".encode(), peer_to_peer=True))
        try:
            return self._open(DBus())
        except DBusBaseError:
            raise _no_systemd() from None

    def _open(self, bus: DBus) -> DBus:
        bus.open()
        try:
            bus.match_signal(_DESTINATION, MANAGER_PATH.encode(), MANAGER.encode(), b"JobRemoved", self._on_job_removed)
            # The first exchange shows whether somebody listens; connecting alone does not.
            bus.get_property(_DESTINATION, MANAGER_PATH.encode(), MANAGER.encode(), b"Version", b"s")
        except DBusBaseError:
            bus.close()
            raise
        return bus
