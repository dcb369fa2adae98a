"""Adding an image to a store: verified layers in a staging area become layers that everybody sees.

The order is what makes it safe; the module ``store`` says why.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..typed import Document
from .images import MANIFEST, Image, NewImage, give_names, note_big_data
from .images import make_record as make_image_record
from .inherit import inherit_directories
from .layers import Layer, LayerGoneError, layer_id, layers_from, link_of, lower_texts, read_link
from .layers import make_record as make_layer_record
from .moves import move
from .paths import StorePaths, big_data_name, is_link, link_name
from .records import Record, RecordTable, locked_table
from .settle import settle, take_out_images, take_out_layers
from .staged import StagedLayer
from .staging import StagingArea, Ticket, WorkingDirectory

_BASE_MODE = 0o555


@dataclass(frozen=True)
class _Step:
    """One layer of the image: what it will be called, and what lies below it."""

    id: str
    below: tuple[str, ...]
    """The IDs of the layers below, base first."""
    layer: StagedLayer | Layer

    @property
    def parent(self) -> str | None:
        return self.below[-1] if self.below else None

    def content(self, paths: StorePaths) -> Path:
        """Where its files are before the commit."""
        return self.layer.directory / "diff" if isinstance(self.layer, StagedLayer) else paths.diff(self.id)


def commit_image(
    paths: StorePaths,
    area: StagingArea,
    new: NewImage,
    layers: Sequence[StagedLayer | Layer],
    staging: WorkingDirectory,
) -> Image:
    """Put ``layers`` (base first), some of them in ``staging``, and the image over them into the store, or nothing.

    A layer that somebody else has put there meanwhile is dropped. Raises LayerGoneError if one that was there
    before is there no longer, and OSError.
    """
    steps = _plan(layers)
    staged = [step.id for step in steps if isinstance(step.layer, StagedLayer)]
    with area.working_directory() as work:
        _dress_layers(paths, steps)
        _stage_big_data(work, new)
        work.note(Ticket(str(paths.root), tuple(staged), (new.id,)), durable=False)
        # All of it reaches the disk by one call, instead of by one fsync for each of thousands of files.
        staging.sync()
        try:
            image = _publish(paths, work, new, steps)
        except BaseException:
            # If even this fails, the ticket stays for the next process.
            settle(work)
            work.is_settled = True
            raise
        work.is_settled = True
    return image


def _plan(layers: Sequence[StagedLayer | Layer]) -> list[_Step]:
    steps: list[_Step] = []
    below: tuple[str, ...] = ()
    for layer in layers:
        identity = layer.id if isinstance(layer, Layer) else layer_id(below[-1] if below else None, layer.diff_id)
        steps.append(_Step(identity, below, layer))
        below = (*below, identity)
    return steps


def _dress_layers(paths: StorePaths, steps: Sequence[_Step]) -> None:
    try:
        for number, step in enumerate(steps):
            _dress(paths, step, steps[:number])
    except FileNotFoundError:
        for step in steps:
            if isinstance(step.layer, Layer) and not step.content(paths).is_dir():
                raise _gone(step) from None
        raise


def _gone(step: _Step) -> LayerGoneError:
    return LayerGoneError(f"layer {step.id[:12]} was removed meanwhile", "pull the image again")


def _dress(paths: StorePaths, step: _Step, below: Sequence[_Step]) -> None:
    """Make a staged layer's directory what the overlay driver expects, except for what only the lock can tell."""
    if isinstance(step.layer, Layer):
        return
    directory = step.layer.directory
    lowers = [lower.content(paths) for lower in reversed(below)]
    inherit_directories(directory / "diff", step.layer.implied, lowers)
    _set_root(directory / "diff", lowers[0] if lowers else None)
    for name in ("work", "merged", *(() if below else ("empty",))):
        (directory / name).mkdir(mode=0o700, exist_ok=True)
    (directory / "link").write_text(link_name(step.id))
    if below:
        # Written for the case that nobody interferes: then nothing but renames is left to do under the lock.
        _write_lower(directory, step, {lower.id: link_of(paths, lower.id) for lower in below})
    os.chmod(directory, 0o700)
    os.chmod(directory / "tar-split.gz", 0o600)


def _set_root(diff: Path, parent: Path | None) -> None:
    """Owner and mode of a layer's top, which no tar decides: 0555 for a base layer, else as the layer below."""
    if parent is None:
        os.chown(diff, 0, 0)
        os.chmod(diff, _BASE_MODE)
        return
    status = parent.stat()
    os.chown(diff, status.st_uid, status.st_gid)
    os.chmod(diff, status.st_mode & 0o7777)


def _write_lower(directory: Path, step: _Step, links: Mapping[str, str]) -> None:
    for name, text in lower_texts(step.below, links).items():
        (directory / name).write_text(text)


