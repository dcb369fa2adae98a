from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from syscontainers.errors import RefusedError
from syscontainers.exports.contract import ExportsManifest
from syscontainers.exports.mountpoints import MissingSource, MountPoint
from syscontainers.exports.render import Rendering, TemplateError
from syscontainers.exports.runtime import RuntimeConfig, RuntimeFacts, finalize_config
from syscontainers.typed import DocumentError
from tests.unit.exports_image import make_image, open_image

DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}
MINIMAL: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {"args": ["/bin/true"], "cwd": "/"},
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [DEV],
    "linux": {"cgroupsPath": "/system.slice/etcd.service/payload"},
}
BUNDLE = Path("/var/lib/c/etcd.0")


def finalize(root: Path, *parts: dict[str, Any], host: Path = Path("/"), **facts: Any) -> RuntimeConfig:
    """The minimal config with ``parts`` laid over it, finalized in ``root``."""
    config = copy.deepcopy(MINIMAL)
    for part in parts:
        for key, value in part.items():
            config[key] = {**config[key], **value} if isinstance(config.get(key), dict) else value
    if isinstance(config["mounts"], list) and not any("/dev" in json.dumps(mount) for mount in config["mounts"]):
        config["mounts"].append(DEV)
    return finalize_text(root, json.dumps(config), host=host, **facts)


def finalize_text(root: Path, text: str, host: Path = Path("/"), **facts: Any) -> RuntimeConfig:
    with open_image(root) as tree:
        given = {"capabilities": {"CAP_CHOWN", "CAP_KILL"}, "cgroup": "/system.slice/etcd.service", **facts}
        return finalize_config(
            Rendering(text, "config.json.template", (), ()),
            RuntimeFacts(tree=tree, bundle=BUNDLE, host=host, **given),
        )


def mounts_of(config: RuntimeConfig) -> list[dict[str, Any]]:
    """All but the one for /dev that every config has."""
    return [mount for mount in config.data["mounts"] if mount != DEV]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_image(tmp_path / "root", {"data": None, "dev": None, "etc/app.conf": "x", "proc": None})


def test_a_sound_config_is_left_alone(root: Path) -> None:
    config = finalize(root)
    assert config.data == MINIMAL
    assert config.notices == ()
    assert (config.writable, config.missing_sources, config.mount_points) == (False, (), ())
    assert config.args == ("/bin/true",)
    assert json.loads(config.to_text()) == MINIMAL


def test_hooks_are_announced_because_they_run_on_the_host(root: Path) -> None:  # CVE-2022-1227's family
    config = finalize(root, {"hooks": {"prestart": [{"path": "/usr/bin/a"}], "poststop": [{"path": "/b"}]}})
    assert config.notices == tuple(
        f"{path} will be run on the host, as a hook of the runtime" for path in ("/b", "/usr/bin/a")
    )


def test_deep_nesting_is_refused(root: Path) -> None:
    deep = '{"a":' * 900 + "1" + "}" * 900
    with pytest.raises(DocumentError, match="nested too deeply"):
        finalize_text(root, json.dumps({**MINIMAL, "x": None})[:-5] + deep + "}")


def test_a_mount_at_the_end_of_a_path_of_very_many_parts(root: Path) -> None:
    """All of its parents have to be made: it took minutes."""
    path = "/x" * 2000
    config = finalize(root, {"mounts": [{"destination": path, "type": "tmpfs", "source": "tmpfs"}]})
    assert len(config.mount_points) == 2000
    assert [mount["destination"] for mount in mounts_of(config)] == [path]
    with pytest.raises(RefusedError, match="longer than 4095 bytes"):
        finalize(root, {"mounts": [{"destination": path * 2, "type": "tmpfs", "source": "tmpfs"}]})


@pytest.mark.parametrize("text", ["/a\0b", "/a\ud800"])
def test_text_that_no_file_can_be_named_is_refused(root: Path, text: str) -> None:
    with pytest.raises(DocumentError, match="contains"):
        finalize(root, {"mounts": [{"destination": text, "type": "tmpfs", "source": "tmpfs"}]})
    with pytest.raises(DocumentError, match="contains"):
        ExportsManifest.parse(json.dumps({"renameFiles": {"/a": text}}), "manifest.json")


@pytest.mark.parametrize("path", ["rootfs", "./rootfs/", "/var/lib/c/etcd.0/rootfs"])
def test_the_root_is_rootfs_however_it_is_written(root: Path, path: str) -> None:
    assert finalize(root, {"root": {"path": path}}).data["root"]["path"] == "rootfs"


