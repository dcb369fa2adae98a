"""Who the payload runs as: an image config's ``User`` resolved in the image's own ``/etc/passwd`` and ``/etc/group``.

The files are read bounded and never through links that leave the image (CVE-2024-9676, CVE-2026-47262). A number is
a number and nothing else: one that is out of range is refused, not looked up as a name and not wrapped around to
root (CVE-2024-40635).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import RefusedError
from ..storage.mounts import read_file

_LARGEST_ID = (1 << 31) - 1
_FILE_LIMIT = 1 << 20
_MOST_GROUPS = 65536  # NGROUPS_MAX, setgroups(2)
_NUMBER = re.compile(r"[0-9]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}\$?")


@dataclass(frozen=True)
class User:
    """A resolved user, in numbers."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve_user(tree: int, text: str) -> User:
    """Resolve ``USER[:GROUP]``, each a name or a number; nothing means root. Raises RefusedError.

    Without a group it is the account's own, plus those that list the account as a member; a number without an
    account gets group 0 (OCI image-spec, "Image Configuration", ``User``).
    """
    user, colon, group = text.partition(":")
    _check_word(user or "0", text)
    account = _find_account(tree, user or "0")
    uid = account.uid if account else int(user)
    if colon and group:
        _check_word(group, text)
        return User(uid, _find_group(tree, group), (), account.home if account else "/")
    if account is None:
        return User(uid)
    additional = sorted({entry.gid for entry in _groups(tree) if account.name in entry.members} - {account.gid})
    if len(additional) > _MOST_GROUPS:
        raise RefusedError(f"the image's user {text!r} is in {len(additional)} groups", "the kernel allows 65536")
    return User(account.uid, account.gid, tuple(additional), account.home)


def _check_word(word: str, text: str) -> None:
    hint = "override it with --set USER=UID:GID"
    if _NUMBER.fullmatch(word):
        if len(word) > 10 or int(word) > _LARGEST_ID:
            raise RefusedError(f"the image's user {text[:80]!r} is out of range", hint)
    elif not _NAME.fullmatch(word):
        raise RefusedError(f"the image's user {text[:80]!r} is neither a name nor a number", hint)


def _find_account(tree: int, word: str) -> _Account | None:
    number = int(word) if _NUMBER.fullmatch(word) else None
    for account in _accounts(tree):
        if account.uid == number if number is not None else account.name == word:
            return account
    if number is not None:
        return _Account("root", 0, 0, "/root") if number == 0 else None
    if word == "root":  # an image without /etc/passwd still has a root
        return _Account("root", 0, 0, "/root")
    raise RefusedError(f"the image's user {word!r} is not in its /etc/passwd", "override it with --set USER=UID:GID")


def _find_group(tree: int, word: str) -> int:
    if _NUMBER.fullmatch(word):
        return int(word)
    for group in _groups(tree):
        if group.name == word:
            return group.gid
    if word == "root":
        return 0
    raise RefusedError(f"the image's group {word!r} is not in its /etc/group", "override it with --set USER=UID:GID")


def _accounts(tree: int) -> Iterator[_Account]:
    for fields in _lines(tree, "/etc/passwd"):
        if len(fields) >= 6 and _is_id(fields[2]) and _is_id(fields[3]):
            home = fields[5] if fields[5].startswith("/") and fields[5].isprintable() else "/"
            yield _Account(fields[0], int(fields[2]), int(fields[3]), home)


def _groups(tree: int) -> Iterator[_Group]:
    for fields in _lines(tree, "/etc/group"):
        if len(fields) >= 4 and _is_id(fields[2]):
            yield _Group(fields[0], int(fields[2]), tuple(fields[3].split(",")))


def _lines(tree: int, path: str) -> Iterator[list[str]]:
    data = read_file(tree, path, _FILE_LIMIT) or b""
    for line in data.decode(errors="replace").split("\n"):
        if line and not line.startswith("#"):
            yield line.split(":")


def _is_id(text: str) -> bool:
    return len(text) <= 10 and _NUMBER.fullmatch(text) is not None and int(text) <= _LARGEST_ID
