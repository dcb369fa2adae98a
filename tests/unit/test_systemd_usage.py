from __future__ import annotations

from pathlib import Path

from syscontainers.systemd.usage import Usage, read_usage

NOTHING = Usage(None, None, None, None, None, None, None)


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_unified_hierarchy_is_read(tmp_path: Path) -> None:
    files = {
        "memory.current": "4096\n",
        "memory.peak": "8192\n",
        "memory.max": "max\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\nsystem_usec 2\n",
        "pids.current": "3\n",
        "io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2 rios=1\n",
    }
    write(tmp_path, {"cgroup.controllers": "cpu memory\n"})
    write(tmp_path / "system.slice/etcd.service", files)
    assert read_usage("/system.slice/etcd.service", tmp_path) == Usage(4096, 8192, None, 2.5, 3, 11, 22)


def test_hierarchies_of_version_1_are_read(tmp_path: Path) -> None:
    write(tmp_path / "memory/a.service", {"memory.usage_in_bytes": "1\n", "memory.max_usage_in_bytes": "2\n"})
    write(tmp_path / "memory/a.service", {"memory.limit_in_bytes": "9223372036854771712\n"})
    write(tmp_path / "cpu,cpuacct/a.service", {"cpuacct.usage": "1500000000\n"})
    write(tmp_path / "pids/a.service", {"pids.current": "7\n"})
    moved = "8:0 Read 5\n8:0 Write 6\n8:0 Total 11\n8:1 Read 1\nTotal 12\n"
    write(tmp_path / "blkio/a.service", {"blkio.throttle.io_service_bytes_recursive": moved})
    assert read_usage("/a.service", tmp_path) == Usage(1, 2, None, 1.5, 7, 6, 6)


def test_a_group_that_is_gone_uses_nothing_that_is_known(tmp_path: Path) -> None:
    assert read_usage("/gone.service", tmp_path) == NOTHING
    write(tmp_path, {"cgroup.controllers": ""})
    assert read_usage("/gone.service", tmp_path) == NOTHING