@pytest.mark.parametrize("path", ["/", "../rootfs", "rootfs/..", "/other/rootfs", ""])
def test_another_root_is_refused(root: Path, path: str) -> None:
    with pytest.raises(DocumentError, match=r"root\.path must be rootfs"):
        finalize(root, {"root": {"path": path}})


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"process": {}}', '{"process": {"args": []}}', '{"process": {"args": ["x"]}}']
)
def test_what_cannot_be_started_is_refused(root: Path, text: str) -> None:
    with pytest.raises(DocumentError, match=r"^config\.json\.template"):
        finalize_text(root, text)


def test_what_is_no_json_is_refused_with_its_place(root: Path) -> None:
    with pytest.raises(TemplateError, match="line 1, column 2"):
        finalize_text(root, "{x")


@pytest.mark.parametrize("readonly", [False, None])
def test_a_writable_root_is_reported(root: Path, readonly: bool | None) -> None:
    config = finalize(root, {"root": {"readonly": readonly}, "mounts": [{"destination": "/new", "type": "tmpfs"}]})
    assert config.writable
    assert config.mount_points == ()  # there the runtime can make its mount points itself


@pytest.mark.parametrize("version", ["0.3.0", "0.6.0-dev", "1.0.0-rc3", ""])
def test_old_versions_become_current(root: Path, version: str) -> None:
    config = finalize(root, {"ociVersion": version})
    assert config.data["ociVersion"] == "1.0.0"
    assert config.notices == (f"ociVersion {version or '(none)'} became 1.0.0",)


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.2.0"])
def test_current_versions_stay(root: Path, version: str) -> None:
    assert finalize(root, {"ociVersion": version}).data["ociVersion"] == version


def test_capabilities_as_a_list_fill_three_sets(root: Path) -> None:
    config = finalize(root, {"process": {"capabilities": ["CAP_KILL", "chown", "CAP_KILL"]}})
    names = ["CAP_KILL", "CAP_CHOWN"]
    assert config.data["process"]["capabilities"] == {"bounding": names, "effective": names, "permitted": names}
    assert config.notices == ("process.capabilities was a plain list: it now fills bounding, effective and permitted",)


def test_capabilities_that_cannot_be_granted_are_dropped_and_named(root: Path) -> None:
    sets = {"bounding": ["CAP_KILL", "CAP_BPF"], "ambient": ["CAP_TELEPORT"], "effective": None}
    config = finalize(root, {"process": {"capabilities": sets}})
    assert config.data["process"]["capabilities"] == {"bounding": ["CAP_KILL"], "ambient": [], "effective": []}
    assert config.notices == ("capabilities that this host cannot grant were dropped: CAP_BPF, CAP_TELEPORT",)


def test_members_of_old_places_move(root: Path) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "hard": 10, "soft": 10}]
    config = finalize(root, {"linux": {"rlimits": limits, "capabilities": ["CAP_KILL"]}})
    assert config.data["process"]["rlimits"] == limits
    assert config.data["process"]["capabilities"]["bounding"] == ["CAP_KILL"]
    assert set(config.data["linux"]) == {"cgroupsPath"}


LABELS = {
    "process": {"selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0", "apparmorProfile": "p"},
    "linux": {"mountLabel": "x"},
    "mounts": [{"destination": "/t", "type": "tmpfs", "options": ['context="x:y,z"', "mode=755"]}],
}


def test_labels_are_dropped_where_their_module_is_off(root: Path) -> None:
    config = finalize(root, LABELS)
    assert "selinuxLabel" not in config.data["process"]
    assert "apparmorProfile" not in config.data["process"]
    assert "mountLabel" not in config.data["linux"]
    assert mounts_of(config)[0]["options"] == ["mode=755"]
    assert len(config.notices) == 4


def test_labels_stay_where_their_module_is_on(root: Path) -> None:
    config = finalize(root, LABELS, selinux=True, apparmor=True)
    assert config.data["process"]["selinuxLabel"].startswith("system_u")
    assert config.notices == ()


def test_the_oldest_place_of_a_label_counts_too(root: Path) -> None:
    config = finalize(root, {"linux": {"selinuxProcessLabel": "x"}}, selinux=True)
    assert config.data["process"]["selinuxLabel"] == "x"


