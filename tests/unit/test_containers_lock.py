import subprocess
import sys
import threading
from pathlib import Path

import pytest

from syscontainers.containers import lock
from syscontainers.containers.context import Context
from syscontainers.containers.lock import container_lock
from syscontainers.errors import SyscontainersError
from syscontainers.progress import Progress
from syscontainers.settings import Settings

HOLDER = """
import sys
from pathlib import Path
from syscontainers.containers.context import Context
from syscontainers.containers.lock import container_lock
from syscontainers.progress import Progress
from syscontainers.settings import Settings
context = Context(Settings(state=Path(sys.argv[1])), Progress())
with container_lock(context, "etcd", "update"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Settings(state=tmp_path), Progress(quiet=True))


def test_who_waits_too_long_is_told_who_holds_it(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_WAIT_SECONDS", 0.3)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(context.settings.state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(SyscontainersError, match=rf"by syscontainer update \(pid {holder.pid}\)"),
        container_lock(context, "etcd", "install"),
    ):
        pass
    with container_lock(context, "other", "install"):  # different containers do not wait for each other
        pass
    holder.stdin.write("\n")
    holder.stdin.close()
    assert holder.wait() == 0
    holder.stdout.close()
    with container_lock(context, "etcd", "install"):
        pass


def test_the_file_goes_when_nothing_is_installed(context: Context) -> None:
    with container_lock(context, "etcd", "install"):
        assert (context.settings.locks / "etcd.lock").read_text().startswith("syscontainer install (pid ")
    assert list(context.settings.locks.iterdir()) == []


def test_only_one_at_a_time_although_the_file_is_removed_in_between(context: Context) -> None:
    inside: list[int] = []
    overlaps: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with container_lock(context, "etcd", "install"):
                inside.append(number)
                overlaps.extend(inside[:-1])
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == []
