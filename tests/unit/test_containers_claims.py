import threading
from pathlib import Path

import pytest

from syscontainers.containers.changes import Content, apply_changes, undo_changes
from syscontainers.containers.claims import begin
from syscontainers.containers.context import Context
from syscontainers.containers.journal import DONE, UNDOING, Switch, drop_record, peek_record, rename_record
from syscontainers.progress import Progress
from syscontainers.settings import Settings

TOOL = "/usr/local/bin/tool"
FILES = {TOOL: Content(b"#!/bin/sh\n", 0o755)}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "host").mkdir()
    return Context(Settings(state=tmp_path / "state", host=tmp_path / "host"), Progress(quiet=True))


def install(context: Context, name: str) -> Switch:
    return begin(context, Switch(name, "install", None, 0), FILES)


def owns(context: Context, switch: Switch) -> bool:
    return context.settings.host / TOOL.lstrip("/") in {change.path for change in switch.changes}


def test_of_many_at_once_one_owns_a_path(context: Context) -> None:
    together = threading.Barrier(8)
    begun: list[Switch] = []

    def work(number: int) -> None:
        together.wait()
        begun.append(install(context, f"number{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 8
    assert sum(owns(context, switch) for switch in begun) == 1


@pytest.mark.parametrize("phase", [UNDOING, DONE])
def test_a_claim_lasts_as_long_as_its_record(context: Context, phase: str) -> None:
    first = rename_record(context, install(context, "first"), phase)
    second = install(context, "second")
    assert not owns(context, second)
    drop_record(context, second)
    drop_record(context, first)
    assert owns(context, install(context, "third"))


def test_undoing_the_first_takes_nothing_from_the_second(context: Context) -> None:
    first, second = install(context, "first"), install(context, "second")
    apply_changes(first.changes)
    apply_changes(second.changes)
    undo_changes(second.changes)
    assert (context.settings.host / TOOL.lstrip("/")).read_bytes() == FILES[TOOL].data


def test_a_record_that_cannot_be_read_claims_nothing_and_stays(context: Context) -> None:
    install(context, "first")
    record = context.settings.transactions / "first.json"
    record.write_text("{")
    assert peek_record(context, "first") is None
    assert owns(context, install(context, "second"))
    assert record.read_text() == "{"