@pytest.mark.parametrize(
    ("mount", "options", "notices"),
    [
        ({"type": "bind", "options": ["rbind", "rw", "mode=755"]}, ["rbind", "rw"], 1),
        ({"type": "bind", "options": ["bind", "ro", "rslave", "mode=755", "size=1k"]}, ["bind", "ro", "rslave"], 1),
        ({"type": "rbind", "options": ["ro"]}, ["rbind", "ro"], 1),
        ({"type": "bind"}, ["bind"], 0),
        ({"type": "bind", "options": "ro,rbind"}, ["ro", "rbind"], 0),
        ({"type": "none", "options": ["rbind"]}, ["rbind"], 0),
        ({"options": ["rbind", "rprivate", "nosuid"]}, ["rbind", "rprivate", "nosuid"], 0),
        ({"type": "ext4", "options": ["bind"]}, ["bind"], 1),
    ],
)
def test_binds_take_flags_only(root: Path, mount: dict[str, Any], options: list[str], notices: int) -> None:
    config = finalize(root, {"mounts": [{"destination": "/data", "source": "/etc", **mount}]})
    assert mounts_of(config) == [{"destination": "/data", "source": "/etc", "type": "bind", "options": options}]
    assert len(config.notices) == notices


def test_data_of_real_file_systems_stays(root: Path) -> None:
    mount = {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=1k"]}
    assert mounts_of(finalize(root, {"mounts": [mount]})) == [mount]


def test_a_shared_mount_needs_a_shared_root(root: Path) -> None:
    mounts = [{**bind("/etc", "/data"), "options": ["rbind", "rshared"]}, bind("/etc", "/etc"), bind("/etc", "/proc/x")]
    mounts[2]["options"].append("private")
    config = finalize(root, {"mounts": mounts, "linux": {"rootfsPropagation": "rslave"}})
    assert config.data["linux"]["rootfsPropagation"] == "shared"
    words = [mount["options"] for mount in mounts_of(config)]
    assert words == [["rbind", "rshared"], ["rbind", "rslave"], ["rbind", "private"]]
    assert finalize(root, {"mounts": mounts, "linux": {"rootfsPropagation": "rshared"}}).notices == ()


def test_a_control_group_of_the_authors_own_gives_way(root: Path) -> None:
    config = finalize(root, {"linux": {"cgroupsPath": "system.slice:runc:etcd"}}, cgroup="/a.slice/etcd.service")
    assert config.data["linux"]["cgroupsPath"] == "/a.slice/etcd.service/payload"
    assert "system.slice:runc:etcd became" in config.notices[0]


def test_limits_and_device_rules_stay(root: Path) -> None:
    resources = {"devices": [{"allow": False, "access": "rwm"}], "memory": {"limit": 1 << 20}}
    assert finalize(root, {"linux": {"resources": resources}}).data["linux"]["resources"] == resources


def test_a_terminal_is_switched_off_unless_the_unit_has_one(root: Path) -> None:
    terminal = {"process": {"terminal": True, "consoleSize": {"height": 1, "width": 1}}}
    assert finalize(root, terminal).data["process"]["terminal"] is False
    assert finalize(root, terminal, terminal=True).data["process"]["terminal"] is True


def test_a_place_for_devices_is_added_where_there_is_none(root: Path) -> None:
    config = finalize_text(root, json.dumps({**MINIMAL, "mounts": []}))
    assert (config.data["mounts"][0]["destination"], config.data["mounts"][0]["type"]) == ("/dev", "tmpfs")
    assert "/dev was added" in config.notices[0]


def test_limits_that_cannot_be_raised_are_lowered(root: Path) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "hard": 65536, "soft": 1024}, {"type": "RLIMIT_CORE", "hard": 9, "soft": 9}]
    config = finalize(root, {"process": {"rlimits": limits}}, limits={"RLIMIT_NOFILE": 20000})
    assert config.data["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 20000, "soft": 1024}, limits[1]]
    assert config.notices == ("process.rlimits RLIMIT_NOFILE: hard became 20000: this host allows no more",)


def test_a_host_name_needs_a_namespace(root: Path) -> None:
    assert "hostname" not in finalize(root, {"hostname": "x"}).data
    inside = {"hostname": "x", "linux": {"namespaces": [{"type": "uts"}]}}
    assert finalize(root, inside).data["hostname"] == "x"


def test_old_filters_name_many_calls(root: Path) -> None:
    seccomp = {"syscalls": [{"name": "clone", "action": "SCMP_ACT_ERRNO"}, {"names": ["a"], "action": "X"}]}
    syscalls = finalize(root, {"linux": {"seccomp": seccomp}}).data["linux"]["seccomp"]["syscalls"]
    assert [rule["names"] for rule in syscalls] == [["clone"], ["a"]]


@pytest.mark.parametrize("cwd", ["/proc/self/fd/7", "relative", "/etc/app.conf"])
def test_a_working_directory_out_of_the_root_is_refused(root: Path, cwd: str) -> None:
    with pytest.raises(RefusedError, match="the working directory"):
        finalize(root, {"process": {"cwd": cwd}})


def bind(source: str, destination: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind"]}


def test_destinations_are_resolved_inside_the_image(tmp_path: Path) -> None:
    links: dict[str, str | None] = {
        "dev": None,
        "run": None,
        "var/run": "-> /run",
        "up": "-> ../../../../etc",
        "etc": None,
    }
    root = make_image(tmp_path, links)
    config = finalize(
        root, {"mounts": [bind("/etc", "/var/run/x/../y"), bind("/etc", "/up/z"), bind("/etc", "//etc/")]}
    )
    assert [mount["destination"] for mount in mounts_of(config)] == ["/run/y", "/etc/z", "/etc"]
    assert config.notices == ("mount /var/run/y: is /run/y in the image", "mount /up/z: is /etc/z in the image")


@pytest.mark.parametrize("destination", ["/", "/.", "/data/..", "/root"])
def test_nothing_may_cover_the_root(tmp_path: Path, destination: str) -> None:
    with pytest.raises(RefusedError, match="would hide the image's root"):
        finalize(make_image(tmp_path, {"root": "-> /", "data": None}), {"mounts": [bind("/etc", destination)]})


@pytest.mark.parametrize(
    ("links", "mount"),
    [
        ({"proc": "-> /data"}, {"destination": "/proc", "type": "proc", "source": "proc"}),
        ({"sys": "-> proc", "proc": None}, {"destination": "/sys", "type": "sysfs", "source": "sysfs"}),
        ({"dev": "-> data"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}),
        ({"dev": "-> data"}, {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}),
        ({"x": "-> data"}, {"destination": "/x", "type": "proc", "source": "proc"}),
    ],
)
def test_the_kernels_places_may_not_be_links(
    tmp_path: Path, links: dict[str, str | None], mount: dict[str, Any]
) -> None:
    with pytest.raises(RefusedError, match="is a symbolic link in the image"):
        finalize(make_image(tmp_path, {"data": None, **links}), {"mounts": [mount]})


def test_below_another_mount_the_images_links_do_not_count(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"run/x": "-> /etc", "etc": None, "dev": None})
    config = finalize(root, {"mounts": [{"destination": "/run", "type": "tmpfs"}, bind("/etc", "/run/x/y")]})
    assert mounts_of(config)[1]["destination"] == "/run/x/y"
    assert config.mount_points == ()


def test_mount_points_that_a_read_only_root_lacks(tmp_path: Path) -> None:
    host = make_image(tmp_path / "host", {"etc/hosts": "h", "srv": None})
    root = make_image(tmp_path / "root", {"etc": None, "present": None, "dev": None})
    (root / "etc").chmod(0o711)
    owner = root.stat()
    mounts = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/var/tmp", "type": "tmpfs", "options": ["mode=1777"]},
        {"destination": "/present", "type": "tmpfs"},
        bind("/etc/hosts", "/etc/hosts"),
        bind("/srv", "/srv"),
        bind("/absent/app.conf", "/opt/app.conf"),
    ]
    config = finalize(root, {"mounts": mounts, "process": {"cwd": "/workdir"}}, host=host)
    assert config.mount_points == (
        MountPoint("/etc", True, 0o711, owner.st_uid, owner.st_gid),
        MountPoint("/etc/hosts", False, 0o644),
        MountPoint("/opt", True),
        MountPoint("/opt/app.conf", False, 0o644),
        MountPoint("/proc", True),
        MountPoint("/srv", True),
        MountPoint("/var", True),
        MountPoint("/var/tmp", True, 0o1777),
        MountPoint("/workdir", True),
    )


