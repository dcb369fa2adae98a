"""The store as root: layers below layers, crashes, claims, garbage, and a look inside."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from syscontainers import kernel
from syscontainers.errors import NotFoundError, SyscontainersError, UsageError
from syscontainers.storage import commit, records
from syscontainers.storage.images import NewImage
from syscontainers.storage.layers import Layer, LayerGoneError, layer_ids, read_layers
from syscontainers.storage.paths import StorePaths
from syscontainers.storage.staged import StagedLayer
from syscontainers.storage.staging import Ticket
from syscontainers.storage.store import Store
from syscontainers.storage.verify import verify_documents
from syscontainers.typed import DocumentError
from tests.root.storage_tools import Item, add_image, base_items, make_image, make_staged, sha256, top_items

pytestmark = pytest.mark.root

NAME = "registry.example/team/app:1"
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "ours", tmp_path / "staging")


def names_below(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


def in_child(work: Callable[[], object]) -> int:
    """The exit code of a process of its own; minus the signal that ended it."""
    process = FORK.Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


# What is written


def test_layer_directory(store: Store) -> None:
    image = add_image(store, NAME, base_items(), top_items())
    base, top = (store.paths.layer(layer.id) for layer in store.chain(image))
    assert sorted(path.name for path in base.iterdir()) == ["diff", "empty", "link", "merged", "work"]
    assert sorted(path.name for path in top.iterdir()) == ["diff", "link", "lower", "lower-layers", "merged", "work"]
    assert (top / "lower").read_text() == f"l/{(base / 'link').read_text()}"
    assert (top / "lower-layers").read_text() == base.name
    assert [stat.S_IMODE((path / "diff").stat().st_mode) for path in (base, top)] == [0o555, 0o555]
    for path in (base, top):
        assert (store.root / "overlay/l" / (path / "link").read_text()).readlink() == Path("..", path.name, "diff")


def test_a_third_layer_lists_both_below(store: Store) -> None:
    image = add_image(store, NAME, base_items(), top_items(), [Item("third", b"3")])
    ids = [layer.id for layer in store.chain(image)]
    links = [(store.paths.layer(identity) / "link").read_text() for identity in ids]
    assert (store.paths.layer(ids[2]) / "lower").read_text() == f"l/{links[1]}:l/{links[0]}"
    assert (store.paths.layer(ids[2]) / "lower-layers").read_text() == f"{ids[1]}:{ids[0]}"
    assert store.lower_directories(image) == [store.root / "overlay/l" / link for link in reversed(links)]


def test_top_of_a_layer_follows_the_one_below(store: Store) -> None:
    first = add_image(store, NAME, base_items())
    assert first.layer is not None
    # podman's own stores have such: a base layer committed from a container
    os.chmod(store.paths.diff(first.layer), 0o755)
    os.chown(store.paths.diff(first.layer), 12, 13)
    with store.staging_directory() as staging:
        below = store.layers()[first.layer]
        layers: list[Layer | StagedLayer] = [below, make_staged(staging.path / "1", top_items())]
        new = make_image([layer for layer in layers if isinstance(layer, StagedLayer)], [NAME])
        image = store.commit_image(new, layers, staging)
    assert image.layer is not None
    status = store.paths.diff(image.layer).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o755, 12, 13)


def test_implied_directories_look_like_what_they_hide(store: Store) -> None:
    deep = [Item("a/", mode=0o711, uid=3, gid=4, mtime=1_000), Item("a/b/", mode=0o1777, uid=5, mtime=2_000)]
    image = add_image(store, NAME, deep, [Item("a/b/c", b"c")], [Item("a/b/d", b"d")], implied=[b"a", b"a/b"])
    for layer in store.chain(image):
        for path, mode, owner, time in (("a", 0o711, (3, 4), 1_000), ("a/b", 0o1777, (5, 0), 2_000)):
            status = (store.paths.diff(layer.id) / path).stat()
            assert stat.S_IMODE(status.st_mode) == mode
            assert (status.st_uid, status.st_gid, status.st_mtime) == (*owner, time)


def test_implied_directories_take_attributes_but_no_marks(store: Store) -> None:
    with store.staging_directory() as staging:
        layers = [make_staged(staging.path / "0", [Item("a/"), Item("a/x")])]
        for name, value in (("user.note", b"1"), ("trusted.overlay.opaque", b"y")):
            os.setxattr(layers[0].directory / "diff/a", name, value)
        layers.append(make_staged(staging.path / "1", [Item("a/y")], implied=[b"a"]))
        image = store.commit_image(make_image(layers, [NAME]), layers, staging)
    assert image.layer is not None
    assert os.listxattr(store.paths.diff(image.layer) / "a") == ["user.note"]


@pytest.mark.parametrize(
    "between",
    [[Item(".wh.a")], [Item("a", b"now a file")], [Item("a", link="elsewhere"), Item("elsewhere/", mode=0o700)]],
)
def test_implied_directories_inherit_nothing_that_is_hidden(store: Store, between: list[Item]) -> None:
    image = add_image(store, NAME, [Item("a/", mode=0o711, uid=3)], between, [Item("a/y")], implied=[b"a"])
    assert image.layer is not None
    assert (store.paths.diff(image.layer) / "a").stat().st_uid == 0


def test_an_opaque_directory_hides_what_is_below_it(store: Store) -> None:
    with store.staging_directory() as staging:
        layers = [
            make_staged(staging.path / "0", [Item("a/"), Item("a/b/", mode=0o700, uid=3)]),
            make_staged(staging.path / "1", [Item("a/")]),
            make_staged(staging.path / "2", [Item("a/b/c")], implied=[b"a/b"]),
        ]
        os.setxattr(layers[1].directory / "diff/a", "trusted.overlay.opaque", b"y")
        image = store.commit_image(make_image(layers, [NAME]), layers, staging)
    assert image.layer is not None
    assert (store.paths.diff(image.layer) / "a/b").stat().st_uid == 0


def test_nothing_is_left_in_staging(store: Store) -> None:
    add_image(store, NAME, base_items(), top_items())
    assert names_below(store.staging) == []


def test_the_same_image_again_changes_nothing(store: Store) -> None:
    add_image(store, NAME, base_items(), top_items())
    files = [store.paths.layers_json, store.paths.images_json, store.paths.layers_lock, store.paths.images_lock]
    before = [(file.read_bytes(), file.stat().st_ino) for file in files]
    add_image(store, NAME, base_items(), top_items())
    assert [(file.read_bytes(), file.stat().st_ino) for file in files] == before
    assert names_below(store.staging) == []


def test_an_image_that_podman_has_only_listed_so_far(store: Store) -> None:
    image = add_image(store, NAME, base_items())
    files = [store.paths.images_json.read_bytes(), *names_below(store.paths.image(image.id))]
    shutil.rmtree(store.paths.image(image.id))
    assert add_image(store, NAME, base_items()) == image
    assert [store.paths.images_json.read_bytes(), *names_below(store.paths.image(image.id))] == files
    assert list(verify_documents(store, image)) == []


def test_an_image_without_layers(store: Store) -> None:
    with store.staging_directory() as staging:
        image = store.commit_image(make_image([], [NAME]), [], staging)
    assert store.find_image(NAME) == image
    assert store.chain(image) == []
    with pytest.raises(SyscontainersError, match="no layers"):
        store.lower_directories(image)


def test_one_layer_still_gives_two_lower_directories(store: Store) -> None:
    image = add_image(store, NAME, base_items())
    first, second = store.lower_directories(image)
    assert list(second.iterdir()) == []
    assert (first / "etc/motd").exists()


def test_staging_elsewhere_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="file system"):
        Store(store.root, Path("/dev/shm") / tmp_path.name).create()
    (Path("/dev/shm") / tmp_path.name).rmdir()


def test_a_store_of_another_driver_is_refused(store: Store) -> None:
    (store.root / "vfs-layers").mkdir(parents=True)
    with pytest.raises(UsageError, match="vfs"):
        store.create()
    assert [path.name for path in store.root.iterdir()] == ["vfs-layers"]


# Others at the same time


def test_a_layer_that_came_meanwhile_is_dropped(store: Store) -> None:
    with store.staging_directory() as staging:
        layers = [make_staged(staging.path / "0", base_items()), make_staged(staging.path / "1", top_items())]
        first = add_image(store, "registry.example/first:1", base_items())
        assert first.layer is not None
        # As another writer may have made it, under a link of its own choice.
        link = store.paths.layer(first.layer) / "link"
        store.paths.link(link.read_text()).rename(store.paths.link("A" * 26))
        link.write_text("A" * 26)
        image = store.commit_image(make_image(layers, [NAME]), layers, staging)
    assert image.layer is not None
    assert (store.paths.layer(image.layer) / "lower").read_text() == f"l/{'A' * 26}"
    assert store.lower_directories(image)[1] == store.paths.link("A" * 26)
    assert names_below(store.staging) == []


def test_a_layer_that_went_meanwhile_is_an_error(store: Store) -> None:
    first = add_image(store, "registry.example/first:1", base_items())
    (base,) = store.chain(first)
    store.remove_image(first)
    store.prune_layers()
    with store.staging_directory() as staging:
        top = make_staged(staging.path / "1", top_items())
        with pytest.raises(LayerGoneError):
            store.commit_image(make_image([top], [NAME]), [base, top], staging)
    assert (store.images(), store.layers()) == ([], {})
    assert names_below(store.staging) == []
    assert names_below(store.root / "overlay") == ["l"]


def test_a_lost_link_is_made_again(store: Store) -> None:
    first = add_image(store, NAME, base_items())
    link = store.lower_directories(first)[0]
    link.unlink()
    assert store.lower_directories(first)[0] == store.paths.diff(first.layer or "")
    add_image(store, NAME, base_items(), top_items())
    assert link.is_symlink()


def test_an_incomplete_layer_is_replaced(store: Store) -> None:
    first = add_image(store, NAME, base_items())
    content = json.loads(store.paths.layers_json.read_text())
    content[0]["flags"] = {"incomplete": True}
    store.paths.layers_json.write_text(json.dumps(content))
    (store.paths.diff(first.layer or "") / "half").write_bytes(b"")
    assert store.layers() == {}
    add_image(store, NAME, base_items())
    assert list(store.layers()) == [first.layer]
    assert "half" not in os.listdir(store.paths.diff(first.layer or ""))


def test_an_image_of_several_names_and_manifests(store: Store) -> None:
    first = add_image(store, NAME, base_items())
    with store.staging_directory() as staging:
        layers = [make_staged(staging.path / "0", base_items())]
        new = make_image(layers, ["registry.example/other:2"])
        spaced = type(new)(
            new.manifest + b"\n", "sha256:" + "0" * 64, new.config, new.names, {"sha256:" + "1" * 64: b"{}"}
        )
        image = store.commit_image(spaced, layers, staging)
    assert image.id == first.id
    assert image.names == (NAME, "registry.example/other:2")
    assert store.read_manifest(image) == spaced.manifest
    for digest in (first.digest, "sha256:" + "0" * 64, "sha256:" + "1" * 64):
        assert store.find_image(f"registry.example/other@{digest}") == image
    assert store.find_image(f"registry.example/third@{first.digest}") is None


# Crashes


def kill_at(monkeypatch: pytest.MonkeyPatch, place: object, name: str, call: int) -> None:
    """The process dies when ``name`` is called for the ``call``-th time."""
    original = getattr(place, name)
    calls = iter(range(1, 1000))

    def replacement(*arguments: object, **options: object) -> object:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    monkeypatch.setattr(place, name, replacement)


@pytest.mark.parametrize(
    ("place", "name", "call"),
    [
        (commit, "_move_in", 1),
        (commit, "_move_in", 2),
        (commit, "_publish_image", 1),
        (records, "announce_change", 1),
        (records, "announce_change", 2),
    ],
)
def test_what_a_killed_commit_leaves_is_collected(
    store: Store, monkeypatch: pytest.MonkeyPatch, place: object, name: str, call: int
) -> None:
    kept = add_image(store, "registry.example/kept:1", [Item("kept", b"kept")])
    before = names_below(store.root)
    with monkeypatch.context() as patch:
        kill_at(patch, place, name, call)
        assert in_child(lambda: add_image(store, NAME, base_items(), top_items())) == -signal.SIGKILL
    assert store.images() == [kept]
    store.create()
    store.prune_layers()
    assert names_below(store.staging) == []
    assert names_below(store.root) == before
    assert len(store.chain(add_image(store, NAME, base_items(), top_items()))) == 2


def test_a_failed_commit_undoes_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create()
    before = names_below(store.root)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(records, "announce_change", fail)
        with pytest.raises(OSError, match="No space"):
            add_image(store, NAME, base_items(), top_items())
    assert names_below(store.root) == before
    assert names_below(store.staging) == []


def push_again(store: Store, names: Sequence[str] = (NAME,)) -> NewImage:
    """The image of ``base_items`` once more, with another manifest for the same config."""
    with store.staging_directory() as staging:
        layers = [make_staged(staging.path / "0", base_items())]
        new = make_image(layers, names)
        again = replace(new, manifest=new.manifest + b"\n", manifest_digest=sha256(new.manifest + b"\n"))
        store.commit_image(again, layers, staging)
    return again


def test_a_failed_change_of_the_manifest_leaves_the_image_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = add_image(store, NAME, base_items())
    before, data = names_below(store.root), store.read_plain_manifest(image)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(records, "announce_change", fail)
        with pytest.raises(OSError, match="No space"):
            push_again(store)
    assert store.images() == [image]
    assert store.read_plain_manifest(image) == data
    assert list(verify_documents(store, image)) == []
    assert names_below(store.root) == before


@pytest.mark.parametrize(
    ("place", "name", "call", "is_listed"), [(records, "announce_change", 1, False), (commit, "_add_big_data", 2, True)]
)
def test_a_killed_change_of_the_manifest_is_undone_or_completed(
    store: Store, monkeypatch: pytest.MonkeyPatch, place: object, name: str, call: int, is_listed: bool
) -> None:
    image = add_image(store, NAME, base_items())
    before = names_below(store.root)
    with monkeypatch.context() as patch:
        kill_at(patch, place, name, call)
        assert in_child(lambda: push_again(store)) == -signal.SIGKILL
    (found,) = store.images()
    assert sha256(store.read_manifest(found)) == found.digest
    assert sha256(store.read_plain_manifest(found)) == image.digest
    assert (found != image) is is_listed
    store.create()
    assert list(verify_documents(store, found)) == []
    assert (names_below(store.root) != before) is is_listed
    again = push_again(store)
    (found,) = store.images()
    assert found.digest == again.manifest_digest
    assert store.read_plain_manifest(found) == again.manifest


def test_what_a_killed_prune_leaves_is_collected(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create()
    before = names_below(store.root)
    store.remove_image(add_image(store, NAME, base_items(), top_items()))
    with monkeypatch.context() as patch:
        kill_at(patch, os, "rename", 3)  # layers.json, then the first of the directories
        assert in_child(store.prune_layers) == -signal.SIGKILL
    assert store.layers() == {}
    store.create()
    assert names_below(store.staging) == []
    assert set(names_below(store.root)) - {"overlay-layers/layers.json", "overlay-images/images.json"} == set(before)


def test_the_work_of_the_living_is_left_alone(store: Store) -> None:
    with store.staging_directory() as staging:
        (staging.path / "half").write_text("half")
        assert in_child(store.create) == 0
        store.create()
        assert (staging.path / "half").exists()
    assert names_below(store.staging) == []


def leave_behind(store: Store, ticket: Ticket | None) -> Path:
    """What a process leaves that is killed after writing its ticket."""
    (store.staging / "storage-0123456789abcdef").mkdir(parents=True)
    lock = store.staging / "storage-0123456789abcdef.lock"
    lock.write_text("" if ticket is None else json.dumps(asdict(ticket)))
    return store.staging / "storage-0123456789abcdef"


@pytest.mark.parametrize("of", ["nobody", "this store"])
def test_a_leftover_that_cannot_be_deleted_is_in_nobodys_way(store: Store, tmp_path: Path, of: str) -> None:
    (tmp_path / "elsewhere/kept").mkdir(parents=True)
    stuck = leave_behind(store, Ticket(str(store.root)) if of == "this store" else None)
    (stuck / "mounted").mkdir()
    kernel.mount(str(tmp_path / "elsewhere"), str(stuck / "mounted"), "", kernel.MS_BIND, "")
    warnings: list[str] = []
    try:
        add_image(replace(store, warn=warnings.append), NAME, base_items())
    finally:
        kernel.umount2(str(stuck / "mounted"))
    assert str(stuck) in warnings[0]
    assert "still mounted" in warnings[0]
    assert (tmp_path / "elsewhere/kept").is_dir()
    store.create()
    assert names_below(store.staging) == []


def test_a_ticket_of_another_store_that_cannot_be_read_is_in_nobodys_way(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other", tmp_path / "unused")
    other.create()
    other.paths.layers_json.write_text("{")
    stuck = leave_behind(store, Ticket(str(other.root), ("a" * 64,)))
    warnings: list[str] = []
    add_image(replace(store, warn=warnings.append), NAME, base_items())
    assert "layers.json: not valid JSON" in warnings[0]
    assert stuck.is_dir()
    other.paths.layers_json.unlink()
    store.create()
    assert names_below(store.staging) == []


def test_a_ticket_of_this_store_that_cannot_be_read_stops_everybody(store: Store) -> None:
    store.create()
    leave_behind(store, Ticket(str(store.root), ("a" * 64,)))
    store.paths.layers_json.write_text("{")
    with pytest.raises(DocumentError, match=r"layers\.json: not valid JSON"):
        store.create()


@pytest.fixture
def lossy_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB on a disk that fails once 8 MiB of it were written, until ``recover``."""
    backing, place = tmp_path / "backing", tmp_path / "place"
    for each in (backing, place):
        each.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", backing], check=True)
    with (backing / "image").open("wb") as file:
        file.truncate(64 << 20)
    lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-E", lazy, backing / "image"], check=True)
    subprocess.run(["mount", "-o", "loop,noinit_itable", backing / "image", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
        subprocess.run(["umount", backing], check=True)


def recover(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", disk.with_name("backing")], check=True)


def test_a_write_whose_loss_another_process_has_been_told_of_stops_the_commit(lossy_disk: Path) -> None:
    store = Store(lossy_disk / "ours", lossy_disk / "staging")
    with store.staging_directory() as staging:
        layers = [make_staged(staging.path / "0", [Item("large", os.urandom(16 << 20))])]
        other = os.open(lossy_disk, os.O_RDONLY)
        with pytest.raises(OSError, match=r"Input/output error|No space left"):
            kernel.syncfs(other)
        os.close(other)
        recover(lossy_disk)
        with pytest.raises(OSError, match=r"Input/output error|No space left"):
            store.commit_image(make_image(layers, [NAME]), layers, staging)
    assert store.images() == []


# Claims


def test_two_pulls_of_one_layer_share_it(store: Store, tmp_path: Path) -> None:
    ids = layer_ids(
        make_staged(tmp_path / str(n), items).diff_id for n, items in enumerate((base_items(), top_items()))
    )
    fetched = FORK.Value("i", 0)

    def pull() -> None:
        with store.claim_layers(ids) as present, store.staging_directory() as staging:
            layers: list[Layer | StagedLayer] = []
            for number, (identity, items) in enumerate(zip(ids, (base_items(), top_items()), strict=True)):
                if identity not in present:
                    with fetched.get_lock():
                        fetched.value += 1
                layers.append(present.get(identity) or make_staged(staging.path / str(number), items))
            staged = [make_staged(staging.path / f"m{n}", items) for n, items in enumerate((base_items(), top_items()))]
            store.commit_image(make_image(staged, [f"registry.example/{os.getpid()}:1"]), layers, staging)

    children = [FORK.Process(target=pull) for _ in range(6)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 6
    assert fetched.value == 2
    (image,) = store.images()
    assert len(image.names) == 6
    assert names_below(store.staging) == []


def test_pulls_on_one_base_run_side_by_side(store: Store) -> None:
    image = add_image(store, NAME, base_items())
    assert image.layer is not None

    def claim() -> None:
        with store.claim_layers([image.layer or ""]) as present:
            assert list(present) == [image.layer]

    with store.claim_layers([image.layer]) as present:
        assert list(present) == [image.layer]
        assert in_child(claim) == 0


def test_claiming_layers_that_are_there_reads_their_records_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    image = add_image(store, NAME, base_items(), top_items(), [Item("third")])
    chain = store.chain(image)
    seen: list[int] = []

    def read_counted(paths: StorePaths) -> dict[str, Layer]:
        found = read_layers(paths)
        seen.append(len(found))
        return found

    monkeypatch.setattr("syscontainers.storage.store.read_layers", read_counted)
    with store.claim_layers([layer.id for layer in chain]) as present:
        assert list(present.values()) == chain
    assert seen == [3]


def test_prune_spares_what_a_pull_has_claimed(store: Store) -> None:
    image = add_image(store, NAME, base_items(), top_items(), [Item("third")])
    base, second, third = store.chain(image)
    store.remove_image(image)
    with store.claim_layers([base.id, second.id]):
        assert store.prune_layers().layers == (third.id,)
    with store.claim_layers([base.id]) as present:
        assert present == {base.id: base}
        assert store.prune_layers().layers == (second.id,)
    assert store.prune_layers().layers == (base.id,)
    assert names_below(store.root / "overlay") == ["l"]


# Garbage


def test_prune_keeps_what_others_need(store: Store) -> None:
    image = add_image(store, NAME, base_items(), top_items())
    other = add_image(store, "registry.example/other:1", base_items(), [Item("other")])
    base, top = store.chain(image)
    assert store.prune_layers().layers == ()
    store.remove_image(image)
    assert store.find_garbage().layers == (top.id,)
    assert store.prune_layers(pins=lambda: [top.id]).layers == ()
    pruned = store.prune_layers()
    assert (pruned.layers, pruned.size) == ((top.id,), top.diff_size)
    assert store.chain(other)[0] == base
    store.remove_image(other)
    assert set(store.prune_layers(pins=lambda: [other.layer or ""]).layers) == set()
    assert len(store.prune_layers().layers) == 2
    assert names_below(store.root / "overlay") == ["l"]
    assert [name for name in names_below(store.root) if name.endswith(".gz")] == []
    assert names_below(store.staging) == []


def test_prune_stops_at_a_consumer_that_can_not_be_read(store: Store, tmp_path: Path) -> None:
    store.remove_image(add_image(store, NAME, base_items()))
    broken = tmp_path / "consumer/overlay-layers"
    broken.mkdir(parents=True)
    (broken / "layers.json").write_text("{not json")
    with pytest.raises(SyscontainersError, match="not valid JSON"):
        store.prune_layers(consumers=[tmp_path / "consumer"])
    assert len(store.layers()) == 1
    assert store.prune_layers(consumers=[tmp_path / "there is none"]).layers


def test_a_store_is_not_its_own_consumer(store: Store, tmp_path: Path) -> None:
    image = add_image(store, NAME, base_items())
    (tmp_path / "alias").symlink_to(store.root)
    consumers = [store.root, tmp_path / "alias", store.root / "overlay/.."]
    assert store.prune_layers(consumers=consumers).layers == ()
    store.remove_image(image)
    assert store.find_garbage(consumers=consumers).layers == (image.layer,)
    assert store.prune_layers(consumers=consumers).layers == (image.layer,)


def test_removing_twice_is_harmless(store: Store) -> None:
    image = add_image(store, NAME, base_items())
    store.remove_image(image)
    store.remove_image(image)
    assert store.find_image(NAME) is None
    with pytest.raises(NotFoundError):
        store.read_manifest(image)
    with pytest.raises(NotFoundError):
        store.tag(image, "registry.example/x:1")
