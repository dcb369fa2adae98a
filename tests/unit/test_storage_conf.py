"""What of storage.conf is in force: one file up to podman 5, drop-ins after it since podman 6."""

from __future__ import annotations

from pathlib import Path

import pytest

from syscontainers.errors import SyscontainersError
from syscontainers.storage.storageconf import DEFAULT_ROOT, OVERRIDE, Places, StorageConf, read_conf, writable_roots


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for place in ("etc/containers", "usr/share/containers"):
        (tmp_path / place).mkdir(parents=True)
    return tmp_path


def write(host: Path, name: str, text: str) -> None:
    path = host / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_any(host: Path) -> None:
    assert read_conf(Places.on(host)) == StorageConf()
    assert StorageConf().graphroot == DEFAULT_ROOT


def test_one_in_etc_hides_the_vendors_wholly(host: Path) -> None:
    write(host, "usr/share/containers/storage.conf", '[storage]\ngraphroot = "/vendor"\ndriver = "overlay"\n')
    assert read_conf(Places.on(host)).graphroot == Path("/vendor")
    write(host, "etc/containers/storage.conf", '[storage.options]\nadditionalimagestores = ["/more"]\n')
    assert read_conf(Places.on(host)) == StorageConf(additional=(Path("/more"),))


def test_drop_ins_come_after_it_in_the_order_of_their_names(host: Path) -> None:
    write(host, "etc/containers/storage.conf", '[storage]\ngraphroot = "/main"\nrunroot = "/run/main"\n')
    write(host, "usr/share/containers/storage.conf.d/20-b.conf", '[storage]\ngraphroot = "/b"\n')
    write(host, "etc/containers/storage.rootful.conf.d/10-a.conf", '[storage]\ngraphroot = "/a"\n')
    write(host, "usr/share/containers/storage.conf.d/30-hidden.conf", '[storage]\ngraphroot = "/hidden"\n')
    write(host, "etc/containers/storage.conf.d/30-hidden.conf", "")
    conf = read_conf(Places.on(host))
    assert (conf.graphroot, conf.runroot) == (Path("/b"), Path("/run/main"))


@pytest.mark.parametrize(("mark", "expected"), [("", ["/b"]), (", {append=true}", ["/a", "/b"])])
def test_arrays_are_replaced_unless_they_say_that_they_append(host: Path, mark: str, expected: list[str]) -> None:
    write(host, "etc/containers/storage.conf", '[storage.options]\nadditionalimagestores = ["/a"]\n')
    line = f'[storage.options]\nadditionalimagestores = ["/b"{mark}]\n'
    write(host, "etc/containers/storage.conf.d/50-x.conf", line)
    assert read_conf(Places.on(host)).additional == tuple(map(Path, expected))


def test_the_environment_names_the_only_file(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(host, "other.conf", '[storage]\ngraphroot = "/other"\n')
    monkeypatch.setenv(OVERRIDE, str(host / "other.conf"))
    assert read_conf(Places.on(Path("/"))).graphroot == Path("/other")
    assert read_conf(Places.on(host)) == StorageConf()  # it is about this host, not about one in a directory


@pytest.mark.parametrize(
    "text",
    ["[storage\n", "storage = 1\n", "[storage]\ngraphroot = 1\n", "[storage.options]\nadditionalimagestores = 1\n"],
)
def test_nonsense_is_told_with_its_file(host: Path, text: str) -> None:
    write(host, "etc/containers/storage.conf", text)
    with pytest.raises(SyscontainersError, match=r"etc/containers/storage\.conf: ") as caught:
        read_conf(Places.on(host))
    assert caught.value.hint


def test_every_store_that_may_lean_on_ours(host: Path) -> None:
    write(host, "etc/containers/storage.conf", '[storage]\ngraphroot = "/graph"\nimagestore = "/images"\n')
    write(host, "etc/containers/storage.conf.d/1.conf", '[storage]\ngraphroot = "/perhaps"\n')
    write(host, "etc/crio/crio.conf", '[crio]\nroot = "/crio"\n')
    write(host, "etc/crio/crio.conf.d/9.conf", "[crio.runtime]\nx = 1\n")
    roots = [str(DEFAULT_ROOT), "/graph", "/images", "/perhaps", str(DEFAULT_ROOT), "/crio"]
    found = list(map(str, writable_roots(host)))
    assert set(found) == set(roots)


def test_a_crio_that_cannot_be_read_is_told(host: Path) -> None:
    write(host, "etc/crio/crio.conf", "[crio\n")
    with pytest.raises(SyscontainersError, match=r"crio\.conf: cannot be read"):
        list(writable_roots(host))
