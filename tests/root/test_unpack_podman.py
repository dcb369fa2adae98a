"""podman's own unpacking of the same layers as the measure of ours."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from syscontainers.storage.staged import StagedLayer
from syscontainers.storage.unpack import unpack_layer
from tests.archive import END, GNU, directory, file, gnu_long, hard_link, header, padded, pax, promise, symlink
from tests.images import Layer, build_image, layer, write_oci_layout
from tests.listing import Facts, list_tree
from tests.root.storage_tools import podman_on

pytestmark = pytest.mark.root
# Version 2; user::rwx, user:1:rwx, group::rwx, mask::rwx, other::r-x (linux/posix_acl_xattr.h)
ACL = bytes.fromhex("02000000 01000700ffffffff 0200070001000000 04000700ffffffff 10000700ffffffff 20000500ffffffff")
ORDINARY = b"".join(
    [
        directory(b"./", 0o700),
        directory(b"etc/"),
        file(b"etc/passwd", b"root\n" * 300),
        file(b"etc/empty"),
        file(b"./usr/bin/tool", b"x", mode=0o4755, uid=3, gid=7),
        symlink(b"etc/link", b"../usr"),
        hard_link(b"etc/hard", b"etc/passwd"),
        hard_link(b"etc/hard-link-to-link", b"./etc/link", mode=0o777),
        file(b"etc/link/through", b"a symbolic link"),
        header(b"fifo", b"6", mode=0o640, uid=9),
        directory(b"var/lib/shared/", mode=0o2775, gid=50),
        file(b"var/lib/shared/child", b"1"),
        directory(b"var/lib/shared/sub/"),
        directory(b"tmp/", mode=0o1777),
        directory(b"closed/", mode=0),
        file(b"closed/file", b"1", mode=0),
        file(b"large", os.urandom(3 << 20)),
    ]
)
NAMES = b"".join(
    [
        file(b"a<b>&c\x7f\x01\"\\'\t\n\r", b"q"),
        file("é\u2028\u2029".encode(), b"q"),
        file(b"\xff\xfe", b"not text"),
        file(b"-n", b"1"),
        pax({b"path": b"p" * 150 + b"/" + b"q" * 120}) + file(b"short", b"data"),
        gnu_long(b"L", b"g" * 200) + header(b"short2", size=3, magic=GNU) + padded(b"abc"),
        gnu_long(b"K", b"t" * 200) + header(b"pointer", b"2", link=b"t", magic=GNU),
        header(b"base", prefix=b"pre/fix", size=1) + padded(b"z"),
        directory(b"old"),
        header(b"older/", b"\0", magic=bytes(8)),
    ]
)
EXTENDED = b"".join(
    [
        pax({b"comment": b"as git archive writes it"}, b"g"),
        pax({b"mtime": b"1600000000.123456789", b"SCHILY.xattr.user.foo": b"bar"}) + file(b"fine", b"1"),
        pax({b"mtime": b"-5.5"}) + file(b"before", b"1"),
        pax({b"SCHILY.xattr.security.capability": bytes.fromhex("0100000200040000000000000000000000000000")})
        + file(b"capable", b"1", mode=0o755),
        pax({b"SCHILY.xattr.system.posix_acl_access": ACL}) + file(b"acl", b"1", mode=0o775),
        pax({b"uid": b"4000000", b"gid": b"4000001"}) + file(b"far", b"1"),
    ]
)
WHITEOUTS = b"".join(
    [
        file(b"with/.wh.gone", uid=5),
        file(b"opaque/.wh..wh..opq"),
        file(b"opaque/new", b"1"),
        directory(b"named/"),
        file(b"named/.wh..wh..opq"),
        directory(b"named/sub/"),
    ]
)
LAYERS = {"ordinary": ORDINARY, "names": NAMES, "extended": EXTENDED, "whiteouts": WHITEOUTS}


def unpack(made: Layer, directory: Path) -> StagedLayer:
    return unpack_layer([made.blob], promise(made.blob, made.tar), directory)


def pull(made: Layer, tmp_path: Path) -> tuple[Path, Path, dict[str, Any]]:
    """The diff, the tar-split and the record that podman makes of the layer."""
    write_oci_layout(tmp_path / "layout", {"x": build_image([made])})
    with podman_on(tmp_path / "root") as podman:
        podman("pull", "-q", f"oci:{tmp_path}/layout:x")
    name = made.diff_id.removeprefix("sha256:")
    records = json.loads((tmp_path / "root/overlay-layers/layers.json").read_text())
    split = tmp_path / f"root/overlay-layers/{name}.tar-split.gz"
    return tmp_path / f"root/overlay/{name}/diff", split, records[0]


def comparable(tree: Path, staged: StagedLayer) -> dict[bytes, Facts]:
    # What no header gives a time has that of the unpacking.
    return {
        name: facts._replace(mtime=0) if name in staged.implied or facts.mode == "0o20000" else facts
        for name, facts in list_tree(tree).items()
    }


def entries(split: Path) -> list[bytes]:
    with gzip.open(split) as file:
        lines = file.read().splitlines()
    # podman 4 closes with a segment of nothing, podman 5 does not.
    return lines[:-1] if b'"payload":""' in lines[-1] else lines


@pytest.mark.parametrize("compression", ["gzip", "zstd", "plain"])
@pytest.mark.parametrize("name", LAYERS)
def test_same_as_podman(name: str, compression: str, tmp_path: Path) -> None:
    made = layer(LAYERS[name] + END, compression)
    staged = unpack(made, tmp_path / "staging")
    diff, split, record = pull(made, tmp_path)
    theirs, ours = comparable(diff, staged), comparable(tmp_path / "staging/diff", staged)
    theirs.pop(b"PaxHeaders", None)  # podman makes the parent directory of a global header's name
    assert ours == theirs
    assert entries(tmp_path / "staging/tar-split.gz") == entries(split)
    assert staged.diff_size == record["diff-size"]
    assert staged.compression == record.get("compression", 0)
    assert list(staged.uids) == record["uidset"]
    assert list(staged.gids) == record["gidset"]


def test_devices_as_podman_keeps_them(tmp_path: Path) -> None:
    from syscontainers.storage.limits import Limits

    tar = header(b"dev/null", b"3", device=(1, 3), mode=0o666) + header(b"dev/disk", b"4", device=(300, 70000), uid=4)
    made = layer(tar + END)
    staged = unpack_layer(
        [made.blob], promise(made.blob, made.tar), tmp_path / "staging", limits=Limits(keep_devices=True)
    )
    diff, _, _ = pull(made, tmp_path)
    assert comparable(tmp_path / "staging/diff", staged) == comparable(diff, staged)


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(512), id="one block"),
        pytest.param(END + bytes(512 * 17), id="a GNU record"),
        pytest.param(END + bytes(3 << 20), id="megabytes"),
        pytest.param(END + bytes(77), id="an odd count"),
    ],
)
def test_any_end_gives_the_same_archive(tail: bytes, tmp_path: Path) -> None:
    tar = file(b"a", b"1") + tail
    made = layer(tar)
    unpack(made, tmp_path / "staging")
    segments = []
    with gzip.open(tmp_path / "staging/tar-split.gz") as lines:
        import base64

        for line in lines:
            entry = json.loads(line)
            segments.append(b"1" if entry["type"] == 1 else base64.b64decode(entry["payload"]))
    assert b"".join(segments) == tar
