"""What this host's storage.conf says: where podman, Buildah, skopeo and CRI-O keep their images.

Up to podman 5 one file is read whole and nothing beside it: ``$CONTAINERS_STORAGE_CONF``, or the first there is of
``/etc/containers/storage.conf`` and ``/usr/share/containers/storage.conf`` (containers-storage.conf(5)). Podman 6
reads drop-ins after it: ``storage.conf.d`` and, as root, ``storage.rootful.conf.d`` beside both, sorted by name, a file
in /etc hiding one of the same name in /usr; an array with ``{append=true}`` in it adds to what stood before (podman,
"config-file-parsing", after the UAPI group's configuration files specification).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import SyscontainersError
from ..typed import Document, DocumentError

OVERRIDE = "CONTAINERS_STORAGE_CONF"
DEFAULT_ROOT = Path("/var/lib/containers/storage")
_DROP_INS = ("storage.conf.d", "storage.rootful.conf.d")
_HINT = "man 5 containers-storage.conf; podman info shows what podman makes of it"


@dataclass(frozen=True)
class Places:
    """Where such files are looked for."""

    etc: Path
    vendor: Path
    override: Path | None = None
    """The one file that is read in place of all others."""

    @classmethod
    def on(cls, host: Path) -> Places:
        """Those of a host whose root is ``host``; the environment counts only for the one that runs."""
        override = os.environ.get(OVERRIDE) if host == Path("/") else None
        return cls(host / "etc/containers", host / "usr/share/containers", Path(override) if override else None)

    @property
    def main(self) -> Path:
        """The file in force; it may not exist."""
        if self.override is not None:
            return self.override
        own = self.etc / "storage.conf"
        return own if own.exists() else self.vendor / "storage.conf"

    def drop_ins(self) -> list[Path]:
        """What a podman that knows drop-ins reads after it, in that order."""
        if self.override is not None:
            return []
        found = {}
        for place in (self.vendor, self.etc):
            for directory in _DROP_INS:
                found.update({path.name: path for path in sorted((place / directory).glob("*.conf"))})
        return [found[name] for name in sorted(found)]


@dataclass(frozen=True)
class StorageConf:
    """What of it concerns us."""

    driver: str = ""
    graphroot: Path = DEFAULT_ROOT
    runroot: Path = Path("/run/containers/storage")
    imagestore: Path | None = None
    """Where images are written if not to ``graphroot`` (since c/storage 1.48)."""
    additional: tuple[Path, ...] = ()
    """The stores that are only read."""

    @property
    def roots(self) -> tuple[Path, ...]:
        """The stores that are written to."""
        return (self.graphroot, *([self.imagestore] if self.imagestore else []))


def read_conf(places: Places) -> StorageConf:
    """What is in force, drop-ins included. Raises SyscontainersError for a file that cannot be read as such."""
    conf = StorageConf()
    for path in (places.main, *places.drop_ins()):
        conf = _add(conf, read_tables(path))
    return conf


def read_tables(path: Path) -> Document:
    """The ``[storage]`` of one file, empty where there is none. Raises SyscontainersError."""
    import tomllib

    try:
        whole = Document(tomllib.loads(path.read_text()), str(path))
        return whole.get_object("storage", {})
    except FileNotFoundError:
        return Document({}, str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SyscontainersError(f"{path}: not valid TOML: {error}", _HINT) from None
    except DocumentError as error:
        raise SyscontainersError(error.message, _HINT) from None


def _add(conf: StorageConf, table: Document) -> StorageConf:
    try:
        imagestore = table.get_str("imagestore", "")
        return replace(
            conf,
            driver=table.get_str("driver", "") or conf.driver,
            graphroot=Path(table.get_str("graphroot", "") or conf.graphroot),
            runroot=Path(table.get_str("runroot", "") or conf.runroot),
            imagestore=Path(imagestore) if imagestore else conf.imagestore,
            additional=_additional(conf, table.get_object("options", {}).get_list("additionalimagestores", [])),
        )
    except DocumentError as error:
        raise SyscontainersError(error.message, _HINT) from None


def _additional(conf: StorageConf, values: list[object]) -> tuple[Path, ...]:
    stores = tuple(Path(value) for value in values if isinstance(value, str))
    appends = any(isinstance(value, dict) and value.get("append") is True for value in values)
    return (*conf.additional, *stores) if appends or not values else stores


def writable_roots(host: Path) -> Iterator[Path]:
    """Every store of other tools on ``host`` that may lean on ours. Raises SyscontainersError.

    A drop-in may name one that a podman too old for drop-ins never sees; one store too many does no harm.
    """
    places = Places.on(host)
    yield DEFAULT_ROOT
    for path in (places.main, *places.drop_ins()):
        yield from _add(StorageConf(), read_tables(path)).roots
    yield from _crio_roots(host / "etc/crio")


def _crio_roots(directory: Path) -> Iterator[Path]:
    """crio.conf(5), ``[crio] root``; CRI-O takes storage.conf's where it does not say."""
    import tomllib

    for path in (directory / "crio.conf", *sorted((directory / "crio.conf.d").glob("*"))):
        try:
            root = Document(tomllib.loads(path.read_text()), str(path)).get_object("crio", {}).get_str("root", "")
        except FileNotFoundError:
            continue
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, DocumentError) as error:
            raise SyscontainersError(f"{path}: cannot be read: {error}", "man 5 crio.conf") from None
        if root:
            yield Path(root)
