from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syscontainers import kernel
from syscontainers.errors import RefusedError
from syscontainers.exports.tree import is_symlink_in_tree, normal_path, resolve_in_tree
from tests.unit.exports_image import make_image, open_image

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=5).map("/".join)
ENTRIES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.one_of(st.none(), st.just(""), PATHS, PATHS.map("/".__add__))
)


def build(root: Path, entries: dict[tuple[str, ...], str | None]) -> None:
    """Directories (None), files ("") and links; what does not fit into what is there is left out."""
    for parts, target in sorted(entries.items()):
        path = root.joinpath(*parts)
        if any(parent.is_symlink() or parent.is_file() for parent in (path, *path.parents)) or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if target is None:
            path.mkdir()
        elif target == "":
            path.touch()
        else:
            path.symlink_to(target)


def kernel_finds(tree: int, path: str) -> os.stat_result | None:
    """What is at ``path`` for a process whose root is ``tree``; None for nothing, or for a loop."""
    try:
        descriptor = kernel.openat2(tree, path, os.O_PATH, resolve=kernel.RESOLVE_IN_ROOT)
    except OSError:
        return None
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


@settings(deadline=None)
@given(ENTRIES, PATHS)
def test_names_lead_where_the_kernel_says(entries: dict[tuple[str, ...], str | None], path: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        build(Path(directory), entries)
        with open_image(Path(directory)) as tree:
            theirs = kernel_finds(tree, f"/{path}")
            if theirs is None:
                return
            place = resolve_in_tree(tree, path)
            assert place.status is not None
            assert os.path.samestat(place.status, theirs)
            assert not stat.S_ISLNK(place.status.st_mode)
            # The path that we hand to the runtime needs no link to get there.
            found = os.stat(f"{directory}{place.path}", follow_symlinks=False)
            assert os.path.realpath(f"{directory}{place.path}") == os.path.normpath(f"{directory}{place.path}")
            assert os.path.samestat(found, theirs)


@settings(deadline=None)
@given(ENTRIES, PATHS)
def test_nothing_leads_out(entries: dict[tuple[str, ...], str | None], path: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        build(Path(directory), entries)
        with open_image(Path(directory)) as tree:
            try:
                place = resolve_in_tree(tree, path)
            except RefusedError:
                return
        assert place.path.startswith("/")
        assert not {"..", ".", ""} & set(place.path.split("/")[1:]) or place.path == "/"


def test_what_will_be_covered_is_not_looked_into(tmp_path: Path) -> None:
    with open_image(make_image(tmp_path, {"run/x": "-> /etc", "etc": None})) as tree:
        place = resolve_in_tree(tree, "/run/x/y", covered={"/run"})
        assert (place.path, place.status, place.hidden) == ("/run/x/y", None, True)
        assert resolve_in_tree(tree, "/run/x").path == "/etc"


def test_only_the_last_name_tells_a_link(tmp_path: Path) -> None:
    with open_image(make_image(tmp_path, {"d": "-> e", "e/link": "-> x", "e/file": ""})) as tree:
        assert is_symlink_in_tree(tree, "/d")
        assert is_symlink_in_tree(tree, "/d/link")
        assert not is_symlink_in_tree(tree, "/d/file")
        assert not is_symlink_in_tree(tree, "/d/none")


def test_normal_paths() -> None:
    assert [normal_path(path) for path in ("//a//b/./c/..", "/", "//", "a/../b")] == ["/a/b", "/", "/", "b"]


def test_a_path_of_very_many_parts_takes_no_time(tmp_path: Path) -> None:
    with open_image(make_image(tmp_path, {"a": None})) as tree:
        longest = "/x" * 2047
        assert resolve_in_tree(tree, longest, covered={f"/{number}" for number in range(100)}).path == longest
        with pytest.raises(RefusedError, match="longer than 4095 bytes"):
            resolve_in_tree(tree, "/é" * 2000)


def test_what_covers_is_left_by_going_up(tmp_path: Path) -> None:
    with open_image(make_image(tmp_path, {"run/x": "-> /etc", "etc": None, "out": "-> run/../etc"})) as tree:
        assert resolve_in_tree(tree, "/run/x/../../run/../etc", covered={"/run"}) == resolve_in_tree(tree, "/etc")
        assert resolve_in_tree(tree, "/out", covered={"/run"}) == resolve_in_tree(tree, "/etc")
        assert resolve_in_tree(tree, "/etc/../run/x", covered={"/"}).hidden
