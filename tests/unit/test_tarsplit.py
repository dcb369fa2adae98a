from __future__ import annotations

import base64
import gzip
import io
import json
import random

import pytest

from syscontainers.storage.tarsplit import TarSplitWriter, checksum


def written(*steps: tuple[object, ...]) -> list[bytes]:
    buffer = io.BytesIO()
    writer = TarSplitWriter(buffer)
    for step in steps:
        if len(step) == 1:
            writer.add_segment(*step)  # type: ignore[arg-type]
        else:
            writer.add_member(*step)  # type: ignore[arg-type]
    writer.finish()
    return gzip.decompress(buffer.getvalue()).splitlines()


def test_checksum_of_the_standard() -> None:
    # The check value of CRC-64/GO-ISO in the catalogue of parametrised CRC algorithms.
    assert checksum(b"123456789") == 0xB90956C775A41001
    assert checksum(b"6789", checksum(b"12345")) == checksum(b"123456789")


def test_lines() -> None:
    lines = written((b"HEAD", b"a/b", 3, 1), (b"next", b"empty", 0, 0), (b"end",), (b"",))
    assert lines == [
        b'{"type":2,"payload":"SEVBRA==","position":0}',
        b'{"type":1,"name":"a/b","size":3,"payload":"AAAAAAAAAAE=","position":1}',
        b'{"type":2,"payload":"bmV4dA==","position":2}',
        b'{"type":1,"name":"empty","payload":null,"position":3}',
        b'{"type":2,"payload":"ZW5k","position":4}',
    ]


@pytest.mark.parametrize(
    "name", [b'q"uote', b"back\\slash", b"t\tab", b"\x01\x7f", b"<&>", "é日\u2028".encode(), b"sp ace"]
)
def test_names_come_back(name: bytes) -> None:
    line = written((b"h", name, 0, 0))[1]
    assert json.loads(line)["name"].encode() == name
    assert not set(b"<>&") & set(line)


def test_names_that_are_not_text() -> None:
    entry = json.loads(written((b"h", b"\xff/x", 0, 0))[1])
    assert base64.b64decode(entry["name_raw"]) == b"\xff/x"
    assert "name" not in entry


def test_large_segments_are_cut() -> None:
    data = random.Random(1).randbytes((2 << 20) + 5)
    for lines in (written((data,)), written((data, b"f", 0, 0))[:-1]):
        parts = [base64.b64decode(json.loads(line)["payload"]) for line in lines]
        assert b"".join(parts) == data
        assert max(map(len, parts)) <= 1 << 20
        assert [json.loads(line)["position"] for line in lines] == list(range(len(lines)))


def test_many_entries() -> None:
    lines = written(*((b"h" * 512, b"file-%d" % n, n, n) for n in range(2000)))
    assert [json.loads(line)["position"] for line in lines] == list(range(4000))
