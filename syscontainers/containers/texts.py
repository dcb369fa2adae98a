"""A generation's files as texts that can be compared with those of another one, and shown.

The generation's own number stands in many of them and says nothing, so it is left out, and so is what another file says
as well; host files come one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ..exports.render import without_secrets
from .changes import Content
from .generation import ROOT_FSTAB, Generation
from .hostfiles import SAVED_NAME, load_host_files

_UNSHOWN = ("info", ROOT_FSTAB)


def read_contents(generation: Generation) -> dict[str, bytes]:
    """The files in the directory of a generation, by name. Raises OSError."""
    return {path.name: path.read_bytes() for path in generation.directory.iterdir() if path.is_file()}


def plain_texts(generation: Generation, contents: Mapping[str, bytes], secrets: Sequence[str] = ()) -> dict[str, str]:
    """The text of each file by its name, of host files by their path; without ``secrets``, and without ``info``.

    Raises DocumentError for damaged host files.
    """
    pairs = _texts(generation, contents)
    return {name: without_secrets(secrets, _without_number(generation, text)) for name, text in pairs}


def _texts(generation: Generation, contents: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    for name, data in contents.items():
        if name == SAVED_NAME:
            for path, content in load_host_files(data, f"{generation}: {SAVED_NAME}").items():
                yield path, _describe(content)
        elif name not in _UNSHOWN:
            yield name, data.decode(errors="replace")


def _describe(content: Content) -> str:
    if content.target is not None:
        return f"link to {content.target}\n"
    if content.directory:
        return f"directory, mode {content.mode:04o}\n"
    # Bytes that are no text have to differ in what is shown for them too.
    return f"mode {content.mode:04o}\n{content.data.decode(errors='backslashreplace')}"


def _without_number(generation: Generation, text: str) -> str:
    directory, _, number = str(generation.directory).rpartition(".")
    for before in (f"{directory}.", f"Root of {generation.name}.", "SYSCONTAINERS_GENERATION="):
        text = re.sub(rf"{re.escape(before)}{number}(?![0-9])", f"{before}N", text)
    return text
