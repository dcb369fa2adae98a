"""Mount units, drop-ins and start commands: what they say, and that systemd's own parser agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

from syscontainers.systemd.detached import notifying_start_command, settle_command, start_command
from syscontainers.systemd.dropin import FILE_NAME, DropIn, bind_generation
from syscontainers.systemd.mountunit import OverlayMount
from syscontainers.systemd.startscript import started
from syscontainers.systemd.unitfile import UnitSyntaxError, parse, quote_command
from syscontainers.systemd.verify import verify_texts
from syscontainers.systemd.version import installed_version

ROOT = Path("/var/lib/syscontainers/containers/my-app.3/rootfs")
STORAGE = Path("/var/lib/syscontainers/storage")
LAYERS = (STORAGE / "overlay/l/TOP", STORAGE / "overlay/l/BASE")
SERVICE = "[Service]\nType=forking\nPIDFile=/run/my-app.pid\nExecStart=/bin/true\n"


def overlay(**changes: object) -> OverlayMount:
    parts = {"description": "Root of my-app", "where": ROOT, "lower": LAYERS, "storage": STORAGE}
    return OverlayMount(**{**parts, **changes})  # type: ignore[arg-type]


def test_a_mount_unit_is_named_after_its_place_and_stacks_the_layers_top_first() -> None:
    mount = overlay()
    assert mount.unit_name == "var-lib-syscontainers-containers-my\\x2dapp.3-rootfs.mount"
    unit = mount.to_unit()
    assert unit.get("Mount", "Options") == f"ro,lowerdir={LAYERS[0]}:{LAYERS[1]}"
    assert unit.get("Mount", "Where") == str(ROOT)
    assert unit.get("Unit", "StopWhenUnneeded") == "yes"
    assert unit.get("Unit", "StartLimitIntervalSec") == "0"
    assert unit.get("Mount", "Environment") == "LIBMOUNT_FORCE_MOUNT2=always"


def test_a_writable_root_has_an_upper_directory() -> None:
    options = overlay(upper=Path("/u"), work=Path("/w"), options=["metacopy=off"]).mount_options()
    assert options == f"rw,lowerdir={LAYERS[0]}:{LAYERS[1]},upperdir=/u,workdir=/w,metacopy=off"


def test_an_fstab_says_the_same_in_its_own_words() -> None:
    mount = overlay(options=['context="a b"'], where=Path("/a #\\b/rootfs"), after=["first.service"])
    options = f'ro,lowerdir={LAYERS[0]}:{LAYERS[1]},context="a\\040b"'
    assert mount.fstab_line() == f"overlay /a\\040\\043\\134b/rootfs overlay {options} 0 0\n"
    assert mount.to_unit().get("Unit", "After") == "first.service"


@pytest.mark.parametrize("path", ["/a,b", "/a:b", "/a\\b", "relative"])
def test_layers_that_overlayfs_would_misread(path: str) -> None:
    with pytest.raises(UnitSyntaxError):
        overlay(lower=(Path(path),)).mount_options()


def test_more_layers_than_a_page_holds() -> None:
    overlay(lower=[STORAGE / "overlay/l" / f"{'L' * 26}"] * 50).to_unit()
    with pytest.raises(UnitSyntaxError, match="more than one overlay mount can take"):
        overlay(lower=[STORAGE / "overlay/l" / f"{'L' * 26}"] * 70).to_unit()


def test_nothing_in_a_mount_unit_leaves_its_line() -> None:
    with pytest.raises(UnitSyntaxError):
        overlay(description="x\nWhat=/dev/sda").to_unit()
    assert overlay(description="50% of it").to_unit().get("Unit", "Description") == "50%% of it"


def test_the_drop_in_ties_a_service_to_its_generation() -> None:
    unit = bind_generation(
        SERVICE,
        root=ROOT,
        mounts=[Path("/srv/data")],
        delete_command=["/usr/sbin/runc", "delete", "--force", "my-app"],
        log_fields=[("SYSCONTAINERS_GENERATION", "3"), ("SYSCONTAINERS_IMAGE", 'a "b" %n\nc')],
        systemd=252,
    ).to_unit()
    assert unit.get_all("Unit", "RequiresMountsFor") == (str(ROOT), "/srv/data")
    for key in ("ExecStartPre", "ExecStopPost"):
        assert unit.get_all("Service", key) == ("-/usr/sbin/runc delete --force my-app",)
    assert unit.get_all("Service", "ExecStartPost") == ()
    assert unit.get("Service", "Delegate") == "yes"
    assert unit.get("Service", "UnsetEnvironment") == "NOTIFY_SOCKET"
    assert unit.get("Service", "OOMPolicy") == "stop"
    assert unit.get_all("Service", "LogExtraFields") == (
        "SYSCONTAINERS_GENERATION=3",
        '"SYSCONTAINERS_IMAGE=a \\"b\\" %%n\\nc"',
    )


def test_the_drop_in_completes_only_what_is_open() -> None:
    text = "[Service]\nType=notify\nOOMPolicy=kill\n"
    unit = bind_generation(text, root=ROOT, delete_command=[], log_fields=[], systemd=252).to_unit()
    assert unit.get("Service", "UnsetEnvironment") == ""
    assert unit.get("Service", "OOMPolicy") == ""
    assert unit.get_all("Service", "ExecStartPre") == ()


def test_what_the_unit_deletes_itself_is_not_deleted_again() -> None:
    delete = ["/usr/sbin/runc", "delete", "--force", "my-app"]
    start = quote_command(started(ROOT.parent, "/usr/sbin/runc", "my-app", ["/usr/sbin/runc", "run", "my-app"]))
    text = f"[Service]\nExecStart={start}\nExecStopPost=-{quote_command(delete)}\n"
    unit = bind_generation(text, root=ROOT, delete_command=delete, log_fields=[], systemd=252).to_unit()
    assert unit.get_all("Service", "ExecStartPre") == unit.get_all("Service", "ExecStopPost") == ()


@pytest.mark.parametrize(
    ("systemd", "text", "subgroup"),
    [
        (253, "[Service]\n", ""),
        (254, "[Service]\n", "runtime"),
        (257, "[Service]\nDelegateSubgroup=mine\n", ""),
    ],
)
def test_a_systemd_that_can_starts_the_runtime_in_a_group_of_its_own(systemd: int, text: str, subgroup: str) -> None:
    unit = bind_generation(text, root=ROOT, delete_command=[], log_fields=[], systemd=systemd).to_unit()
    assert unit.get("Service", "DelegateSubgroup") == subgroup


def test_a_drop_in_takes_more() -> None:
    extra = [("Unit", "Wants", "a.service"), ("Service", "MemoryMax", "1G"), ("Install", "WantedBy", "x.target")]
    unit = DropIn(after=["b.service"], extra=extra, delegate=False).to_unit()
    assert unit.to_text() == (
        "[Unit]\nAfter=b.service\nWants=a.service\n\n[Service]\nMemoryMax=1G\n\n[Install]\nWantedBy=x.target\n"
    )


def test_runc_is_started_plainly() -> None:
    command = start_command("/usr/sbin/runc", "/run/x.pid", Path("/b"), "x")
    assert command == ["/usr/sbin/runc", "run", "--detach", "--pid-file", "/run/x.pid", "--bundle", "/b", "x"]
    unit = parse(f"[Service]\nPIDFile=/run/x.pid\nExecStart={quote_command(command)}\n")
    assert settle_command(unit, Path("/b")) == []


@pytest.mark.parametrize("pid_file", ["/run/x.pid", "/run/50%/a b.pid"])
def test_the_helper_that_crun_leaves_is_waited_for(pid_file: str) -> None:
    command = start_command("/usr/bin/crun", pid_file, Path("/b"), "x")
    assert command[:2] == ["/usr/bin/flock", "/b/config.json"]
    assert command[command.index("--pid-file") + 1] == f"{pid_file}.new"
    unit = parse(f"[Service]\nPIDFile={pid_file.replace('%', '%%')}\nExecStart={quote_command(command)}\n")
    assert settle_command(unit, Path("/b")) == [*command[:2], "/usr/bin/mv", f"{pid_file}.new", pid_file]
    bound = bind_generation(
        unit.to_text(),
        root=Path("/b/rootfs"),
        delete_command=["/usr/bin/crun", "delete", "x"],
        log_fields=[],
        systemd=252,
    )
    assert bound.to_unit().get("Service", "ExecStartPost") == quote_command(bound.settle_command)


def test_systemd_agrees_with_all_of_it() -> None:
    mount = overlay(upper=Path("/u"), work=Path("/w"))
    service = SERVICE.replace("ExecStart=/bin/true", f"ExecStart={quote_command(['/bin/echo', '$x', ';', '%n', ''])}")
    drop_in = bind_generation(
        service,
        root=ROOT,
        delete_command=["/bin/true", "a b"],
        log_fields=[("A_FIELD", "100 % \"quoted\" \\ 'x'")],
        systemd=installed_version(),
    )
    texts = {
        "my-app.service": service,
        f"my-app.service.d/{FILE_NAME}": drop_in.to_unit().to_text(),
        mount.unit_name: mount.to_unit().to_text(),
    }
    assert verify_texts(texts) == ()


def test_findings_name_the_file_and_the_line() -> None:
    findings = verify_texts(
        {
            "my-app.service": SERVICE + "Nonsense=1\n",
            f"my-app.service.d/{FILE_NAME}": "[Service]\nMemoryMax=lots\n",
        }
    )
    assert {(f.unit, f.line, f.fatal) for f in findings} == {
        ("my-app.service", 5, False),
        (f"my-app.service.d/{FILE_NAME}", 2, False),
    }
    assert str(findings[0]).startswith("my-app.service:5: Unknown key")


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nType=forking\n",
        "[Service]\nExecStart=./relative\n",
        '[Service]\nExecStart=/bin/true "unbalanced\n',
        "[Service]\nType=oneshot\nRestart=always\nExecStart=/bin/true\n",
    ],
)
def test_a_unit_that_systemd_will_not_load_is_fatal(text: str) -> None:
    assert any(finding.fatal for finding in verify_texts({"my-app.service": text}))


def test_what_is_missing_on_this_host_is_found_but_not_fatal() -> None:
    findings = verify_texts({"my-app.service": "[Unit]\nRequires=not-here.service\n[Service]\nExecStart=/not/here\n"})
    assert findings
    assert not any(finding.fatal for finding in findings)


def test_nothing_to_verify() -> None:
    assert verify_texts({}) == ()


@pytest.mark.parametrize("runtime", ["/usr/sbin/runc", "/usr/bin/crun"])
def test_only_our_own_word_counts_for_a_payload_that_notifies(runtime: str) -> None:
    command = notifying_start_command(runtime, "/run/x.pid", Path("/b"), "x")
    assert command[:4] == ["/bin/sh", "/b/notify", "/run/x.pid", "/b/config.json"]
    text = f"[Service]\nType=notify\nNotifyAccess=all\nPIDFile=/run/x.pid\nExecStart={quote_command(command)}\n"
    bound = bind_generation(text, root=Path("/b/rootfs"), delete_command=[], log_fields=[], systemd=252).to_unit()
    assert bound.get("Service", "NotifyAccess") == "main"
    assert bound.get_all("Service", "ExecStartPost") == ()
    foreground = bind_generation(
        "[Service]\nType=notify\nExecStart=/usr/sbin/runc run x\n",
        root=Path("/b/rootfs"),
        delete_command=[],
        log_fields=[],
        systemd=252,
    ).to_unit()
    assert foreground.get_all("Service", "NotifyAccess") == ()
