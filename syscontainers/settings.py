"""What the machine's owner decided: ``/etc/syscontainers/config.toml``, and the directories that follow from it.

Every key has a default and the file may be absent; then tomllib is not even imported. Unknown keys are
refused, because a misspelt one would otherwise silently mean its default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from .errors import UsageError
from .typed import Document, DocumentError

CONFIG_FILE = Path("/etc/syscontainers/config.toml")
_HINT = "see settings.md in share/doc/syscontainers"


@dataclass(frozen=True)
class Settings:
    """The settings of this host. All paths are absolute."""

    state: Path = Path("/var/lib/syscontainers")
    """Everything of ours that must survive: generations, staging, transactions, locks."""
    storage: Path = Path("/var/lib/syscontainers/storage")
    """A containers/storage root (overlay driver); podman's own may be one, with its containers in it."""
    storage_chosen: bool = field(default=False, compare=False)
    """Whether ``storage`` was named for this very command; else a container's own comes first."""
    runtime: str = ""
    """OCI runtime, a name or a path; empty takes the first of runc and crun that is there."""
    units: Path = Path("/etc/systemd/system")
    tmpfiles: Path = Path("/etc/tmpfiles.d")
    insecure_registries: tuple[str, ...] = ()
    """Hosts (``host[:port]``) that may be reached over plain http."""
    parallel_downloads: int = 3
    keep_generations: int = 2
    grace_seconds: float = 1.0
    """How long a service without readiness protocol must keep running after its start to count as healthy."""
    run: Path = Path("/run/syscontainers")
    """What means nothing after a boot: which images are mounted where."""
    host: Path = field(default=Path("/"), compare=False)
    """Where host files of images are installed; other than / only for building trees."""

    @property
    def containers(self) -> Path:
        """One directory per generation, and the link NAME to the current one."""
        return self.state / "containers"

    @property
    def staging(self) -> Path:
        """Half-done things, on the file system of storage and generations, so that they can be renamed in."""
        return self.state / "staging"

    @property
    def storage_staging(self) -> Path:
        """Where layers are unpacked: on the storage's own file system, and beside its root where that is possible."""
        if self.storage.parent == self.state:
            return self.staging
        # A root that is a file system of its own has nothing of it beside it. Inside, containers/storage looks only
        # at the names that it knows.
        place = self.storage if self.storage.is_mount() else self.storage.parent
        return place / ".syscontainers-staging"

    @property
    def transactions(self) -> Path:
        """One record per operation in flight."""
        return self.state / "transactions"

    @property
    def locks(self) -> Path:
        """One lock file per container."""
        return self.state / "locks"


def use_storage(settings: Settings, storage: str) -> Settings:
    """The settings with another storage root, as ``--storage`` names it. Raises UsageError."""
    path = Path(os.path.abspath(storage))
    if not storage:
        raise UsageError("--storage needs a directory", "for instance --storage /var/lib/containers/storage")
    return replace(settings, storage=path, storage_chosen=True)


def _path(document: Document, key: str, default: Path) -> Path:
    path = Path(document.get_str(key, str(default)))
    if not path.is_absolute() or ".." in path.parts:
        document.fail(key, "must be an absolute path without '..'")
    return path


def _parse(document: Document) -> Settings:
    default = Settings()
    known = {"state", "storage", "runtime", "units", "tmpfiles", "insecure_registries", "parallel_downloads"}
    for key in document:
        if key not in known | {"keep_generations", "grace_seconds"}:
            document.fail(key, "is not a setting")
    state = _path(document, "state", default.state)
    grace = document.get("grace_seconds", default.grace_seconds)
    if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not 0 <= grace <= 3600:
        document.fail("grace_seconds", "must be a number of seconds from 0 to 3600")
    return replace(
        default,
        state=state,
        storage=_path(document, "storage", state / "storage"),
        runtime=document.get_str("runtime", default.runtime),
        units=_path(document, "units", default.units),
        tmpfiles=_path(document, "tmpfiles", default.tmpfiles),
        insecure_registries=tuple(document.get_strings("insecure_registries", [])),
        parallel_downloads=document.get_int("parallel_downloads", default.parallel_downloads, minimum=1),
        keep_generations=document.get_int("keep_generations", default.keep_generations, minimum=1),
        grace_seconds=float(grace),
    )


def load_settings(path: Path | None = None) -> Settings:
    """Read the settings file; an absent default file means all defaults.

    ``path``, or ``$SYSCONTAINERS_CONFIG``, names another file, which then must exist. Raises UsageError.
    """
    chosen = path or (Path(os.environ["SYSCONTAINERS_CONFIG"]) if "SYSCONTAINERS_CONFIG" in os.environ else None)
    try:
        data = (chosen or CONFIG_FILE).read_bytes()
    except FileNotFoundError:
        if chosen is None:
            return Settings()
        raise UsageError(f"{chosen}: no such file", "name an existing settings file, or none") from None
    except OSError as error:
        raise UsageError(f"{chosen or CONFIG_FILE}: {error.strerror}") from None
    import tomllib

    try:
        return _parse(Document(tomllib.loads(data.decode()), str(chosen or CONFIG_FILE)))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{chosen or CONFIG_FILE}: not valid TOML: {error}", _HINT) from None
    except DocumentError as error:
        raise UsageError(error.message, _HINT) from None
