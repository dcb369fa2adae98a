from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from syscontainers.containers.context import Context
from syscontainers.containers.rejection import Attempt, Rejection, read_rejection, write_rejection
from syscontainers.progress import Progress
from syscontainers.settings import Settings


def test_what_is_kept_is_read_as_it_was(tmp_path: Path) -> None:
    context = Context(replace(Settings(), state=tmp_path), Progress(quiet=True))
    assert read_rejection(context, "app") is None
    rejection = Rejection(Attempt("registry.example/app:1", "sha256:12", "runc", {"PORT": "80"}), "it did not start")
    write_rejection(context, "app", rejection)
    assert read_rejection(context, "app") == rejection
