"""Which extended attributes of an archive are set."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from ..errors import HostileArchiveError, SyscontainersError
from .limits import FreeSpace

ACL_ACCESS = b"system.posix_acl_access"
ACL_DEFAULT = b"system.posix_acl_default"
_ACL_VERSION = b"\x02\0\0\0"  # linux/posix_acl_xattr.h
OPAQUE = b"trusted.overlay.opaque"
_EXACT = frozenset((b"security.capability", ACL_ACCESS, ACL_DEFAULT))
_REFUSED_USER = (b"user.overlay.", b"user.containers.", b"user.rootlesscontainers")


def is_wanted(name: bytes) -> bool:
    """Whether to set it.

    Never ``trusted.*`` (a layer could forge overlayfs' own marks), never ``security.*`` that labels or measures
    for this host (selinux, ima, evm), never what other container tools read as their own state.
    """
    return name in _EXACT or (name.startswith(b"user.") and not name.startswith(_REFUSED_USER))


def set_xattrs(descriptor: int, xattrs: Mapping[bytes, bytes], space: FreeSpace) -> None:
    """Set those that are wanted, if there is ``space``. Raises HostileArchiveError for what the kernel refuses."""
    for name, value in xattrs.items():
        if not is_wanted(name):
            continue
        # The kernel says "not supported" to a wrong version, as it does where access control lists are.
        if name in (ACL_ACCESS, ACL_DEFAULT) and not value.startswith(_ACL_VERSION):
            raise HostileArchiveError(f"the extended attribute {name.decode()!r} is refused: Invalid argument")
        space.take(len(value))
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno == errno.EDQUOT:
                raise space.shortage(len(value)) from None
            if error.errno == errno.ENOSPC:
                space.check(len(value))  # the disk may be full; else the attribute does not fit beside the inode
            raise _explain(error, name.decode(errors="backslashreplace")) from None


def _explain(error: OSError, name: str) -> SyscontainersError:
    if error.errno in (errno.ENOTSUP, errno.EPERM):
        return SyscontainersError(
            f"the file system cannot hold the extended attribute {name}", "keep the storage on ext4, xfs or btrfs"
        )
    return HostileArchiveError(f"the extended attribute {name!r} is refused: {error.strerror}")


def drop_default_acl(file: int | str) -> None:
    """Make new files below get the mode they are created with."""
    for name in (ACL_ACCESS, ACL_DEFAULT):
        try:
            os.removexattr(file, name)
        except OSError as error:
            # Not there, or a file system without access control lists: what was wanted.
            if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                raise


def has_default_acl(descriptor: int) -> bool:
    """Whether new entries of this directory inherit an access control list."""
    try:
        return bool(os.getxattr(descriptor, ACL_DEFAULT))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
