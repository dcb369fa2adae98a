"""Which file an export edits, and what of it an undo takes back, on hosts of every age."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from syscontainers.containers.context import Context
from syscontainers.containers.peers import Podman
from syscontainers.containers.sharing import export_storage, plan_export, unexport_storage
from syscontainers.errors import NotFoundError, SyscontainersError, UsageError
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.storage.storageconf import Places, read_conf
from syscontainers.typed import Document

VENDOR = """\
# The vendor's.
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"

[storage.options]
# Others may ship images too.
additionalimagestores = [
  "/usr/lib/containers/storage",
]
"""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A tree that is being built: no podman of it can be asked."""
    state = tmp_path / "host/state"
    settings = Settings(state=state, storage=state / "storage", host=tmp_path / "host")
    for place in ("etc/containers", "usr/share/containers"):
        (settings.host / place).mkdir(parents=True)
    return Context(settings, Progress(io.StringIO()))


def listing(context: Context) -> dict[str, str]:
    host = context.settings.host
    paths = [path for top in ("etc", "usr") for path in (host / top).rglob("*")]
    return {str(path.relative_to(host)): path.read_text() if path.is_file() else "" for path in paths}


def podman(version: tuple[int, int], driver: str = "overlay", root: str = "/var/lib/containers/storage") -> Podman:
    store = {"graphDriverName": driver, "graphRoot": root, "runRoot": "/run/containers/storage"}
    return Podman(Path("/usr/bin/podman"), version, Document(store, "podman info"))


@pytest.mark.parametrize("vendor", [None, VENDOR], ids=["nothing", "the vendor's file"])
def test_a_new_file_in_etc_begins_with_what_it_hides(context: Context, vendor: str | None) -> None:
    host = context.settings.host
    if vendor:
        (host / "usr/share/containers/storage.conf").write_text(vendor)
    before, conf = listing(context), read_conf(Places.on(host))
    edit = export_storage(context)
    assert edit.path == host / "etc/containers/storage.conf"
    now = read_conf(Places.on(host))
    assert now.additional == (*conf.additional, context.settings.storage)
    assert (now.graphroot, now.runroot, now.driver) == (conf.graphroot, conf.runroot, "overlay")
    assert not vendor or "# Others may ship images too." in edit.path.read_text()
    unexport_storage(context)
    assert listing(context) == before


def test_where_drop_ins_are_known_there_is_one_for_root(context: Context) -> None:
    host = context.settings.host
    (host / "usr/share/containers/storage.conf").write_text(VENDOR)
    (host / "usr/share/containers/storage.rootful.conf.d").mkdir()
    (host / "usr/share/containers/storage.rootful.conf.d/00-vendor.conf").write_text("[storage.options]\n")
    before = listing(context)
    edit = export_storage(context)
    # Ordinary users cannot read our storage, and their podman would fail.
    assert edit.path == host / "etc/containers/storage.rootful.conf.d/50-syscontainers.conf"
    assert read_conf(Places.on(host)).additional == (Path("/usr/lib/containers/storage"), context.settings.storage)
    assert not export_storage(context).changes
    unexport_storage(context)
    assert listing(context) == before


@pytest.mark.parametrize(("version", "name"), [((5, 8), "storage.conf"), ((6, 0), "50-syscontainers.conf")])
def test_podmans_version_tells_whether_it_knows_drop_ins(context: Context, version: tuple[int, int], name: str) -> None:
    assert plan_export(context, podman(version)).path.name == name


def test_what_podman_works_with_is_written_down(context: Context) -> None:
    (context.settings.host / "etc/containers").rmdir()
    after = plan_export(context, podman((4, 3), root="/srv/containers")).after
    assert after is not None
    assert 'graphroot = "/srv/containers"' in after


def test_a_storage_of_another_driver_cannot_be_shared(context: Context) -> None:
    with pytest.raises(UsageError, match="vfs"):
        plan_export(context, podman((4, 3), driver="vfs"))


def test_podmans_own_storage_is_not_exported_to_itself(context: Context) -> None:
    with pytest.raises(UsageError, match="podman's own"):
        plan_export(context, podman((4, 3), root=str(context.settings.storage)))


def test_a_link_is_followed_and_stays(context: Context) -> None:
    etc = context.settings.host / "etc/containers"
    (etc / "storage.conf").symlink_to("real.conf")
    (etc / "real.conf").write_text(VENDOR)
    (etc / "real.conf").chmod(0o640)
    export_storage(context)
    assert (etc / "storage.conf").is_symlink()
    assert (etc / "real.conf").stat().st_mode & 0o777 == 0o640
    unexport_storage(context)
    assert (etc / "real.conf").read_text() == VENDOR


def test_what_was_written_by_hand_is_left_alone(context: Context) -> None:
    conf = context.settings.host / "etc/containers/storage.conf"
    conf.write_text(f'[storage.options]\nadditionalimagestores = ["{context.settings.storage}"]\n')
    before = conf.read_text()
    assert not export_storage(context).changes
    with pytest.raises(NotFoundError, match="not exported by us"):
        unexport_storage(context)
    assert conf.read_text() == before


def test_what_the_user_added_since_stays(context: Context) -> None:
    conf = context.settings.host / "etc/containers/storage.conf"
    conf.write_text(VENDOR)
    export_storage(context)
    conf.write_text(conf.read_text().replace('"/usr/lib', '"/srv/mine",\n  "/usr/lib'))
    unexport_storage(context)
    assert conf.read_text() == VENDOR.replace('"/usr/lib', '"/srv/mine",\n  "/usr/lib')
    with pytest.raises(NotFoundError):
        unexport_storage(context)


def test_a_file_that_the_user_removed_since_stays_away(context: Context) -> None:
    edit = export_storage(context)
    edit.path.unlink()
    assert not unexport_storage(context).changes
    assert not edit.path.exists()


def test_a_broken_file_is_left_alone(context: Context) -> None:
    conf = context.settings.host / "etc/containers/storage.conf"
    conf.write_text("[storage\n")
    with pytest.raises(SyscontainersError, match="not valid TOML"):
        export_storage(context)
    assert conf.read_text() == "[storage\n"


def test_a_dry_run_writes_nothing(context: Context) -> None:
    before = listing(context)
    assert "+additionalimagestores" in export_storage(context, dry_run=True).diff()
    assert listing(context) == before
    assert not context.settings.state.exists()
    export_storage(context)
    assert "-additionalimagestores" in unexport_storage(context, dry_run=True).diff()
    assert (context.settings.host / "etc/containers/storage.conf").exists()
