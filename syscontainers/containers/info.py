"""The record beside each generation: ``info``, a superset of the one Project Atomic's clients read.

Only ``image`` and ``values`` are required when reading; everything else has a default, so that a record from an
older version never stops a command. Values that the user set stand apart from resolved ones: a new image's
defaults must reach an updated container.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import SyscontainersError
from ..exports.health import HealthCheck
from ..files import read_bounded
from ..typed import Document

_LIMIT = 16 << 20


@dataclass(frozen=True)
class Info:
    """What a generation was made from."""

    image: str
    """The reference as the user may give it again."""
    digest: str = ""
    """The manifest's digest, ``sha256:…``."""
    image_id: str = ""
    """The image's ID in the storage: the hex digest of its config."""
    layers: tuple[str, ...] = ()
    """The layers the root is made of, base first; they stay in the storage as long as this generation."""
    created: float = 0.0
    """Seconds since the epoch, UTC."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Every resolved variable."""
    user_values: Mapping[str, str] = field(default_factory=dict)
    """Those that ``--set`` gave."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each value came from."""
    secrets: tuple[str, ...] = ()
    """Variables whose values are never shown."""
    runtime: str = ""
    has_service: bool = True
    detached: bool = True
    """Whether the payload itself is the unit's main process."""
    writable: bool = False
    mount_unit: str = ""
    """The unit that mounts ``rootfs``."""
    remote: str = ""
    """The directory that is its root, where that is not of our making."""
    health: HealthCheck | None = None
    """How the image says that the payload is asked whether it is well."""
    host_files: Mapping[str, str] = field(default_factory=dict)
    """Host files that the image brings, with their fingerprints (see ``hostfiles``)."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The other files of the generation's directory, with their sha256; empty in a record of an older version."""
    notices: tuple[str, ...] = ()
    """What was changed in the image's own configuration to make it run."""
    storage: str = ""
    """The root of the storage that has the layers; empty in records from before it was noted."""

    @property
    def revision(self) -> str:
        """The manifest digest without its algorithm, as the ancestor recorded it."""
        return self.digest.removeprefix("sha256:")

    def secret_texts(self) -> tuple[str, ...]:
        """The values that are never shown."""
        return tuple(self.values[name] for name in self.secrets if self.values.get(name))

    def shown_value(self, name: str) -> str:
        """The value of a variable as it may be shown, on one line."""
        return "(secret)" if name in self.secrets else self.values.get(name, "").strip().replace("\n", " ")

    def to_bytes(self) -> bytes:
        """The record's text: JSON, 4 spaces, trailing newline."""
        return (
            json.dumps(
                {
                    "image": self.image,
                    "revision": self.revision,
                    "digest": self.digest,
                    "image-id": self.image_id,
                    "layers": list(self.layers),
                    "storage": self.storage,
                    "created": self.created,
                    "values": dict(self.values),
                    "user-values": dict(self.user_values),
                    "origins": dict(self.origins),
                    "secrets": list(self.secrets),
                    "runtime": self.runtime,
                    "has-container-service": self.has_service,
                    "detached": self.detached,
                    "writable": self.writable,
                    "mount-unit": self.mount_unit,
                    "health": self.health.to_json() if self.health else None,
                    "files": dict(self.files),
                    "notices": list(self.notices),
                    "installed-files": sorted(self.host_files),
                    "installed-files-checksum": dict(self.host_files),
                    "installed-files-template": [],
                    "rename-installed-files": {},
                    "rpm-installed": None,
                    "system-package": "no",
                    "remote": self.remote or None,
                    "use-links": False,
                },
                indent=4,
            )
            + "\n"
        ).encode()

    @classmethod
    def parse(cls, data: bytes, where: str) -> Info:
        """Read a record. Raises DocumentError naming ``where``."""
        document = Document.parse(data, where)
        created = document.get("created", 0.0)
        health = document.get_optional_object("health")
        return cls(
            image=document.get_str("image"),
            digest=document.get_str("digest", ""),
            image_id=document.get_str("image-id", ""),
            layers=tuple(document.get_strings("layers", [])),
            storage=document.get_str("storage", ""),
            # Bounded: a time that the C library cannot show would hide every other container's row.
            created=float(created) if isinstance(created, (int, float)) and 0 <= created < 1e11 else 0.0,
            values={key: str(value) for key, value in document.get_object("values").items()},
            user_values=document.get_string_map("user-values", {}),
            origins=document.get_string_map("origins", {}),
            secrets=tuple(document.get_strings("secrets", [])),
            runtime=document.get_str("runtime", ""),
            has_service=document.get_bool("has-container-service", True),
            detached=document.get_bool("detached", True),
            writable=document.get_bool("writable", False),
            mount_unit=document.get_str("mount-unit", ""),
            # The ancestor wrote false where there is none.
            remote=document.get_str("remote", "") if document.get("remote") else "",
            health=None if health is None else HealthCheck.from_json(health),
            host_files=document.get_string_map("installed-files-checksum", {}),
            files=document.get_string_map("files", {}),
            notices=tuple(document.get_strings("notices", [])),
        )

    @classmethod
    def read(cls, path: Path) -> Info:
        """Read the record at ``path``. Raises SyscontainersError for one that is missing or damaged."""
        try:
            data = read_bounded(path, _LIMIT)
        except OSError as error:
            raise SyscontainersError(f"{path}: {error.strerror}") from None
        return cls.parse(data, str(path))