def test_a_file_in_the_way_of_a_mount_is_refused(root: Path) -> None:
    with pytest.raises(RefusedError, match="a file where a directory would have to be"):
        finalize(root, {"mounts": [bind("/etc", "/etc/app.conf/x")]})


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="too many symbolic links"):
        finalize(make_image(tmp_path, {"a": "-> b", "b": "-> a"}), {"mounts": [bind("/etc", "/a/x")]})


@pytest.mark.parametrize(
    ("source", "destination", "kind"),
    [
        ("/var/lib/etcd", "/data", "directory"),
        ("/etc/kubernetes/config", "/etc/app.conf", "file"),
        ("/etc/app/app.conf", "/new/app.conf", "file"),
        ("/etc/sysconfig.d", "/new", "directory"),
        ("/etc/resolv.conf", "/new", "file"),
        ("/run/docker.sock", "/run/docker.sock", "other"),
        ("/dev/kvm", "/dev/kvm", "other"),
        ("/sys/fs/bpf", "/new", "other"),
    ],
)
def test_missing_sources_are_told_apart(root: Path, tmp_path: Path, source: str, destination: str, kind: str) -> None:
    config = finalize(root, {"mounts": [bind(source, destination)]}, host=tmp_path)
    assert config.missing_sources == (MissingSource(source, kind),)


