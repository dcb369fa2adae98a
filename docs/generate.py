"""Write the manual page and the shells' completions, both from the parsers: ``make docs``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent
CHECKOUT = DOCS.parent
PAGE = DOCS / "man" / "syscontainer.8"
PARSER = "syscontainers.cli.parsers"
COMPLETIONS = {"bash": "syscontainer"}
_USAGE = re.compile(r"^usage: .*?(?=^$)", re.MULTILINE | re.DOTALL)


def make_files() -> dict[Path, str]:
    """All generated files, by path."""
    completions = {DOCS / "completion" / shell / name: make_completion(shell) for shell, name in COMPLETIONS.items()}
    return {PAGE: make_page(), **completions}


def make_page() -> str:
    """The manual page; it carries the version and no date, so that making it again changes nothing."""
    words = ["--module", PARSER, "--function", "whole_parser", "--prog", "syscontainer", "--project-name"]
    words += ["syscontainers", "--manual-section", "8", "--manual-title", "System Administration"]
    words += ["--description", "containers as systemd services", "--format", "single-commands-section"]
    page = _run("argparse-manpage", *words, "--include", str(DOCS / "man" / "syscontainer.include"))
    title, _, rest = page.partition("\n")
    # The lines of a usage are broken where argparse found it best.
    return re.sub(r'"\d+\\-\d+\\-\d+"', '""', title) + "\n" + _USAGE.sub(r".nf\n\g<0>.fi\n", rest)


def make_completion(shell: str) -> str:
    """The completion for one shell."""
    return _run("shtab", f"--shell={shell}", "--prog=syscontainer", f"{PARSER}.whole_parser")


def _run(program: str, *words: str) -> str:
    # argparse breaks lines at the terminal's width.
    environment = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(CHECKOUT)}
    command = [str(Path(sys.executable).with_name(program)), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


if __name__ == "__main__":
    for path, text in make_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
