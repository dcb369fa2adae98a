"""Which templates a container is made from: the image's own, and ours for what it lacks."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import SyscontainersError
from .contract import EXPORTS, Exports, ExportsManifest
from .render import placeholders

CONFIG = "config.json.template"
SERVICE = "service.template"
TMPFILES = "tmpfiles.template"
MANIFEST = "manifest.json"
# Parameters that reach our unit in another form than their own.
_BEHIND_SERVICE = ("STOP_SIGNAL",)


@dataclass(frozen=True)
class Template:
    """One template and whose it is."""

    text: str
    where: str
    """How to name it in complaints."""
    ours: bool
    literal: bool = False
    """Taken as it is, without substitution."""


@dataclass(frozen=True)
class Templates:
    """The three templates of one container."""

    config: Template
    service: Template
    tmpfiles: Template

    def mentioned(self) -> tuple[str, ...]:
        """Every variable that any of them mentions."""
        texts = [each.text for each in (self.config, self.service, self.tmpfiles) if not each.literal]
        return tuple(dict.fromkeys(name for text in texts for name in placeholders(text)))


def find_template(name: str) -> str:
    """The text of our template ``name``: of the installed package, or of the checkout we run from."""
    return _template_directory().joinpath(name).read_text(encoding="utf-8")


def choose_templates(exports: Exports) -> Templates:
    """The image's templates where it has them; its literal ``config.json`` beats everything."""
    config = _choose(CONFIG, exports.config_template)
    if exports.config is not None:
        config = Template(exports.config, f"{EXPORTS}/config.json", ours=False, literal=True)
    return Templates(config, _choose(SERVICE, exports.service_template), _choose(TMPFILES, exports.tmpfiles_template))


def our_manifest(templates: Templates) -> ExportsManifest:
    """The defaults and parameters of those of our own templates that are in use, and only those."""
    manifest = ExportsManifest.parse(find_template(MANIFEST), MANIFEST)
    for_service = {*placeholders(find_template(SERVICE)), *_BEHIND_SERVICE}
    wanted = {
        name
        for name in manifest.parameters
        if (templates.service.ours if name in for_service else templates.config.ours)
    }
    return ExportsManifest(
        default_values={name: text for name, text in manifest.default_values.items() if name in wanted},
        parameters={name: each for name, each in manifest.parameters.items() if name in wanted},
    )


def _choose(name: str, text: str | None) -> Template:
    if text is not None:
        return Template(text, f"{EXPORTS}/{name}", ours=False)
    return Template(find_template(name), f"templates/{name}", ours=True)


@cache
def _template_directory() -> Path:
    # An editable install maps the package to the checkout's templates/; a checkout that is not installed at all
    # has them beside the package.
    beside = Path(__file__).parents[2] / "templates"
    spec = importlib.util.find_spec("syscontainers.templates")
    places = [*(spec.submodule_search_locations or () if spec else ()), str(beside)]
    for place in map(Path, places):
        if (place / CONFIG).is_file():
            return place
    raise SyscontainersError("the templates that belong to syscontainers are missing", "install it again")
