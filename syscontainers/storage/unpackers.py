"""Processes that unpack, so that layers do not wait for each other: threads of one interpreter run one at a time.

They are forked by a pull before it starts its threads, and unpack one layer after another: a thread that downloads
hands one the compressed bytes through a pipe, and gets the staged layer or the error. A process ends when nobody is
left who could send it work. So none outlives its pull for longer than the bytes in its pipe last, however that ended;
and as it has inherited the lock on the staging area, what it still writes is not swept before (``staging``).
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import pickle
import queue
import signal
import socket
import traceback
from collections.abc import Callable, Iterable
from io import BufferedWriter, FileIO
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from ..errors import SyscontainersError
from .staged import LayerPromise, StagedLayer

Unpack = Callable[[Iterable[bytes], LayerPromise, Path], StagedLayer]
_PIPE = 1 << 20
_READ = 256 << 10
_ORDER = 64 << 10


class Unpackers:
    """``count`` processes that call ``unpack``; they live as long as the ``with`` block.

    Enter it while no other thread runs: one might hold a lock that nobody in a forked process would give back.
    """

    def __init__(self, count: int, unpack: Unpack) -> None:
        self._count = count
        self._unpack = unpack
        self._undo = contextlib.ExitStack()
        self._idle: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            pairs = [_control_pair(undo) for _ in range(self._count)]
            # Neither side's collector then writes to, and so copies, the pages that both still share.
            gc.freeze()
            undo.callback(gc.unfreeze)
            for ours, theirs in pairs:
                undo.callback(os.waitpid, self._fork(theirs, [ours for ours, _ in pairs]), 0)
                undo.callback(ours.close)
                self._idle.put(ours)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _fork(self, control: socket.socket, foreign: Iterable[socket.socket]) -> int:
        process = os.fork()
        if process:
            control.close()
            return process
        try:
            for each in foreign:
                each.close()
            _serve(control, self._unpack)
        finally:
            os._exit(1)

    def unpack(self, chunks: Iterable[bytes], promise: LayerPromise, directory: Path) -> StagedLayer:
        """Unpack in a process that has nothing else to do; from as many threads as there are processes.

        Raises what ``unpack`` and ``chunks`` raise, and SyscontainersError if the process dies.
        """
        control = self._idle.get()
        try:
            return _order(control, chunks, promise, directory)
        finally:
            self._idle.put(control)


def _control_pair(undo: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return undo.enter_context(ours), undo.enter_context(theirs)


def _pipe() -> tuple[FileIO, FileIO]:
    ends = os.pipe2(os.O_CLOEXEC)
    return FileIO(ends[0], "rb"), FileIO(ends[1], "wb")


def _order(control: socket.socket, chunks: Iterable[bytes], promise: LayerPromise, directory: Path) -> StagedLayer:
    answer, answer_sink = _pipe()
    source, sink = _pipe()
    with answer:
        try:
            with source, answer_sink:
                _send(control, (promise, directory), source, answer_sink)
            with sink:
                _pump(chunks, sink)
        finally:
            # Also when the download has failed: afterwards nobody writes to the directory any more.
            data = answer.readall()
    result = pickle.loads(data) if data else _died(promise)  # noqa: S301 - a fork of ours wrote it
    if isinstance(result, BaseException):
        raise result
    assert isinstance(result, StagedLayer)
    return result


def _send(control: socket.socket, order: tuple[LayerPromise, Path], *files: FileIO) -> None:
    fcntl.fcntl(files[0], fcntl.F_SETPIPE_SZ, _PIPE)
    # If its process has died, there is no answer either.
    with contextlib.suppress(ConnectionError):
        socket.send_fds(control, [pickle.dumps(order)], [file.fileno() for file in files])


def _pump(chunks: Iterable[bytes], sink: FileIO) -> None:
    for chunk in chunks:
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[sink.write(rest) :]
        except BrokenPipeError:
            return  # it has given up; its answer says why


def _died(promise: LayerPromise) -> SyscontainersError:
    return SyscontainersError(
        f"layer {promise.digest}: the process that unpacked it was killed",
        "see in the kernel's log whether the memory was exhausted",
    )


def _serve(control: socket.socket, unpack: Unpack) -> NoReturn:
    """What a process does: orders, until the other end is closed."""
    # Ctrl-C goes to all processes of a terminal, and it is the one that downloads that gives up in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _ORDER, 2)
        if not message:
            os._exit(0)
        promise, directory = pickle.loads(message)  # noqa: S301 - the process that we are a fork of wrote it
        source, answer_sink = (
            FileIO(descriptor, mode) for descriptor, mode in zip(descriptors, ("rb", "wb"), strict=True)
        )
        with answer_sink:
            with source:
                result = _unpack(unpack, source, promise, directory)
            # A pipe holds less than a layer's list of directories may take.
            with contextlib.suppress(BrokenPipeError), BufferedWriter(answer_sink) as file:
                pickle.dump(result, file)


def _unpack(unpack: Unpack, source: FileIO, promise: LayerPromise, directory: Path) -> StagedLayer | BaseException:
    try:
        return unpack(iter(lambda: source.read(_READ) or b"", b""), promise, directory)
    except Exception as error:  # noqa: BLE001 - all of them belong to who ordered it
        if not isinstance(error, SyscontainersError):
            error.add_note(traceback.format_exc())  # a bug of ours: the place would be lost on the way
        return error
