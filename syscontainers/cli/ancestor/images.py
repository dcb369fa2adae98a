"""``atomic images``: list, info, delete, prune, tag, verify, update, version; and ``atomic info``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence

from ...containers.context import Context
from ...containers.describe import DescribedImage, describe_image
from ...containers.garbage import prune, remove_image
from ...containers.inventory import find_image
from ...containers.obtain import obtain_image
from ...errors import NotFoundError, SyscontainersError, UsageError
from ...exports.describe import Description
from ...storage.images import Image
from ...storage.verify import verify_image
from ...terminal import one_line
from ..guard import require_root, tell_error
from ..output import print_json
from .names import read_image
from .options import add_storage, source_of
from .rows import BACKEND, NONE, ImageRow, image_rows, split_name
from .tables import Filters, add_listing_options, confirm, print_columns, widest

_HEADINGS = ("", "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "VIRTUAL SIZE", "TYPE")
_FIXED = (18, 14, 10)
_FILTERS: Mapping[str, Callable[[ImageRow], str]] = {
    "repo": lambda row: row.repo,
    "repository": lambda row: row.repo,
    "tag": lambda row: row.tag,
    "id": lambda row: row.id,
    "image": lambda row: row.id,
    "created": lambda row: row.created,
    "size": lambda row: row.virtual_size,
    "type": lambda row: row.type,
    "is_dangling": lambda row: str(row.dangling),
    "dangling": lambda row: str(row.dangling),
}
_SHORTEST_PREFIX = 3
# Scripts compare these two sentences word for word.
_WITH_DEFAULT = "Template variables with default value, but overridable with --set:"
_WITHOUT_DEFAULT = "Template variables that has no default value, and must be set with --set:"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic images``."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the images")
    listing.add_argument("-a", "--all", action="store_true", help="the layers as well")
    add_listing_options(listing, "images")
    listing.set_defaults(run=list_all)
    configure_info(actions.add_parser("info", help="labels, and what can be set"))
    version = _about_images(actions.add_parser("version", help="what the labels say of name, version and release"))
    version.set_defaults(run=show_version)
    delete = _about_images(actions.add_parser("delete", help="take names away, and images that then have none"))
    delete.add_argument("-a", "--all", action="store_true", help="every image")
    delete.add_argument("-f", "--force", action="store_true", help="accepted; images in use may always be deleted")
    delete.set_defaults(run=do_delete)
    clear = actions.add_parser("prune", help="free what nothing needs")
    add_storage(clear)
    clear.set_defaults(run=do_prune)
    tag = actions.add_parser("tag", help="give an image another name")
    tag.add_argument("source", metavar="IMAGE")
    tag.add_argument("target", metavar="NAME")
    add_storage(tag)
    tag.set_defaults(run=do_tag)
    verify = _about_images(actions.add_parser("verify", help="compare every file with the digests"))
    verify.add_argument("-a", "--all", action="store_true", help="every image")
    verify.set_defaults(run=do_verify)
    update = _about_images(actions.add_parser("update", help="pull again"))
    update.add_argument("-a", "--all", action="store_true", help="every image of a registry")
    update.set_defaults(run=do_update)


def configure_info(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic info`` and ``atomic images info``."""
    parser.add_argument("image", metavar="IMAGE")
    add_storage(parser)
    parser.set_defaults(run=show_info)


