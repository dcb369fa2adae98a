"""An image as it can be described before anything is installed from it."""

from __future__ import annotations

from dataclasses import dataclass

from ..exports.contract import read_exports
from ..exports.describe import Description, describe_variables
from ..images.config import ImageConfig
from ..storage.images import Image
from ..storage.mounts import open_tree
from .context import Context


@dataclass(frozen=True)
class DescribedImage:
    """What an image is and what it can be told."""

    image: Image
    config: ImageConfig
    has_exports: bool
    layers: int
    variables: tuple[Description, ...]

    def to_json(self) -> dict[str, object]:
        """For ``image show --json``; the keys are a contract."""
        return {
            "id": self.image.id,
            "names": list(self.image.names),
            "digest": self.image.digest,
            "created": self.image.created,
            "platform": str(self.config.platform),
            "layers": self.layers,
            "exports": self.has_exports,
            "entrypoint": list(self.config.entrypoint),
            "cmd": list(self.config.cmd),
            "labels": dict(self.config.labels),
            "variables": [
                {
                    "name": variable.name,
                    "default": variable.default,
                    "required": variable.required,
                    "origin": variable.origin,
                    "type": variable.parameter.type,
                    "help": variable.parameter.help,
                    "allowed": list(variable.parameter.allowed),
                    "secret": variable.parameter.secret,
                }
                for variable in self.variables
            ],
        }

    def fields(self) -> list[tuple[str, str]]:
        """For people: what the image is."""
        return [
            ("Names", " ".join(self.image.names) or "<none>"),
            ("ID", self.image.id),
            ("Digest", self.image.digest),
            ("Created", self.image.created),
            ("Platform", str(self.config.platform)),
            ("Layers", str(self.layers)),
            ("Runs", " ".join((*self.config.entrypoint, *self.config.cmd)) or "-"),
            ("Templates", "its own" if self.has_exports else "ours"),
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """For people: what the image can be told."""
        return [_row(variable) for variable in self.variables if variable.origin not in ("forced", "os")]


def describe_image(context: Context, image: Image) -> DescribedImage:
    """Look into an image of the storage. Raises RefusedError and DocumentError for what it has wrong."""
    config = ImageConfig.parse(context.store.read_config(image), f"{image.id[:12]}: config")
    with open_tree(context.store.lower_directories(image)) as tree:
        exports = read_exports(tree)
    layers = len(context.store.chain(image))
    return DescribedImage(image, config, exports.present, layers, tuple(describe_variables(exports)))


def _row(variable: Description) -> tuple[str, ...]:
    default = "required" if variable.required else repr(variable.default or "")
    return variable.name, default[:40], variable.origin, variable.parameter.type, variable.parameter.help
