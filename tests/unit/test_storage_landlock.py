from __future__ import annotations

import errno

import pytest

from syscontainers.storage import landlock


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_what_the_kernel_or_a_filter_denies_is_not_there(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, "no")

    monkeypatch.setattr(landlock, "_call", refuse)
    assert landlock.abi_version() == 0
    assert landlock.confine_thread(0) is False


def test_any_other_error_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(landlock, "_call", refuse)
    with pytest.raises(OSError, match="no"):
        landlock.confine_thread(0)
