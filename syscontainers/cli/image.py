"""Look at or change one image of the storage."""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.garbage import remove_image
from ..containers.inventory import find_image
from ..errors import RefusedError, UsageError
from ..images.reference import Reference
from ..progress import Progress
from ..settings import Settings
from ..storage.imagenames import EXAMPLE
from .output import print_fields, print_json, print_table, short_reference


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``image``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="what an image is and what it can be told")
    show.add_argument("image", metavar="IMAGE")
    show.add_argument("--json", action="store_true", help="print JSON")
    remove = actions.add_parser("rm", help="take names away, and images that then have none")
    remove.add_argument("images", metavar="IMAGE", nargs="+")
    tag = actions.add_parser("tag", help="give an image another name")
    tag.add_argument("image", metavar="IMAGE")
    tag.add_argument("name", metavar="NAME")
    verify = actions.add_parser("verify", help="compare every layer with its digest")
    verify.add_argument("images", metavar="IMAGE", nargs="*")
    verify.add_argument("--all", action="store_true", help="every image of the storage")


def do_image(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Dispatch to the action."""
    actions = {"show": _show, "rm": _remove, "tag": _tag, "verify": _verify}
    return actions[options.action](Context(settings, progress), options)


def _remove(context: Context, options: argparse.Namespace) -> int:
    for name in options.images:
        removed = remove_image(context, name)
        print(f"{name}: {'removed' if removed else 'untagged'}")
    return 0


def _tag(context: Context, options: argparse.Namespace) -> int:
    image = find_image(context, options.image)
    reference = Reference.parse(options.name)
    if reference.is_local:
        raise UsageError(f"{options.name}: says where an image lies, not what it is called", EXAMPLE)
    name = str(reference)
    context.store.tag(image, name)
    print(f"{image.id[:12]}: now also {short_reference(name)}")
    return 0


def _verify(context: Context, options: argparse.Namespace) -> int:
    from ..storage.verify import verify_image

    if not options.images and not options.all:
        raise UsageError("image verify needs an image", "or --all for every one of the storage")
    images = context.store.images() if options.all else [find_image(context, name) for name in options.images]
    code = 0
    for image in images:
        name = image.names[0] if image.names else image.id[:12]
        findings = list(verify_image(context.store, image))
        for finding in findings:
            print(f"{short_reference(name)}: {finding}")
        if findings:
            code = RefusedError.exit_code
        else:
            print(f"{short_reference(name)}: ok")
    return code


def _show(context: Context, options: argparse.Namespace) -> int:
    from ..containers.describe import describe_image

    described = describe_image(context, find_image(context, options.image))
    if options.json:
        print_json(described.to_json())
        return 0
    print_fields(described.fields())
    print()
    print_table(("VARIABLE", "DEFAULT", "FROM", "TYPE", "MEANING"), described.rows())
    return 0
