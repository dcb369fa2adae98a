from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from syscontainers.errors import UsageError
from syscontainers.exports.capabilities import (
    DEFAULT,
    NAMES,
    grantable_capabilities,
    known_capabilities,
    select_capabilities,
)
from syscontainers.exports.host import read_limits
from syscontainers.exports.seccomp import make_filter


def fake_proc(root: Path, last: int, bounding: str) -> Path:
    (root / "sys/kernel").mkdir(parents=True)
    (root / "sys/kernel/cap_last_cap").write_text(f"{last}\n")
    (root / "1").mkdir()
    (root / "1/status").write_text(f"Name:\tinit\nCapEff:\tffff\nCapBnd:\t{bounding}\nCapAmb:\t0\n")
    return root


def test_names_stand_in_the_kernels_order() -> None:
    library = ctypes.CDLL("libcap.so.2")  # systemd and every runtime need it
    library.cap_to_name.restype = ctypes.c_char_p
    theirs = [library.cap_to_name(number).decode().upper() for number in range(len(NAMES))]
    assert theirs == list(NAMES)


def test_an_older_kernel_knows_fewer(tmp_path: Path) -> None:
    assert known_capabilities(fake_proc(tmp_path, 37, "0"))[-1] == "CAP_AUDIT_READ"


def test_a_newer_kernel_does_not_confuse_us(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, 45, "ffffffffffff")
    assert known_capabilities(proc) == NAMES
    assert grantable_capabilities(proc) == frozenset(NAMES)


def test_only_the_bounding_set_can_be_granted(tmp_path: Path) -> None:
    assert grantable_capabilities(fake_proc(tmp_path, 40, "0000000000000021")) == {"CAP_CHOWN", "CAP_KILL"}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("default", DEFAULT),
        ("all", NAMES),
        ("none", ()),
        ("", DEFAULT),
        ("NET_RAW,cap_net_admin", ("CAP_NET_ADMIN", "CAP_NET_RAW")),
        ("none +KILL", ("CAP_KILL",)),
        ("default -SETFCAP +NET_ADMIN -NET_ADMIN", tuple(name for name in DEFAULT if name != "CAP_SETFCAP")),
    ],
)
def test_capabilities_are_chosen_by_words(text: str, chosen: tuple[str, ...]) -> None:
    assert select_capabilities(text) == chosen


@pytest.mark.parametrize("text", ["SYS_ADMINN", "default, sudo", '"], "x": ["'])
def test_unknown_capabilities_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="CAPABILITIES"):
        select_capabilities(text)


def test_limits_are_read_from_both_tables(tmp_path: Path) -> None:
    heading = f"{'Limit':<26}{'Soft Limit':<21}{'Hard Limit':<21}Units\n"
    for process, hard in (("1", "100"), ("self", "50")):
        (tmp_path / process).mkdir()
        rows = [f"{'Max open files':<26}{'10':<21}{hard:<21}files", f"{'Max cpu time':<26}{'unlimited':<21}unlimited"]
        (tmp_path / process / "limits").write_text(heading + "\n".join(rows))
    assert read_limits(tmp_path) == {"RLIMIT_NOFILE": 50}


def withheld(capabilities: tuple[str, ...], machine: str = "x86_64") -> set[str]:
    return {name for rule in make_filter(capabilities, machine)["syscalls"] for name in rule["names"]}


def test_the_filter_withholds_what_no_capability_guards() -> None:
    assert {"clone3", "io_uring_setup", "keyctl", "unshare", "userfaultfd", "bpf"} <= withheld(DEFAULT)


def test_a_granted_capability_lifts_what_it_is_for() -> None:
    assert withheld(("CAP_BPF",)) == withheld(()) - {"bpf"}
    assert withheld(("CAP_SYS_ADMIN",)).isdisjoint({"unshare", "clone", "clone3", "bpf", "perf_event_open"})


def test_programs_of_sibling_architectures_run_too() -> None:
    assert make_filter((), "x86_64")["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert "architectures" not in make_filter((), "unheard-of")
