from __future__ import annotations

from pathlib import Path

from syscontainers.containers.changes import Content
from syscontainers.containers.generation import Generation
from syscontainers.containers.hostfiles import SAVED_NAME, save_host_files
from syscontainers.containers.texts import plain_texts
from syscontainers.storage.inuse import layers_in_mounts, layers_of_options
from syscontainers.storage.store import Store

TOP = Path("/var/lib/syscontainers/containers")


def texts_of(number: int, text: str) -> dict[str, str]:
    generation = Generation("a", number, TOP / f"a.{number}")
    host_file = {"/etc/x": Content(f"{generation.directory}/y\n".encode())}
    return plain_texts(generation, {"unit": text.encode(), "info": b"{}", SAVED_NAME: save_host_files(host_file)})


def test_the_number_of_a_generation_makes_no_difference() -> None:
    one = texts_of(1, f"Root of a.1\n{TOP}/a.1/rootfs\nSYSCONTAINERS_GENERATION=1\n")
    two = texts_of(2, f"Root of a.2\n{TOP}/a.2/rootfs\nSYSCONTAINERS_GENERATION=2\n")
    assert one == two
    assert set(one) == {"unit", "/etc/x"}


def test_other_numbers_do() -> None:
    for text in (f"{TOP}/a.10/x", "/srv/data.1", f"{TOP}/ba.1", "SYSCONTAINERS_GENERATION=11"):
        assert texts_of(1, text)["unit"] == text


def test_what_is_secret_is_not_shown_in_any_form() -> None:
    generation = Generation("a", 0, TOP / "a.0")
    contents = {"config.json": b'{"env": ["T=a \\"b\\""]}', "unit": b'T=a "b"\n'}
    assert plain_texts(generation, contents, ['a "b"', ""]) == {
        "config.json": '{"env": ["T=(secret)"]}',
        "unit": "T=(secret)\n",
    }


def test_layers_are_known_by_both_of_their_paths(tmp_path: Path) -> None:
    store = Store(tmp_path / "a store", tmp_path / "staging")
    links = store.paths.links
    links.mkdir(parents=True)
    (links / "SHORT").symlink_to("../ONE/diff")
    overlay = store.paths.overlay
    options = f"ro,lowerdir={links}/SHORT:{overlay}/TWO/diff:{links}/GONE:/elsewhere/diff,upperdir={overlay}/THREE/diff"
    assert set(layers_of_options(store, options)) == {"ONE", "TWO"}
    mountinfo = tmp_path / "mountinfo"
    escaped = options.replace(" ", "\\040")
    mountinfo.write_text(f"1 2 0:3 / /x rw - overlay overlay rw,{escaped}\n4 2 0:5 / /y rw - tmpfs t rw,{escaped}X\n")
    assert layers_in_mounts(store, mountinfo) == {"ONE", "TWO"}
