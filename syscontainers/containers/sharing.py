"""Showing our storage to podman, CRI-O, Buildah and skopeo as an additional image store, and taking that back.

::

    plan ─ write record ─ edit ─ ask podman ──────────── done
                                    └ it fails: take back

The record holds the file's text before and after, so that ``--undo`` gives back what was there to the byte; it comes
before the edit, so that a crash between them leaves nothing that could not be taken back. A file that somebody has
changed since loses our entry and nothing else.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFoundError, SyscontainersError, UsageError
from ..files import make_directories, read_bounded, remove_file, replace_file, sweep_temporaries
from ..storage.confedit import add_store, remove_store, stores_in
from ..storage.layers import read_layers
from ..storage.locks import lock_exclusively
from ..storage.paths import StorePaths
from ..storage.references import layers_used_by, other_stores
from ..storage.storageconf import Places, StorageConf, read_conf
from ..typed import Document
from .context import Context
from .garbage import consumers
from .peers import Podman, find_podman, podman_works

_LIMIT = 4 << 20
_DROP_IN = "50-syscontainers.conf"
_HEADER = "# Made by `syscontainer storage export`; `syscontainer storage export --undo` takes it back.\n"


@dataclass(frozen=True)
class Edit:
    """What becomes of one file."""

    path: Path
    before: str | None
    """None where there is no such file."""
    after: str | None
    store: Path
    """What is added or taken out."""

    def diff(self) -> str:
        """For showing; empty for no change."""
        old, new = ((text or "").splitlines(keepends=True) for text in (self.before, self.after))
        source, target = ("/dev/null" if text is None else str(self.path) for text in (self.before, self.after))
        return "".join(difflib.unified_diff(old, new, source, target))

    @property
    def changes(self) -> bool:
        """Whether anything is to be written."""
        return self.before != self.after

    def carry_out(self) -> None:
        """Durable on return. Raises OSError."""
        _put(self.path, self.after)

    def undo(self) -> None:
        """Put back what was there, if ``carry_out`` came so far. Raises OSError."""
        _put(self.path, self.before)


def export_storage(context: Context, *, dry_run: bool = False) -> Edit:
    """Add our storage to storage.conf, and see that podman, if there is one, then shows our images.

    Raises SyscontainersError; then everything is as before.
    """
    if dry_run:
        return plan_export(context, find_podman(context.settings))
    with _lock(context):
        context.store.create()  # podman refuses to start for a store that is not there
        podman = find_podman(context.settings)
        edit = plan_export(context, podman)
        if edit.changes:
            _write_record(context, edit)
        try:
            edit.carry_out()
            if podman is not None:
                podman.check_sees(context.store)
        except BaseException:
            edit.undo()
            if edit.changes:
                remove_file(_record(context))
            raise
    return edit


def unexport_storage(context: Context, *, dry_run: bool = False) -> Edit:
    """Take back exactly what ``export_storage`` did. Raises NotFoundError if it did nothing, SyscontainersError."""
    if dry_run:
        return _plan_undo(context)
    with _lock(context):
        edit = _plan_undo(context)
        if edit.changes:
            _check_nobody_leans(context, edit.store)
        worked = podman_works(context.settings)
        edit.carry_out()
        if worked and not podman_works(context.settings):
            edit.undo()
            raise SyscontainersError(f"podman does not work without {edit.store}", "podman images says why")
        remove_file(_record(context))
        with contextlib.suppress(OSError):  # it holds something else
            if edit.path.name == _DROP_IN:
                edit.path.parent.rmdir()
    return edit


def exported_in(context: Context) -> Path | None:
    """The file by which other tools were told of the storage, if they were. Raises DocumentError."""
    edit = _read_record(context)
    return edit.path if edit else None


def plan_export(context: Context, podman: Podman | None) -> Edit:
    """The edit that makes podman and CRI-O see our storage. Raises UsageError, SyscontainersError."""
    places, root = Places.on(context.settings.host), context.settings.storage
    conf = podman.read_conf() if podman is not None else read_conf(places)
    if conf.driver not in ("", "overlay"):
        raise UsageError(f"podman's storage uses the {conf.driver} driver, ours overlay", "they cannot be shared")
    if any(os.path.realpath(root) == os.path.realpath(other) for other in conf.roots):
        raise UsageError(f"{root}: is podman's own storage", "there is nothing to export")
    if places.override is None and _knows_drop_ins(places, podman):
        return _plan_drop_in(places, root)
    return _plan_main_file(places, conf, root)


def _knows_drop_ins(places: Places, podman: Podman | None) -> bool:
    """Podman does since 6.0; without a podman, a vendor that ships drop-ins has tools that read them."""
    if podman is not None:
        return podman.version >= (6, 0)
    return any(places.vendor.glob("storage*.conf.d/*.conf"))


def _plan_drop_in(places: Places, root: Path) -> Edit:
    if root in read_conf(places).additional:
        path = next((path for path in places.drop_ins() if _names(path, root)), places.main)
        return Edit(path, _read(path), _read(path), root)
    path = places.etc / "storage.rootful.conf.d" / _DROP_IN
    line = f"additionalimagestores = [{json.dumps(str(root), ensure_ascii=False)}, {{append=true}}]\n"
    return Edit(path, _read(path), f"{_HEADER}[storage.options]\n{line}", root)


def _plan_main_file(places: Places, conf: StorageConf, root: Path) -> Edit:
    """In /etc, where the file replaces the vendor's wholly: so it begins with all that the vendor's says."""
    path = places.override or places.etc / "storage.conf"
    path = Path(os.path.realpath(path))
    before = _read(path)
    start = before
    if before is None:
        vendor = _read(places.vendor / "storage.conf") if places.override is None else None
        start = _HEADER + (default_conf(conf) if vendor is None else vendor)
    return Edit(path, before, add_store(start or "", root, str(path)), root)


def default_conf(conf: StorageConf) -> str:
    """A file that says what ``conf`` says: podman 4 and 5 refuse one without runroot and complain without driver."""
    values = {"driver": conf.driver or "overlay", "runroot": conf.runroot, "graphroot": conf.graphroot}
    return "[storage]\n" + "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in values.items())


def _plan_undo(context: Context) -> Edit:
    recorded = _read_record(context)
    if recorded is None:
        raise NotFoundError(
            f"{context.settings.storage}: was not exported by us", "what stands in storage.conf was written by hand"
        )
    now = _read(recorded.path)
    if now in (recorded.after, recorded.before):
        rest = recorded.before
    else:  # somebody has changed it since
        rest = None if now is None else remove_store(now, recorded.store, str(recorded.path))
    return Edit(recorded.path, now, rest, recorded.store)


def _check_nobody_leans(context: Context, root: Path) -> None:
    """Without the layers below, one image is enough to make podman refuse the whole of its store."""
    paths = StorePaths(root)
    for consumer in other_stores(paths, consumers(context)):
        used = layers_used_by(consumer, paths, read_layers(paths))
        if used:
            raise SyscontainersError(
                f"{consumer.root}: has images or containers on {len(used)} layers of ours",
                "remove those first: podman images, podman ps --all --external",
            )


@contextlib.contextmanager
def _lock(context: Context) -> Iterator[None]:
    """One at a time."""
    path = context.settings.locks / ".export"
    make_directories(path.parent, 0o700)
    with lock_exclusively(path):
        yield


def _record(context: Context) -> Path:
    return context.settings.state / "exported.json"


def _write_record(context: Context, edit: Edit) -> None:
    """In place of an earlier one, which was for another file or for an entry that is not there any more."""
    text = {"file": str(edit.path), "store": str(edit.store), "before": edit.before, "after": edit.after}
    make_directories(context.settings.state)
    sweep_temporaries(_record(context))
    replace_file(_record(context), json.dumps(text, indent=2).encode(), 0o600)


def _read_record(context: Context) -> Edit | None:
    try:
        data = read_bounded(_record(context), _LIMIT)
    except FileNotFoundError:
        return None
    document = Document.parse(data, str(_record(context)))
    path, store = (Path(document.get_str(key)) for key in ("file", "store"))
    return Edit(path, document.get_str("before", None), document.get_str("after", None), store)


def _names(path: Path, root: Path) -> bool:
    return str(root) in stores_in(_read(path) or "")


def _read(path: Path) -> str | None:
    try:
        return read_bounded(path, _LIMIT).decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise SyscontainersError(f"{path}: is not UTF-8: {error}") from None


def _put(path: Path, text: str | None) -> None:
    if path.parent.is_dir():
        sweep_temporaries(path)
    if text == _read(path):
        return
    if text is None:
        remove_file(path)
        return
    make_directories(path.parent)
    mode = path.stat().st_mode & 0o7777 if path.exists() else 0o644
    replace_file(path, text.encode(), mode)
