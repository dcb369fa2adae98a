"""``containers-storage:``: images that podman pulled or built, taken over without downloading them."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syscontainers.errors import HostileArchiveError, NotFoundError, RefusedError, SyscontainersError, UsageError
from syscontainers.images import containers_storage
from syscontainers.images.pull import PullRequest, pull
from syscontainers.images.reference import Reference
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.storage.adopt import check_owner
from syscontainers.storage.images import Image
from syscontainers.storage.paths import StorePaths
from syscontainers.storage.store import Store
from syscontainers.storage.verify import verify_image
from tests import images
from tests.images import Entry
from tests.root.storage_tools import Podman, podman_on, tree_of

pytestmark = pytest.mark.root

NAME = "registry.example/team/app:1"
BASE: dict[str, Entry | str | bytes] = {
    "bin/busybox": images.program_from("/bin/busybox"),
    "bin/sh": images.symlink("busybox"),
    "bin/tool": Entry(b"tool" * 1000, mode=0o4755, uid=7),
    "bin/same": images.hardlink("bin/tool"),
    "bin/link": images.symlink("tool"),
    "bin/able": Entry(b"able", mode=0o755, xattrs={"user.note": "1"}),
    "bin/open": Entry(b"open", mode=0o666),
    "bin/owned": Entry(b"owned", uid=7),
    "run/pipe": Entry(kind=b"6"),
    "gone": "gone",
    "old/file": "old",
}
TOP: dict[str, Entry | str | bytes] = {"old/.wh..wh..opq": "", "old/new": "new", ".wh.gone": "", "etc/top": "top"}


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Podman]:
    """podman with an image."""
    tmp_path.chmod(0o700)
    image = images.build_image([images.layer(BASE), images.layer(TOP)])
    images.write_oci_layout(tmp_path / "image", {"": image})
    with podman_on(tmp_path / "theirs") as podman:
        podman("pull", "-q", f"oci:{tmp_path / 'image'}")
        podman("tag", image.image_id, NAME)
        for name in podman.json("images", "--format", "json")[0]["Names"]:
            if name != NAME:
                podman("untag", image.image_id, name)
        yield podman


@pytest.fixture
def other(theirs: Podman) -> Store:
    """The same, as we read it."""
    return Store(theirs.root, theirs.root.parent / "unused")


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    return Store(tmp_path / "ours", tmp_path / "staging")


def take(store: Store, root: Path, name: str = NAME) -> Image:
    """``pull containers-storage:[overlay@root]name`` on a host without storage.conf."""
    settings = Settings(host=store.root.parent / "host")
    reference = Reference.parse(f"containers-storage:[overlay@{root}]{name}")
    return pull(reference, store, PullRequest(), settings, Progress(io.StringIO()))


def the_image(store: Store) -> Image:
    found = store.find_image(NAME)
    assert found is not None
    return found


def check_equal(ours: Store, theirs: Store) -> None:
    for layer in theirs.layers().values():
        assert ours.layers()[layer.id].diff_size == layer.diff_size
        own, their = (sorted(tree_of(store.paths.diff(layer.id))) for store in (ours, theirs))
        assert own == their
    (image,) = ours.images()
    assert [str(finding) for finding in verify_image(ours, image)] == []


def check_nothing_came(store: Store) -> None:
    assert (store.images(), store.layers()) == ([], {})
    assert list(store.staging.iterdir()) == [] if store.staging.exists() else True


@pytest.mark.parametrize("place", ["same file system", "another one"])
def test_an_image_of_podman(tmp_path: Path, theirs: Podman, other: Store, place: str) -> None:
    found = the_image(other)
    with another_file_system(tmp_path / "ours", place != "same file system"):
        ours = Store(tmp_path / "ours/storage", tmp_path / "ours/staging")
        image = take(ours, theirs.root)
        assert (image.id, image.digest, image.names) == (found.id, found.digest, (NAME,))
        assert ours.read_config(image) == other.read_config(found)
        check_equal(ours, other)
        tool, same = (ours.paths.diff(ours.chain(image)[0].id) / name for name in ("bin/tool", "bin/same"))
        assert tool.samefile(same)
        assert tool.samefile(other.paths.diff(other.chain(found)[0].id) / "bin/tool") == (place == "same file system")

        # When podman drops it, ours stays whole.
        theirs("rmi", "-f", "-a")
        assert other.layers() == {}
        assert [str(finding) for finding in verify_image(ours, image)] == []
        with podman_on(tmp_path / "third", ours.root) as third:
            assert third.json("image", "inspect", NAME)[0]["Id"] == image.id
        assert list(ours.staging.iterdir()) == []


class another_file_system:  # noqa: N801
    """Mount a tmpfs, or nothing."""

    def __init__(self, path: Path, wanted: bool) -> None:
        self.path, self.wanted = path, wanted

    def __enter__(self) -> None:
        self.path.mkdir()
        if self.wanted:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", self.path], check=True)

    def __exit__(self, *_: object) -> None:
        if self.wanted:
            subprocess.run(["umount", self.path], check=True)


def test_what_podman_built(tmp_path: Path, theirs: Podman, ours: Store) -> None:
    (tmp_path / "Containerfile").write_text(f"FROM {NAME}\nCOPY new /new\nRUN chmod 4711 /bin/able && rm /old/new\n")
    (tmp_path / "new").write_text("new\n")
    words = ("--ulimit", "nofile=256:256", "--ulimit", "nproc=256:256", "-t", "app", "-f", tmp_path / "Containerfile")
    theirs("build", "-q", "--network", "none", *words, tmp_path)
    image = take(ours, theirs.root, "app")
    assert image.names == ("localhost/app:latest",)
    assert [str(finding) for finding in verify_image(ours, image)] == []
    top = ours.paths.diff(ours.chain(image)[-1].id)
    assert (top / "bin/able").stat().st_mode & 0o7777 == 0o4711


def test_by_id_and_by_digest(theirs: Podman, other: Store, ours: Store) -> None:
    found = the_image(other)
    assert take(ours, theirs.root, f"@{found.id[:12]}").names == (NAME,)
    by_digest = f"registry.example/team/app@{found.digest}"
    assert take(ours, theirs.root, by_digest).names == (NAME, by_digest)
    theirs("untag", NAME)
    assert take(ours, theirs.root, found.id).id == found.id


def test_what_podman_built_on_an_additional_store(tmp_path: Path, theirs: Podman, ours: Store) -> None:
    second = Podman(tmp_path / "second", theirs.runroot, (theirs.root,))
    (tmp_path / "Containerfile").write_text(f"FROM {NAME}\nCOPY Containerfile /made\n")
    second("build", "-q", "--network", "none", "-t", "made", "-f", tmp_path / "Containerfile", tmp_path)
    (tmp_path / "host/etc/containers").mkdir(parents=True)
    (tmp_path / "host/etc/containers/storage.conf").write_text(
        f'[storage]\ngraphroot = "{second.root}"\n[storage.options]\nadditionalimagestores = ["{theirs.root}"]\n'
    )
    try:
        settings = Settings(host=tmp_path / "host")
        reference = Reference.parse("containers-storage:made")
        image = pull(reference, ours, PullRequest(), settings, Progress(quiet=True))
        assert len(ours.chain(image)) == 3
        assert [str(finding) for finding in verify_image(ours, image)] == []
    finally:
        subprocess.run(["umount", second.root / "overlay"], capture_output=True, check=False)


def test_while_podman_has_its_store_mounted_on_itself(theirs: Podman, ours: Store) -> None:
    container = theirs("create", NAME, "/bin/true").strip()
    theirs("mount", container)
    subprocess.run(["mount", "--bind", theirs.root / "overlay", theirs.root / "overlay"], check=True)
    try:
        take(ours, theirs.root)
        (base,) = (layer for layer in ours.layers().values() if layer.parent is None)
        assert os.stat(ours.paths.diff(base.id) / "bin/able").st_nlink == 2
    finally:
        subprocess.run(["umount", theirs.root / "overlay"], check=True)
        theirs("umount", container)
        theirs("rm", container)


def test_layers_that_are_there_are_used(theirs: Podman, ours: Store) -> None:
    first = take(ours, theirs.root)
    before = ours.paths.layers_json.read_bytes()
    theirs("tag", NAME, "registry.example/again:2")
    second = take(ours, theirs.root, "registry.example/again:2")
    assert ours.paths.layers_json.read_bytes() == before
    assert second.names == (*first.names, "registry.example/again:2")


def test_from_the_store_that_is_ours_too(theirs: Podman, other: Store) -> None:
    shared = Store(theirs.root, theirs.root.parent / "staging")
    before = {path: path.read_bytes() for path in (shared.paths.layers_json, shared.paths.images_json)}
    assert take(shared, theirs.root) == the_image(other)
    assert {path: path.read_bytes() for path in before} == before


def test_nothing_is_shared_that_others_can_write_to(theirs: Podman, other: Store, ours: Store) -> None:
    # Down to a file that the image lets everybody write to.
    tops = [
        path
        for path in (theirs.root / "overlay", theirs.root, *theirs.root.parents)
        if path.stat().st_mode & 0o011 == 0
    ]
    assert tops
    for path in tops:
        path.chmod(0o711)
    try:
        image = take(ours, theirs.root)
    finally:
        for path in tops:
            path.chmod(0o700)
    check_equal(ours, other)
    diff = ours.paths.diff(ours.chain(image)[0].id)
    writable = {str(path.relative_to(diff)) for path in diff.rglob("*") if is_writable_by_others(path)}
    assert writable == {"bin/open", "bin/owned"}
    assert files_not_of(theirs.root, diff) == writable
    assert (diff / "bin/tool").samefile(diff / "bin/same")


def files_not_of(root: Path, diff: Path) -> set[str]:
    """The files below ``diff`` that are not shared with the same layer in the store at ``root``."""
    other = StorePaths(root).diff(diff.parent.name)
    files = [path.relative_to(diff) for path in diff.rglob("*") if path.is_symlink() or path.is_file()]
    return {str(path) for path in files if not os.path.samestat((diff / path).lstat(), (other / path).lstat())}


def is_writable_by_others(path: Path) -> bool:
    status = path.lstat()
    return not stat.S_ISDIR(status.st_mode) and (
        status.st_uid != 0 or (not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o022 != 0)
    )


# What podman unpacks and we would not


MARKED: dict[str, Entry | str | bytes] = {
    "dev/kmsg": Entry(kind=b"3", device=(1, 11)),
    "dev/disk": Entry(kind=b"4", device=(8, 0)),
    "etc/forged": Entry(b"x", xattrs={"trusted.overlay.metacopy": "y", "user.note": "kept"}),
    "etc/plain": "plain",
    "secret": Entry(mode=0o755, kind=b"5", xattrs={"trusted.overlay.redirect": "/etc"}),
}


def test_neither_devices_nor_overlayfs_own_marks_come_along(tmp_path: Path, ours: Store) -> None:
    tmp_path.chmod(0o700)
    image = images.build_image([images.layer({"etc/": Entry(mode=0o755, kind=b"5")}), images.layer(MARKED)])
    images.write_oci_layout(tmp_path / "marked", {"": image})
    with podman_on(tmp_path / "theirs") as podman:
        podman("pull", "-q", f"oci:{tmp_path / 'marked'}")
        taken = take(ours, podman.root, image.image_id)
        top = ours.paths.diff(ours.chain(taken)[1].id)
        their = podman.root / f"overlay/{ours.chain(taken)[1].id}/diff"
        # podman does as the image says.
        assert os.listxattr(their / "secret") == ["trusted.overlay.redirect"]
        assert (their / "dev/disk").is_block_device()
        assert list((top / "dev").iterdir()) == []
        assert os.listxattr(top / "secret") == []
        assert os.listxattr(top / "etc/forged") == ["user.note"]
        assert not (top / "etc/forged").samefile(their / "etc/forged")
        assert (top / "etc/plain").samefile(their / "etc/plain")
    assert [str(finding) for finding in verify_image(ours, taken)] == []


def test_an_archive_that_we_refuse(tmp_path: Path, ours: Store) -> None:
    # podman drops what points out of the layer's names, and keeps the rest.
    tar = images.make_tar({"etc/x": "x", "a/../../escape": "y"}, parents=False)
    image = images.build_image([images.layer(tar)])
    images.write_oci_layout(tmp_path / "hostile", {"": image})
    with podman_on(tmp_path / "theirs") as podman:
        podman("pull", "-q", f"oci:{tmp_path / 'hostile'}")
        with pytest.raises(HostileArchiveError, match=r"'\.\.'"):
            take(ours, podman.root, image.image_id)
    check_nothing_came(ours)


# What is wrong: nothing of it comes


def change_records(store: Store, change: Callable[[dict[str, object]], object]) -> None:
    records = json.loads(store.paths.layers_json.read_text())
    for record in records:
        change(record)
    store.paths.layers_json.write_text(json.dumps(records))


def test_an_unknown_image(theirs: Podman, ours: Store, tmp_path: Path) -> None:
    for root, name in ((theirs.root, "localhost/other:1"), (theirs.root, "@abcabcabc"), (tmp_path / "none", NAME)):
        with pytest.raises(NotFoundError, match=f"not in {root}"):
            take(ours, root, name)
    check_nothing_came(ours)


def test_a_store_of_another_driver() -> None:
    with pytest.raises(UsageError, match="vfs driver"):
        Reference.parse("containers-storage:[vfs@/x]a")


def test_what_is_removed_meanwhile(theirs: Podman, other: Store, ours: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link
    changed: list[bool] = []

    def remove_then_link(*arguments: object, **options: object) -> None:
        if not changed:
            changed.append(True)
            change_records(other, lambda record: record.update(flags={"incomplete": True}))
        link(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", remove_then_link)
    with pytest.raises(NotFoundError, match="being removed"):
        take(ours, theirs.root)
    assert changed
    check_nothing_came(ours)


def test_a_layer_without_a_digest(theirs: Podman, other: Store, ours: Store) -> None:
    change_records(other, lambda record: record.pop("diff-digest"))
    with pytest.raises(SyscontainersError, match="has no layer with the digest") as caught:
        take(ours, theirs.root)
    assert "zstd:chunked" in caught.value.hint
    check_nothing_came(ours)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "another content": (lambda diff: (diff / "bin/able").write_bytes(b"evil"), "bin/able: has other contents"),
    # What a power cut leaves of a layer that was never synced.
    "an empty file": (lambda diff: os.truncate(diff / "bin/able", 0), "bin/able: has 0 bytes, not 4"),
    "a lost file": (lambda diff: (diff / "gone").unlink(), "gone"),
    "another mode": (lambda diff: (diff / "bin/able").chmod(0o4755), "bin/able"),
    "another owner": (lambda diff: os.chown(diff / "bin/able", 1, 1), "bin/able"),
    "a file too many": (lambda diff: (diff / "bin/more").write_bytes(b""), "bin/more"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_layer(theirs: Podman, other: Store, ours: Store, kind: str) -> None:
    change, expected = DAMAGE[kind]
    change(other.paths.diff(other.chain(the_image(other))[0].id))
    with pytest.raises(RefusedError, match="is damaged") as caught:
        take(ours, theirs.root)
    assert any(expected in line for line in caught.value.details)
    check_nothing_came(ours)


def test_a_lost_tar_split(theirs: Podman, other: Store, ours: Store) -> None:
    other.paths.tar_split(other.chain(the_image(other))[0].id).unlink()
    with pytest.raises(NotFoundError, match="not whole"):
        take(ours, theirs.root)
    check_nothing_came(ours)


@pytest.mark.parametrize("document", ["manifest", "config"])
def test_changed_documents(theirs: Podman, other: Store, ours: Store, document: str) -> None:
    image = the_image(other)
    keys = ["manifest", f"manifest-{image.digest}"] if document == "manifest" else [f"sha256:{image.id}"]
    for path in (other.paths.big_data(image.id, key) for key in keys):
        path.write_bytes(path.read_bytes().replace(b'"', b' "', 1)[: path.stat().st_size])
    with pytest.raises(RefusedError):
        take(ours, theirs.root)
    check_nothing_came(ours)


OPEN: dict[str, Callable[[Path], object]] = {
    "somebody else's": lambda root: os.chown(root, 1000, 1000),
    "open to a group": lambda root: root.chmod(0o770),
    "open inside": lambda root: (root / "overlay").chmod(0o777),
    "below somebody's directory": lambda root: os.chown(root.parent, 1000, 1000),
}


@pytest.mark.parametrize("how", OPEN)
def test_a_store_that_is_not_roots_alone(theirs: Podman, ours: Store, how: str) -> None:
    OPEN[how](theirs.root)
    try:
        with pytest.raises(RefusedError, match="not root's alone"):
            take(ours, theirs.root)
    finally:
        for path in (theirs.root, theirs.root.parent):
            os.chown(path, 0, 0)
    check_nothing_came(ours)


def test_a_link_that_leads_elsewhere_meanwhile(
    theirs: Podman, ours: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "store").symlink_to(theirs.root)
    subprocess.run(["cp", "-a", theirs.root, home / "own"], check=True)
    for path in (home, home / "own"):
        os.chown(path, 1000, 1000)

    def look_then_lead_astray(root: Path) -> Path:
        real = check_owner(root)
        (home / "store").unlink()
        (home / "store").symlink_to("own")
        return real

    monkeypatch.setattr(containers_storage, "check_owner", look_then_lead_astray)
    with pytest.raises(RefusedError, match=f"{home} is not root's alone"):
        take(ours, home / "store")
    check_nothing_came(ours)
