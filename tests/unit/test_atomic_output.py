"""What the atomic command prints of containers and images: tables, keys and filters that scripts know."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from syscontainers.cli.ancestor import changes, containers, images, rows
from syscontainers.cli.ancestor.rows import ContainerRow, ImageRow, split_name
from syscontainers.cli.ancestor.tables import DeclinedError, confirm
from syscontainers.containers.context import Context
from syscontainers.containers.generation import generation_at
from syscontainers.containers.info import Info
from syscontainers.containers.listing import Row
from syscontainers.containers.update import Outcome
from syscontainers.errors import SyscontainersError, UsageError
from syscontainers.progress import Progress
from syscontainers.settings import Settings

ETCD = ContainerRow(
    name="etcd",
    image_id="ab" * 32,
    image_name="registry.example/group/etcd:3.5",
    command="/usr/bin/etcd --name=default",
    created="2026-01-02 03:04:05",
    state="running",
    runtime="/usr/sbin/runc",
)
OTHERS = [
    ContainerRow("kubelet-with-a-name", "cd" * 32, "r.example/kubelet:1", "", "2026-01-02 03:04:06", "failed", "/r"),
    ContainerRow("rest", "ef" * 32, "r.example/rest:1", "/x", "2026-01-02 03:04:07", "inactive", "/r"),
    ContainerRow("files", "ef" * 32, "r.example/rest:1", "", "2026-01-02 03:04:07", "no service", "/r"),
]

Listed = Callable[..., str]


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Listed:
    """What a command line of ``containers`` or ``images`` prints; the rows are given."""
    context = Context(Settings(state=tmp_path), Progress(quiet=True))

    def run(module: object, *words: str, given: object = (ETCD, *OTHERS)) -> str:
        parser = argparse.ArgumentParser()
        module.configure(parser)  # type: ignore[attr-defined]
        monkeypatch.setattr(containers, "container_rows", lambda _context: list(given))  # type: ignore[call-overload]
        monkeypatch.setattr(images, "image_rows", lambda _context, layers: list(given))  # type: ignore[call-overload]
        monkeypatch.setattr(images, "require_root", lambda *_words: None)
        options = parser.parse_args(words)
        assert options.run(context, options) == 0
        return capsys.readouterr().out

    return run


def test_columns_have_the_known_widths(listed: Listed) -> None:
    assert listed(containers, "list", "-f", "container=etcd").splitlines() == [
        "   CONTAINER ID IMAGE                NAME       COMMAND    CREATED          STATE      BACKEND    RUNTIME   ",
        "   etcd         registry.example/gro etcd       /usr/bin/e 2026-01-02 03:04 running    ostree     /usr/sbin/",
    ]


def test_no_trunc_cuts_nothing(listed: Listed) -> None:
    heading, etcd, kubelet = listed(containers, "list", "--no-trunc").splitlines()[:3]
    assert "registry.example/group/etcd:3.5" in etcd
    assert "/usr/bin/etcd --name=default" in etcd
    assert "2026-01-02 03:04:05" in etcd
    assert etcd.index("running") == kubelet.index("failed") == heading.index("STATE")


def test_only_the_inactive_are_hidden(listed: Listed) -> None:
    names = "etcd\nkubelet-with-a-name\nfiles\n"
    assert listed(containers, "list", "-q", "--no-trunc") == names
    assert "rest\n" in listed(containers, "list", "-q", "-a")


def test_quiet_cuts_and_beats_json(listed: Listed) -> None:
    assert listed(containers, "list", "-q", "--json", "-f", "state=failed") == "kubelet-with\n"


def test_nothing_to_list(listed: Listed) -> None:
    assert listed(containers, "list", given=()) == ""
    assert json.loads(listed(containers, "list", "--json", given=())) == []
    assert listed(containers, "list", "-n", "-f", "container=etcd").startswith("   etcd")


def test_json_keys(listed: Listed) -> None:
    (row,) = json.loads(listed(containers, "list", "--json", "-f", "container=etcd"))
    assert row == {
        "id": "etcd",
        "image_id": "ab" * 32,
        "image_name": "registry.example/group/etcd:3.5",
        "name": "etcd",
        "command": "/usr/bin/etcd --name=default",
        "created": "2026-01-02 03:04:05",
        "state": "running",
        "backend": "ostree",
        "runtime": "/usr/sbin/runc",
        "vulnerable": False,
        "running": True,
    }


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["container=ETC"], ["etcd"]),
        (["image=r.example/"], ["kubelet-with-a-name", "files"]),
        (["image=r.example/", "state=no"], ["files"]),
        (["runtime=runc", "backend=ostree", "command=name=default", "created=2026-01"], ["etcd"]),
        (["container=no-such"], []),
    ],
)
def test_filters_are_substrings_and_all_must_match(listed: Listed, filters: list[str], found: list[str]) -> None:
    words = [word for each in filters for word in ("-f", each)]
    assert listed(containers, "list", "-q", "--no-trunc", *words).split() == found


@pytest.mark.parametrize("wrong", ["size=1", "etcd"])
def test_unknown_filters_are_refused(listed: Listed, wrong: str) -> None:
    with pytest.raises(UsageError, match="Please choose from container, image, command, created, state, runtime"):
        listed(containers, "list", "-f", wrong)


NAMED = ImageRow("r.example/etcd", "3.5", "ab" * 32, "2026-01-02 03:04", 45_300_000, False, True)
BARE = ImageRow("<none>", "<none>", "cd" * 32, "", 0, True, False)


def test_images_table(listed: Listed) -> None:
    # two more than the longest name and tag; then 14, 18, 14 and 10
    assert listed(images, "list", given=(NAMED, BARE)).splitlines() == [
        f"   REPOSITORY       TAG      IMAGE ID       {'CREATED':18} VIRTUAL SIZE   TYPE      ",
        f">  r.example/etcd   3.5      abababababab   {'2026-01-02 03:04':18} 45.3 MB        ostree    ",
        f"*  <none>           <none>   cdcdcdcdcdcd   {'':18} 0 B            ostree    ",
    ]


def test_images_quiet_and_filters(listed: Listed) -> None:
    both = (NAMED, BARE)
    assert listed(images, "list", "-q", "-f", "repo=etcd", given=both) == "abababababab\n"
    assert listed(images, "list", "-q", "--no-trunc", "-f", "is_dangling=true", given=both) == "cd" * 32 + "\n"
    assert listed(images, "list", "-q", "-f", "image=abab", "-f", "tag=3", "-f", "type=ostree", given=both) != ""
    assert listed(images, "list", "-q", "-f", "size=GB", given=both) == ""


def test_images_json_keys(listed: Listed) -> None:
    (row,) = json.loads(listed(images, "list", "--json", given=(NAMED,)))
    assert row == {
        "repo": "r.example/etcd",
        "tag": "3.5",
        "is_dangling": False,
        "used": True,
        "vulnerable": False,
        "id": "ab" * 32,
        "type": "ostree",
        "created": "2026-01-02 03:04",
        "virtual_size": "45.3 MB",
        "backend": "ostree",
        "vuln_info": {},
    }


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("running", "running"),
        ("failed", "failed"),
        ("broken", "failed"),
        ("no service", "no service"),
        ("inactive", "inactive"),
        ("starting", "inactive"),
        ("stopping", "inactive"),
        ("unknown", "inactive"),
    ],
)
def test_states_are_those_that_clients_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: str, theirs: str
) -> None:
    context = Context(Settings(state=tmp_path), Progress(quiet=True))
    monkeypatch.setattr(rows, "list_containers", lambda _context: [Row("x", ours, None, None)])
    assert [row.state for row in rows.container_rows(context)] == [theirs]


def test_the_command_comes_from_the_runtime_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(Settings(state=tmp_path), Progress(quiet=True))
    whole, broken = generation_at(context, "whole", 3), generation_at(context, "broken", 1)
    for generation, text in ((whole, '{"process": {"args": ["/bin/x", "-v"]}}'), (broken, "{")):
        generation.directory.mkdir(parents=True)
        (generation.directory / "config.json").write_text(text)
    info = Info("r.example/x:1", digest="sha256:" + "a" * 64, created=1.0, runtime="/r")
    given = [Row("whole", "running", 3, info), Row("broken", "running", 1, info), Row("none", "no service", 0, info)]
    monkeypatch.setattr(rows, "list_containers", lambda _context: given)
    found = rows.container_rows(context)
    assert [row.command for row in found] == ["/bin/x -v", "", ""]
    assert found[0].image_id == "a" * 64


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("r.example:5000/x:1", ("r.example:5000/x", "1")),
        ("r.example:5000/x", ("r.example:5000/x", "<none>")),
        ("r.example/x@sha256:" + "a" * 64, ("r.example/x", "<none>")),
        ("<none>", ("<none>", "<none>")),
    ],
)
def test_names_are_split_at_the_tag(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


@pytest.mark.parametrize(
    ("before", "after", "latest", "status"),
    [
        ("a", "b", "b", "Updated now"),
        ("a", "a", "a", "Updated"),
        ("a", "a", "b", "Not updated"),
        ("a", "b", "", "Unknown"),
    ],
)
def test_the_summary_says_what_became_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, latest: str, status: str
) -> None:
    context = Context(Settings(state=tmp_path), Progress(quiet=True))
    monkeypatch.setattr(changes, "_latest", lambda _context, _name: latest)
    row = changes._summary(context, Outcome("x", f"sha256:{before}", f"sha256:{after}"))
    assert row == ("x", before, after, latest or "<NOT FOUND>", status)
    failed = Outcome("x", f"sha256:{before}", f"sha256:{before}", error=SyscontainersError("no"))
    assert changes._summary(context, failed)[4] == "Failed"


@pytest.mark.parametrize("answer", ["", "n", "no", "yes please"])
def test_whoever_does_not_say_yes_declines(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("builtins.input", lambda _prompt: answer)
    with pytest.raises(DeclinedError):
        confirm(assumed=False, action="it")


def test_yes_is_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _prompt: " Y ")
    confirm(assumed=False, action="it")


def test_nobody_there_declines(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    confirm(assumed=True, action="it")
    with pytest.raises(DeclinedError):
        confirm(assumed=False, action="it")
