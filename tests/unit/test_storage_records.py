"""IDs, names and records of a store, without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syscontainers.errors import NotFoundError, UsageError
from syscontainers.storage import imagenames, images, layers, paths, records
from syscontainers.storage.images import Image, NewImage
from syscontainers.storage.store import Store
from syscontainers.typed import Document, DocumentError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


# IDs and names


def test_layer_ids_are_those_of_containers_storage() -> None:
    # Seen in a store that podman 4.3 wrote: two layers of one image.
    base = "sha256:76634e5101335fcec24d84b3ceddec4d1f58eb19d26dea0ec9cac266b1e10897"
    top = "sha256:7ca7c3c59a8dac3f5065beecdceefbb144c8e27d92320955612cec5db3b20be1"
    assert layers.layer_ids([base, top]) == [
        "76634e5101335fcec24d84b3ceddec4d1f58eb19d26dea0ec9cac266b1e10897",
        "81d99f2f0e82c0bfc51fe5660d28de899ac18c865ac2dbaf4096d966922a8cc1",
    ]
    assert layers.layer_id(None, base) == base.removeprefix("sha256:")


@given(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_links_look_like_those_of_the_driver_and_never_change(identity: str) -> None:
    assert paths.is_link(paths.link_name(identity))
    assert paths.link_name(identity) == paths.link_name(identity)


@pytest.mark.parametrize("text", ["", "A" * 25, "A" * 27, "a" * 26, "A" * 25 + "1", "../" + "A" * 23, "A" * 26 + "\n"])
def test_what_is_no_link(text: str) -> None:
    assert not paths.is_link(text)


def test_names_of_big_data() -> None:
    assert paths.big_data_name("manifest") == "manifest"
    assert paths.big_data_name("signature-0a.1").startswith("=")  # a dash is not plain
    assert paths.big_data_name("sha256:ab") == "=c2hhMjU2OmFi"
    assert paths.big_data_name("../../etc/passwd") == "=Li4vLi4vZXRjL3Bhc3N3ZA=="


# Times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09Z"),
        ("2024-05-06T07:08:09.123456789Z", "2024-05-06T07:08:09.123456789Z"),
        ("2024-05-06T07:08:09.1234567890123Z", "2024-05-06T07:08:09.123456789Z"),
        ("2024-05-06t07:08:09z", "2024-05-06T07:08:09Z"),
        ("2024-05-06T07:08:09+02:00", "2024-05-06T07:08:09+02:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("", None),
        ("yesterday", None),
        ("2024-05-06", None),
        ("2024-05-06T07:08:09", None),
        ("2024-13-06T07:08:09Z", None),
        ("2024-02-30T07:08:09Z", None),
        ("2024-05-06T25:08:09Z", None),
        ("2024-05-06T07:08:09+25:00", None),
        ("12024-05-06T07:08:09Z", None),
        ("2024-05-06T07:08:09Z\n", None),
        ("٢٠٢٤-05-06T07:08:09Z", None),
    ],
)
def test_times_that_go_can_read(text: str, expected: str | None) -> None:
    assert records.checked_time(text) == expected


def test_now_is_such_a_time() -> None:
    now = records.now_text()
    assert records.checked_time(now) == now


# Records


def test_absent_and_empty_files_have_no_records(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    assert records.read_records(file) == []
    assert records.read_records(file / "below") == []
    for text in ("", "[]", "null", " \n"):
        file.write_text(text)
        assert records.read_records(file) == []


@pytest.mark.parametrize("text", ["{}", "[1]", '["x"]', "[{}]", '[{"id":1}]', "[", '[{"id":"a","id":"b"}]'])
def test_what_is_no_list_of_records(tmp_path: Path, text: str) -> None:
    file = tmp_path / "layers.json"
    file.write_text(text)
    with pytest.raises(DocumentError, match=r"layers\.json"):
        records.read_records(file)


UNKNOWN: dict[str, Any] = {
    "id": A,
    "from-the-future": {"deep": [1, 2.5, None, True, "\ud800 \U0001f600 <>&\u2028"]},
    "large": 12345678901234567890,
}


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    file, lock = tmp_path / "images.json", tmp_path / "images.lock"
    file.write_text(json.dumps([UNKNOWN, {"id": B}]))
    with records.locked_table(file, lock) as table:
        own = table.find(B)
        assert own is not None
        images.give_names(table.records, own, ["registry.example/x:1"])
        table.save()
    first, second = json.loads(file.read_text())
    assert first == UNKNOWN
    assert second["names"] == ["registry.example/x:1"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_leftovers_of_writers_go_with_the_next_save(tmp_path: Path) -> None:
    file, lock = tmp_path / "images.json", tmp_path / "images.lock"
    (tmp_path / ".images.json.0123abcd.tmp").write_text("half")
    (tmp_path / ".images.json.tmp-of-podman").write_text("theirs")
    with records.locked_table(file, lock) as table:
        table.save()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".images.json.tmp-of-podman",
        "images.json",
        "images.lock",
    ]


def test_each_save_changes_the_token(tmp_path: Path) -> None:
    file, lock = tmp_path / "images.json", tmp_path / "images.lock"
    tokens = set()
    for _ in range(3):
        with records.locked_table(file, lock) as table:
            table.save()
        tokens.add(lock.read_bytes())
    assert {len(token) for token in tokens} == {64}
    assert len(tokens) == 3


# Layers


def layer(identity: str, parent: str = "", **more: object) -> dict[str, Any]:
    return {"id": identity, "parent": parent, **more}


def read(*content: dict[str, Any]) -> dict[str, layers.Layer]:
    return layers.layers_from(content, Path("layers.json"))


def test_incomplete_layers_are_not_there() -> None:
    assert list(read(layer(A), layer(B, flags={"incomplete": True}), layer(C, flags={"x": 1}))) == [A, C]


def test_chains_are_base_first() -> None:
    found = read(layer(C, B), layer(A), layer(B, A))
    assert [each.id for each in layers.chain_of(found, C)] == [A, B, C]
    assert layers.chain_of(found, None) == []


def test_broken_chains_are_told() -> None:
    with pytest.raises(NotFoundError, match=A[:12]):
        layers.chain_of(read(layer(B, A)), B)
    with pytest.raises(NotFoundError):
        layers.chain_of(read(layer(B, A), layer(A, B)), B)  # a ring


# Images


def image(identity: str, *names: str, **more: object) -> dict[str, Any]:
    return {"id": identity, "names": list(names), **more}


def found(content: list[dict[str, Any]], name: str) -> str | None:
    match = images.find_image(images.images_from(content, Path("images.json")), name)
    return match.id if match else None


def test_finding_images() -> None:
    digest, other = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    content = [
        image(
            A, "registry.example:5000/a:1", **{"digest": digest, "big-data-names": ["manifest", f"manifest-{other}"]}
        ),
        image("ab" + "c" * 62, "registry.example/b:1", digest=digest),
        image(C, "abc", f"registry.example/c@{other}"),
    ]
    assert found(content, "registry.example:5000/a:1") == A
    assert found(content, "registry.example:5000/a:2") is None
    assert found(content, f"registry.example:5000/a@{digest}") == A
    assert found(content, f"registry.example:5000/a@{other}") == A
    assert found(content, f"registry.example/b@{digest}") == "ab" + "c" * 62
    assert found(content, f"registry.example/b@{other}") is None
    assert found(content, f"registry.example/c@{other}") is None  # its name says so, but none of its documents
    assert found(content, A) == found(content, f"sha256:{A}") == found(content, "aaa") == A
    assert found(content, "abc") == C  # a name comes before the beginning of an ID
    assert found(content, "aa") is None
    assert found(content, "xyz") is None
    with pytest.raises(UsageError, match="2 images"):
        found([image("abcd" + "0" * 60), image("abce" + "0" * 60)], "abc")


def test_a_name_belongs_to_one_image() -> None:
    first, second = image(A, "r.example/x:1", "r.example/x:2"), image(B)
    content = [first, second]
    assert images.give_names(content, second, ["r.example/x:1"])
    assert (first["names"], second["names"]) == (["r.example/x:2"], ["r.example/x:1"])
    assert not images.give_names(content, second, ["r.example/x:1"])
    assert images.give_names(content, second, ["r.example/x:2"])
    assert "names" not in first
    assert second["names"] == ["r.example/x:1", "r.example/x:2"]
    assert second["names-history"] == ["r.example/x:2", "r.example/x:1"]
    assert images.take_name(second, "r.example/x:1")
    assert not images.take_name(second, "r.example/x:1")
    assert second["names-history"] == ["r.example/x:2", "r.example/x:1"]


BAD_NAMES = (
    *("", "x", "x:1", "foo/bar:1", "r.example/x", "r.example/x:", "r.example/x:1\n", "r.example/x:\x1b", A, f"@{A}"),
    *("oci:/x/y", "dir:/x", "docker-archive:/a/b", "containers-storage:foo", "docker://r.example/x:1"),
    *("Foo/bar:1", "LOCALHOST/x:1", "[::1]:5000/foo:latest", "[::1]/foo:1", "r.example:0/x:1", "r..example/x:1"),
    *("r.example/X:1", "r.example//x:1", "r.example/../x:1", f"r.example/{'n' * 250}:1", f"r.example/x:{'t' * 129}"),
    *(f"r.example/x:1@sha256:{A}", "r.example/x@sha256:12", f"r.example/x@sha512:{A}{A}"),
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_image_gets_a_name_that_podman_cannot_read(name: str) -> None:
    record = image(A, "r.example/x:1", digest=f"sha256:{A}")
    with pytest.raises(UsageError, match="podman could not read it"):
        images.give_names([record], record, [name])
    assert record["names"] == ["r.example/x:1"]


def test_an_image_gets_no_digest_for_a_name_but_its_own() -> None:
    own, of_index, none = (f"sha256:{digit * 64}" for digit in "123")
    record = image(A, **{"digest": own, "big-data-names": [f"manifest-{of_index}"]})
    assert images.give_names([record], record, [f"r.example/x@{own}", f"r.example/y@{of_index}"])
    with pytest.raises(UsageError, match="another digest"):
        images.give_names([record], record, [f"r.example/x@{none}"])


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("registry.example/a:1", "registry.example/a"),
        ("registry.example:5000/a", "registry.example:5000/a"),
        ("registry.example:5000/a:1", "registry.example:5000/a"),
        ("registry.example/a@sha256:00", "registry.example/a"),
        ("localhost/a", "localhost/a"),
    ],
)
def test_repositories(name: str, repository: str) -> None:
    assert imagenames.repository_of(name) == repository


def test_record_of_an_image() -> None:
    new = NewImage(b"{}", "sha256:" + "1" * 64, b"config", created="nonsense")
    record = images.make_record(new, A)
    images.note_big_data(record, new)
    assert record["id"] == "b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910"
    assert records.checked_time(record["created"])
    assert record["big-data-names"] == [f"manifest-sha256:{'1' * 64}", "manifest", f"sha256:{record['id']}"]
    assert record["big-data-sizes"]["manifest"] == 2
    read_back = Image.from_record(Document(record, "images.json"))
    assert read_back.digests == ("sha256:" + "1" * 64,)
    assert "layer" not in images.make_record(new, None)


def test_an_absent_store_is_an_empty_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "none", tmp_path / "staging")
    assert (store.images(), store.layers(), store.find_image("x"), store.find_layer(A)) == ([], {}, None, None)
    assert store.find_garbage().layers == ()
    assert list(tmp_path.iterdir()) == []
