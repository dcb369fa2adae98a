"""Whether a whole store is in order: its records, what they name, and that nothing lies about that they do not name."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import NotFoundError
from ..typed import Document
from .layers import Layer, chain_of, read_link
from .paths import StorePaths, is_id
from .records import read_records
from .store import Store
from .verify import Finding, verify_documents, verify_layer


def check_store(store: Store, *, contents: bool = True) -> Iterator[Finding]:
    """All that is wrong, as it is found. With ``contents`` every file is read and compared, as for ``verify_image``.

    Takes no lock: what others add or remove meanwhile may be reported. Raises DocumentError for broken records.
    """
    layers = store.layers()
    for image in store.images():
        yield from verify_documents(store, image)
    yield from _check_big_data(store.paths)
    for layer in layers.values():
        problems = list(_check_layer(store.paths, layers, layer))
        yield from problems
        # A container's own layer has no digest: it is meant to change.
        if contents and layer.diff_id and not problems:
            yield from verify_layer(store, layer)
    yield from _check_strays(store.paths)


def _check_big_data(paths: StorePaths) -> Iterator[Finding]:
    for record in read_records(paths.images_json):
        image_id = str(record["id"])
        sizes = Document(record, f"{paths.images_json}: {image_id}").get_object("big-data-sizes", {})
        for key in sizes:
            path = paths.big_data(image_id, key)
            if not path.is_file() or path.stat().st_size != sizes.get_int(key):
                yield Finding("", "", f"image {image_id[:12]}: {key} is missing or has another size than recorded")


def _check_layer(paths: StorePaths, layers: dict[str, Layer], layer: Layer) -> Iterator[Finding]:
    """The small files that make the overlay driver find a layer."""
    try:
        below = chain_of(layers, layer.parent)
    except NotFoundError as error:
        yield Finding(layer.id, "", error.message)
        return
    if not paths.diff(layer.id).is_dir():
        yield Finding(layer.id, "", "its directory is missing")
        return
    if read_link(paths, layer.id) is None:
        yield Finding(layer.id, "", "its link in overlay/l is missing")
    lower = paths.layer(layer.id) / "lower"
    expected = ":".join(f"l/{read_link(paths, each.id)}" for each in reversed(below))
    if (lower.read_text() if lower.is_file() else "") != expected:
        yield Finding(layer.id, "", "its list of lower layers is wrong")


def _check_strays(paths: StorePaths) -> Iterator[Finding]:
    # Those of containers and incomplete ones as well.
    records = [*read_records(paths.layers_json), *read_records(paths.volatile_layers_json)]
    known = {str(record["id"]) for record in records}
    if paths.overlay.is_dir():
        for entry in paths.overlay.iterdir():
            # Whatever does not look like a layer is the driver's own: links, staging, notes about the kernel.
            if is_id(entry.name) and entry.name not in known:
                yield Finding("", str(entry), "belongs to no layer")
    images = {str(record["id"]) for record in read_records(paths.images_json)}
    if paths.image_records.is_dir():
        for entry in paths.image_records.iterdir():
            if entry.is_dir() and entry.name not in images:
                yield Finding("", str(entry), "belongs to no image")