def _correct_lower(directory: Path, step: _Step, links: Mapping[str, str]) -> None:
    """Write ``lower`` again if a layer below turned out to be somebody else's, with a link of another name."""
    for name, text in lower_texts(step.below, links).items():
        if (directory / name).read_text() != text:
            files.replace_file(directory / name, text.encode())


def _stage_big_data(work: WorkingDirectory, new: NewImage) -> None:
    directory = work.path / "image"
    directory.mkdir(mode=0o700)
    for key, data in new.big_data().items():
        path = directory / big_data_name(key)
        path.write_bytes(data)
        path.chmod(0o600)


def _publish(paths: StorePaths, work: WorkingDirectory, new: NewImage, steps: Sequence[_Step]) -> Image:
    """Rename everything into place and list it. Both locks are held throughout: no prune comes in between."""
    with (
        locked_table(paths.layers_json, paths.layers_lock) as layers,
        locked_table(paths.images_json, paths.images_lock) as images,
    ):
        _publish_layers(paths, work, layers, steps)
        return _publish_image(paths, work, images, new, steps[-1].id if steps else None)


def _publish_layers(paths: StorePaths, work: WorkingDirectory, table: RecordTable, steps: Sequence[_Step]) -> None:
    present = layers_from(table.records, paths.layers_json)
    fresh = [step for step in steps if step.id not in present]
    for step in fresh:
        if isinstance(step.layer, Layer):
            raise _gone(step)
    if not fresh:
        return
    # Records that are still there are incomplete: their writer died, for we hold its lock.
    table.remove({step.id for step in fresh})
    take_out_layers(paths, [step.id for step in fresh], work.path)
    links = {step.id: _restored_link(paths, step.id) for step in steps if step.id in present}
    links |= {step.id: link_name(step.id) for step in fresh}
    for step in fresh:
        _move_in(paths, step, links)
    for directory in (paths.links, paths.overlay, paths.layer_records):
        files.sync_directory(directory)
    table.records += [make_layer_record(s.layer, s.id, s.parent) for s in fresh if isinstance(s.layer, StagedLayer)]
    table.save()


def _restored_link(paths: StorePaths, identity: str) -> str:
    """The short name of a layer that is there; made again if it was lost, as c/storage itself does."""
    name = read_link(paths, identity)
    if name is None:
        file = paths.layer(identity) / "link"
        with contextlib.suppress(FileNotFoundError):
            name = file.read_text()
        if name is None or not is_link(name):
            name = link_name(identity)
            files.replace_file(file, name.encode())
        _make_link(paths, identity, name)
    return name


def _make_link(paths: StorePaths, identity: str, name: str) -> None:
    paths.link(name).unlink(missing_ok=True)
    paths.link(name).symlink_to(Path("..", identity, "diff"))


def _move_in(paths: StorePaths, step: _Step, links: Mapping[str, str]) -> None:
    assert isinstance(step.layer, StagedLayer)
    if step.below:
        _correct_lower(step.layer.directory, step, links)
    move(step.layer.directory / "tar-split.gz", paths.tar_split(step.id))
    move(step.layer.directory, paths.layer(step.id))
    _make_link(paths, step.id, links[step.id])


def _publish_image(
    paths: StorePaths, work: WorkingDirectory, table: RecordTable, new: NewImage, top: str | None
) -> Image:
    record = table.find(new.id)
    if record is None:
        take_out_images(paths, [new.id], work.path)
        move(work.path / "image", paths.image(new.id))
        files.sync_directory(paths.image_records)
        record = make_image_record(new, top)
        table.records.append(record)
        _list_image(table, record, new)
    else:
        # Its plain manifest is what the record says until the record says something else.
        _add_big_data(paths, work, new, new.big_data().keys() - {MANIFEST})
        _list_image(table, record, new)
        _add_big_data(paths, work, new, {MANIFEST})
    return Image.from_record(Document(record, str(paths.images_json)))


def _list_image(table: RecordTable, record: Record, new: NewImage) -> None:
    before = repr(record)
    note_big_data(record, new)
    if give_names(table.records, record, new.names) or repr(record) != before:
        table.save()


def _add_big_data(paths: StorePaths, work: WorkingDirectory, new: NewImage, keys: Iterable[str]) -> None:
    """To an image that is there already, pulled under another name or with another manifest perhaps."""
    wanted = new.big_data()
    directory = paths.image(new.id)
    if not directory.is_dir():  # c/storage lists an image first, and lets go of the lock before it writes the files
        files.make_directories(directory, 0o700)
        files.sync_directory(paths.image_records)
    for key in keys:
        path = paths.big_data(new.id, key)
        if not path.exists() or path.read_bytes() != wanted[key]:
            move(work.path / "image" / path.name, path)
    files.sync_directory(directory)