def _about_images(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("images", metavar="IMAGE", nargs="*")
    add_storage(parser)
    return parser


def list_all(context: Context, options: argparse.Namespace) -> int:
    """Print the images."""
    require_root("images list", "atomic")
    rows = Filters(options.filters, _FILTERS).take(image_rows(context, layers=options.all))
    if options.quiet:
        for row in rows:
            print(row.id if options.no_trunc else row.id[:12])
    elif options.json:
        print_json([row.to_json() for row in rows])
    else:
        _print_table(rows, whole=options.no_trunc, heading=not options.noheading)
    return 0


def _print_table(rows: Sequence[ImageRow], *, whole: bool, heading: bool) -> None:
    table = [
        (row.marker, row.repo, row.tag, row.id if whole else row.id[:12], row.created, row.virtual_size, row.type)
        for row in rows
    ]
    widths = widest(_HEADINGS, table)
    print_columns(_HEADINGS, table, (2, widths[1] + 2, widths[2] + 2, 65 if whole else 14, *_FIXED), heading=heading)


def find(context: Context, text: str) -> Image:
    """An image by one of the ancestor's names, or by the beginning of its ID as ``images list`` shows it.

    Raises NotFoundError, UsageError.
    """
    matching = _by_id(context, text)
    if len(matching) > 1:
        raise UsageError(f"{text}: {len(matching)} images have an ID that begins so", "give more of it")
    return matching[0] if matching else find_image(context, str(read_image(text).reference))


def _by_id(context: Context, text: str) -> list[Image]:
    prefix = text.removeprefix("sha256:")
    if len(prefix) < _SHORTEST_PREFIX or not set(prefix) <= set("0123456789abcdef"):
        return []
    return [image for image in context.store.images() if image.digest.removeprefix("sha256:").startswith(prefix)]


def show_info(context: Context, options: argparse.Namespace) -> int:
    """Print the labels of an image and the variables of its templates."""
    require_root("info", "atomic")
    described = describe_image(context, find(context, options.image))
    print(f"Image Name: {described.image.names[0] if described.image.names else described.image.id}")
    for key, value in sorted(described.config.labels.items()):
        print(one_line(f"{key}: {value}"))
    known = [variable for variable in described.variables if variable.origin != "forced"]
    _print_variables(_WITH_DEFAULT, [variable for variable in known if not _must_be_set(variable)])
    _print_variables(_WITHOUT_DEFAULT, [variable for variable in known if _must_be_set(variable)])
    return 0


def _must_be_set(variable: Description) -> bool:
    return variable.required or variable.origin == "user"


def _print_variables(heading: str, variables: Sequence[Description]) -> None:
    if variables:
        print(f"\n{heading}")
    for variable in variables:
        print(one_line(f"{variable.name}: {_shown_default(variable)}"))


def _shown_default(variable: Description) -> str:
    if variable.origin == "os":
        return "{SET_BY_OS}"
    return "{DEF_VALUE}" if _must_be_set(variable) else variable.default or ""


def show_version(context: Context, options: argparse.Namespace) -> int:
    """Print ID, ``Name-Version-Release`` of the labels and tag of each image."""
    require_root("images version", "atomic")
    for image in _chosen(context, options, every=False):
        for name in image.names or (NONE,):
            version = _version_of(describe_image(context, image)) or "None"
            print(f"{image.digest.removeprefix('sha256:')[:12]} {version} {split_name(name)[1]}")
    return 0


def _version_of(described: DescribedImage) -> str:
    labels = {key.lower(): value for key, value in described.config.labels.items()}
    return "-".join(labels[key] for key in ("name", "version", "release") if labels.get(key))


def _chosen(context: Context, options: argparse.Namespace, *, every: bool) -> list[Image]:
    if bool(options.images) == every:
        raise UsageError("name images" + (", or --all, not both" if "all" in options else ""))
    return context.store.images() if every else [find(context, text) for text in options.images]


def do_delete(context: Context, options: argparse.Namespace) -> int:
    """Ask, then take the names away."""
    require_root("images delete", "atomic")
    # What `images list -q` gave has the ID of an image once for each of its names.
    names = list(dict.fromkeys(_names_to_delete(context, options)))
    if not names:
        raise NotFoundError("No images to delete.")
    print("The following images will be deleted.\n" if options.assumeyes else "Delete the following images?\n")
    widths = (2, max(map(len, names)) + 2, 10)
    print_columns(("", "IMAGE", "STORAGE"), [("", name, BACKEND) for name in names], widths)
    asked = " ".join(options.images) or "all images"
    confirm(assumed=options.assumeyes, action=f"delete operation for {asked}")
    for name in names:
        remove_image(context, name)
    return 0


def _names_to_delete(context: Context, options: argparse.Namespace) -> Iterator[str]:
    """All names of an image that is called by an ID, else the one name; the ID of what has no name."""
    if options.all:
        for image in _chosen(context, options, every=True):
            yield from image.names or (image.id,)
        return
    for text, image in zip(options.images, _chosen(context, options, every=False), strict=True):
        name = "" if image in _by_id(context, text) else read_image(text).reference.kept_as
        yield from (name,) if name in image.names else image.names or (image.id,)


def do_prune(context: Context, options: argparse.Namespace) -> int:  # noqa: ARG001 (all handlers take them)
    """Free what nothing needs."""
    require_root("images prune", "atomic")
    freed = prune(context)
    for item in (*freed.images, *freed.layers):
        print(f"Deleting {item}")
    return 0


def do_tag(context: Context, options: argparse.Namespace) -> int:
    """Give an image another name."""
    require_root("images tag", "atomic")
    context.store.tag(find(context, options.source), read_image(options.target).reference.kept_as)
    return 0


def do_verify(context: Context, options: argparse.Namespace) -> int:
    """Print what differs from the digests; 1 if anything does."""
    require_root("images verify", "atomic")
    code = 0
    for image in _chosen(context, options, every=options.all):
        for finding in verify_image(context.store, image):
            code = 1
            print(f"{image.names[0] if image.names else image.id}: {finding}")
    return code


def do_update(context: Context, options: argparse.Namespace) -> int:
    """Pull each again; with ``--all`` one that fails does not stop the others."""
    require_root("images update", "atomic")
    if bool(options.images) == options.all:
        raise UsageError("name images, or --all, not both")
    if options.all:
        return _update_all(context)
    for text in options.images:
        named = read_image(text)
        obtain_image(context, named.reference, source_of(named, policy="always"))
    return 0


def _update_all(context: Context) -> int:
    code = 0
    for name in sorted(name for image in context.store.images() for name in image.names):
        if name.startswith("localhost/") or "@" in name:
            context.progress.warn(f"{name} not fully qualified: skipping")
            continue
        try:
            obtain_image(context, read_image(name).reference, source_of(None, policy="always"))
        except SyscontainersError as error:
            code = 1
            tell_error(error)
    return code
