"""Whether an image on disk still is what was pulled: every byte read again and compared with the digests."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostileArchiveError, NotFoundError, RefusedError
from ..typed import Document
from .assemble import Complain, assemble_tar
from .compare import TreeComparison
from .images import Image
from .layers import Layer
from .limits import Limits
from .names import show
from .store import Store
from .tar import TarReader
from .tarstream import TarStream

# The archive was accepted once; now it is only read.
_NO_LIMITS = Limits(entries=sys.maxsize, unpacked=sys.maxsize, extension=1 << 30, padding=sys.maxsize)


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    layer: str
    """ID of the layer; empty for what concerns an image or the store."""
    path: str
    """The file inside the layer, or of the store; empty where it is about something as a whole."""
    problem: str

    def __str__(self) -> str:
        parts = (f"layer {self.layer[:12]}" if self.layer else "", self.path, self.problem)
        return ": ".join(part for part in parts if part)

    def to_json(self) -> dict[str, str]:
        """For ``--json``; the keys are a contract."""
        return {"layer": self.layer, "path": self.path, "problem": self.problem}


def verify_image(store: Store, image: Image) -> Iterator[Finding]:
    """All that differs, as it is found; nothing for a whole image. Reads every file of every layer."""
    yield from verify_documents(store, image)
    with contextlib.suppress(NotFoundError):  # reported already
        for layer in store.chain(image):
            yield from verify_layer(store, layer)


def verify_documents(store: Store, image: Image) -> Iterator[Finding]:
    """What differs in an image's manifest and config, and in the list of its layers."""
    for what, expected, read in (
        ("manifest", image.digest, store.read_plain_manifest),
        ("manifest by its digest", image.digest, store.read_manifest),
        ("config", f"sha256:{image.id}", store.read_config),
    ):
        try:
            data = read(image)
        except (NotFoundError, OSError) as error:
            yield _about(image, f"its {what} cannot be read: {error}")
            continue
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if found != expected:
            yield _about(image, f"its {what} has the digest {found}, not {expected}")
    try:
        yield from _verify_order(store, image, store.chain(image))
    except NotFoundError as error:
        yield _about(image, error.message)


def _about(image: Image, problem: str) -> Finding:
    return Finding("", "", f"image {image.id[:12]}: {problem}")


def _verify_order(store: Store, image: Image, chain: list[Layer]) -> Iterator[Finding]:
    """The config, which the image's ID vouches for, says which layers it is made of."""
    try:
        config = Document.parse(store.read_config(image), "config")
        wanted = config.get_object("rootfs", {}).get_strings("diff_ids", [])
    except (RefusedError, NotFoundError, OSError):
        return  # reported as a wrong digest already
    if wanted != [layer.diff_id for layer in chain]:
        yield _about(image, "its layers are not those that its config lists")


def verify_layer(store: Store, layer: Layer) -> list[Finding]:
    """All that differs in one layer."""
    return verify_tree(store.paths.tar_split(layer.id), store.paths.diff(layer.id), layer.id, layer.diff_id)


def verify_tree(tar_split: Path, diff: Path, layer_id: str, diff_id: str, *, strict: bool = False) -> list[Finding]:
    """All that differs between the files in ``diff`` and the archive with the digest ``diff_id``.

    With ``strict`` HostileArchiveError is raised for an archive that we would not have unpacked.
    """
    contents: list[Finding] = []
    metadata: list[Finding] = []

    def report(findings: list[Finding]) -> Complain:
        return lambda name, problem: findings.append(Finding(layer_id, show(name), problem))

    try:
        stream = TarStream(assemble_tar(tar_split, diff, report(contents)))
        _compare(stream, diff, report(metadata), strict)
    except (RefusedError, OSError) as error:
        if strict and isinstance(error, HostileArchiveError):
            raise
        return [*contents, Finding(layer_id, "", str(error))]
    if stream.diff_id != diff_id and not contents:
        # Each file agrees with its checksum, so it is the headers that are not those of the archive.
        return [Finding(layer_id, "", "its tar-split does not give the archive that was pulled")]
    return metadata + contents


def _compare(stream: TarStream, diff: Path, complain: Complain, strict: bool) -> None:
    """Compare the tree with the archive while that streams by, to its end. Raises RefusedError and OSError."""
    reader = TarReader(stream, Limits() if strict else _NO_LIMITS)
    with contextlib.closing(TreeComparison(diff, complain)) as comparison:
        try:
            for member in reader:
                comparison.check(member)
                _drain(reader.contents(member))
            comparison.check_rest()
        except HostileArchiveError:
            if strict:
                raise
            # Another tool unpacked what ours refuses; the contents are compared all the same.
    _drain(stream.rest())


def _drain(pieces: Iterable[object]) -> None:
    for _ in pieces:
        pass