def test_sources_that_are_there_are_not_missing(root: Path, tmp_path: Path) -> None:
    make_image(tmp_path, {"srv/x": "", "link": "-> srv"})
    config = finalize(root, {"mounts": [bind("/srv/x", "/data"), bind("/srv/", "/data")]}, host=tmp_path)
    assert config.missing_sources == ()


def test_mounts_that_would_make_something_on_the_host_are_announced(root: Path, tmp_path: Path) -> None:
    make_image(tmp_path, {"srv/there": None})
    mounts = [
        bind("/srv", "/data"),
        bind("/srv", "/data/there"),
        bind("/srv", "/data/new"),
        bind("/srv", "/data/there/x"),
    ]
    config = finalize(root, {"mounts": mounts}, host=tmp_path)
    assert [notice for notice in config.notices if "created" in notice] == [
        "/srv/new will be created on the host: a mount lies there",
        "/srv/x will be created on the host: a mount lies there",
    ]


def test_a_relative_destination_becomes_absolute(root: Path) -> None:
    assert mounts_of(finalize(root, {"mounts": [bind("/etc", "data")]}))[0]["destination"] == "/data"


@pytest.mark.parametrize(
    "part",
    [
        {"mounts": {}},
        {"mounts": ["x"]},
        {"mounts": [{}]},
        {"mounts": [{"destination": "/x", "options": [1]}]},
        {"process": {"capabilities": "all"}},
        {"process": {"cwd": 1}},
        {"linux": {"seccomp": []}},
        {"ociVersion": 1},
    ],
)
def test_wrong_types_are_named(root: Path, part: dict[str, Any]) -> None:
    with pytest.raises(DocumentError, match=r"^config\.json\.template: \w+"):
        finalize(root, part)


@pytest.mark.parametrize(
    ("mount", "wanted"),
    [
        (None, ["/run", "/run/notify", "/run/systemd", "/run/systemd/notify"]),
        # below a mount of its own the runtime makes the place itself
        ({"destination": "/run", "type": "tmpfs", "source": "tmpfs"}, ["/run"]),
    ],
)
def test_the_runtimes_own_mount_for_notifications_has_a_place(
    root: Path, mount: dict[str, Any] | None, wanted: list[str]
) -> None:
    mounts = {"mounts": [mount] if mount else []}
    assert [point.path for point in finalize(root, mounts, notifies=True).mount_points] == wanted
    assert "/run/notify" not in [point.path for point in finalize(root, mounts).mount_points]


@pytest.mark.parametrize(
    ("files", "mode", "stays"),
    [
        ({}, ["mode=1777"], False),
        pytest.param({"tmp": None}, ["mode=755"], False, marks=pytest.mark.root),
        ({"tmp": None}, ["mode=1777"], True),
        ({"tmp": None}, [], True),
        ({"tmp/file": "x"}, ["mode=755"], True),
        ({"tmp": "-> data"}, ["mode=700"], True),
    ],
)
def test_a_copy_of_nothing_is_not_made(root: Path, files: dict[str, str | None], mode: list[str], stays: bool) -> None:
    make_image(root, files)
    mount = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "tmpcopyup", *mode]}
    config = finalize(root, {"mounts": [mount]})
    assert mounts_of(config)[0]["options"] == ["nosuid", *(["tmpcopyup"] if stays else []), *mode]
    assert config.notices == (("mount /tmp: is /data in the image",) if files.get("tmp") == "-> data" else ())
