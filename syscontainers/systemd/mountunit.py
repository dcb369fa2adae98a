"""The mount unit that gives a container its root: an overlay of the layers, mounted by systemd.

Seen on systemd 252 with runc 1.1 and crun 1.8 (tests/machine/test_manager.py):

* the service's ``RequiresMountsFor=`` pulls the mount in and orders it before the service (systemd.unit(5));
* ``StopWhenUnneeded=yes`` unmounts when the service has stopped; while the service is between two runs of
  ``Restart=`` it counts as needed, so a crashing payload does not remount its root each time;
* ``DefaultDependencies=no`` keeps out ``local-fs.target``, which would tie every container's root to the boot:
  one that cannot be mounted would drop the machine into emergency mode. What must stay is the unmounting at
  shutdown, ``Conflicts=`` and ``Before=umount.target``;
* ``StartLimitIntervalSec=0``: a mount unit has a start limit too, five in ten seconds by default, and a service that
  is started and stopped as often would then fail with the result ``dependency``. Its own limit is the service's;
* ``LIBMOUNT_FORCE_MOUNT2``: since util-linux 2.39 mount(8) passes options one by one, each of at most 255 bytes
  (fsconfig(2)), and four layers are longer (util-linux issue 2287; seen with 2.41.5). mount(2) takes a page;
* no ``[Install]``: nothing but the service asks for it;
* ``After=`` a service that may mount all roots of a boot at once: a mount(8) of its own for each is a good part of what
  bringing up a container costs. Where it has done so, systemd has seen the root in /proc/self/mountinfo and has nothing
  left to do (and while it is behind with reading that, versions from 249 on start no mount). ``fstab_line`` is for that
  service.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .unitfile import UnitFile, UnitSyntaxError, escape_value, make_unit, mount_unit_name, quote_path

_PAGE = 4096
_FSTAB_ESCAPES = {ord(char): f"\\{ord(char):03o}" for char in " \t\n\\#"}


@dataclass(frozen=True)
class OverlayMount:
    """What is mounted where. ``lower`` is top-most first; with ``upper`` the root is writable."""

    description: str
    where: Path
    lower: Sequence[Path]
    storage: Path
    upper: Path | None = None
    work: Path | None = None
    after: Sequence[str] = ()
    """Units that come first, where they are started at all."""
    options: Sequence[str] = ()
    """Further options, for instance ``context="…"`` or ``metacopy=off``; taken as they are."""

    @property
    def unit_name(self) -> str:
        """The name that systemd demands for this mount point."""
        return mount_unit_name(self.where)

    def mount_options(self) -> str:
        """The options of mount(8). Raises UnitSyntaxError where overlayfs would misread a path or it gets too long."""
        options = ["ro" if self.upper is None else "rw", f"lowerdir={':'.join(_layer(path) for path in self.lower)}"]
        if self.upper is not None and self.work is not None:
            options += [f"upperdir={_directory(self.upper)}", f"workdir={_directory(self.work)}"]
        text = ",".join([*options, *self.options])
        if len(text.encode()) >= _PAGE:
            # mount(2) copies one page of options, and overlayfs's "lowerdir+" needs Linux 6.8.
            raise UnitSyntaxError(f"{self.where}: {len(self.lower)} layers are more than one overlay mount can take")
        return text

    def to_unit(self) -> UnitFile:
        """The unit; file name: ``unit_name``."""
        return make_unit(
            (
                "Unit",
                [
                    ("Description", escape_value(self.description, "Description")),
                    ("DefaultDependencies", "no"),
                    ("Conflicts", "umount.target"),
                    ("Before", "umount.target"),
                    ("RequiresMountsFor", quote_path(self.storage)),
                    *[("After", unit) for unit in self.after],
                    ("StopWhenUnneeded", "yes"),
                    ("StartLimitIntervalSec", "0"),
                ],
            ),
            (
                "Mount",
                [
                    ("What", "overlay"),
                    ("Where", escape_value(str(self.where), "Where")),
                    ("Type", "overlay"),
                    ("Options", escape_value(self.mount_options(), "Options")),
                    ("Environment", "LIBMOUNT_FORCE_MOUNT2=always"),
                ],
            ),
        )

    def fstab_line(self) -> str:
        """The same mount for ``mount --all`` (fstab(5))."""
        words = ("overlay", str(self.where), "overlay", self.mount_options(), "0", "0")
        return " ".join(word.translate(_FSTAB_ESCAPES) for word in words) + "\n"


def _directory(path: Path) -> str:
    if not path.is_absolute() or "," in str(path) or "\\" in str(path):
        raise UnitSyntaxError(
            f"{path}: cannot be given to overlayfs", "storage paths must not hold commas or backslashes"
        )
    return str(path)


def _layer(path: Path) -> str:
    if ":" in str(path):
        raise UnitSyntaxError(f"{path}: cannot be a layer of an overlay", "storage paths must not hold colons")
    return _directory(path)
