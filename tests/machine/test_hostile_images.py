"""Images that are sound as archives and hostile in what they say of themselves, installed on a real systemd."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.images import Entry, Image, build_image, directory, layer, program, program_from, symlink
from tests.machine.command import syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import PATIENT
from tests.waiting import turns, wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]
Tree = Mapping[str, "Entry | str | bytes"]


def hostile_image(files: Tree | None = None, script: str = PATIENT, **run: object) -> Image:
    """busybox with some files more, and what the config says."""
    base: dict[str, Entry | str | bytes] = {"bin/busybox": program_from("/bin/busybox")}
    base |= {
        f"bin/{name}": symlink("busybox") for name in ("cat", "echo", "grep", "ls", "sh", "sleep", "stat", "touch")
    }
    base |= {"payload": program(f"#!/bin/sh\n{script}\n"), **(files or {})}
    return build_image([layer(base)], {"Entrypoint": ["/payload"], "Env": ["PATH=/bin"], **run})


MANY = "x:x:1000:" + ",".join(f"user{number}" for number in range(1_000_000)) + "\n"
REFUSED: dict[str, tuple[Image, str]] = {
    "working directory at a descriptor, CVE-2024-21626": (
        hostile_image(WorkingDir="/proc/self/fd/7"),
        "leads into /proc",
    ),
    "working directory by a link": (
        hostile_image({"door": symlink("/proc/self/fd")}, WorkingDir="/door/8"),
        "leads into /proc",
    ),
    "user 2**32, CVE-2024-40635": (hostile_image(User="4294967296"), "out of range"),
    "user 10**12, CVE-2026-46680": (hostile_image(User="1000000000000:0"), "out of range"),
    "group in hexadecimal": (hostile_image(User="0:0x0"), "neither a name nor a number"),
    "user that would be a line": (hostile_image(User="root\nUser=root"), "neither a name nor a number"),
    "a million members, CVE-2026-47262": (hostile_image({"etc/group": MANY}, User="root"), "is larger than"),
    "accounts in a pipe, CVE-2024-9676": (
        hostile_image({"etc/passwd": Entry(kind=b"6")}, User="web"),
        "is not a regular file",
    ),
    "accounts of the host, CVE-2024-9676": (
        hostile_image({"etc/passwd": symlink("/proc/1/root/etc/passwd")}, User="daemon"),
        "is not in its /etc/passwd",
    ),
    "/proc a link, CVE-2019-19921, CVE-2023-27561": (hostile_image({"proc": symlink("/tmp")}), "symbolic link"),
    "/dev a link, CVE-2025-31133": (hostile_image({"dev": symlink("/etc")}), "symbolic link"),
    "/sys a link, CVE-2021-30465": (hostile_image({"sys": symlink("data"), "data": directory()}), "symbolic link"),
    "/dev/shm behind a link": (hostile_image({"dev": symlink("proc"), "proc": directory()}), "symbolic link"),
    "a volume over /proc": (hostile_image(Volumes={"/proc/sys": {}}), "cannot be a directory of data"),
    "a volume by a link to /dev": (
        hostile_image({"data": symlink("/dev")}, Volumes={"/data": {}}),
        "cannot be a directory of data",
    ),
    "a volume over everything": (hostile_image(Volumes={"/": {}}), "cannot be a directory of data"),
    "a volume out of the root": (hostile_image(Volumes={"/a/../../../etc": {}}), "plain absolute path"),
    "a volume with a line": (hostile_image(Volumes={"/a\nd /etc/owned": {}}), "plain absolute path"),
    "a volume that is a file": (hostile_image({"data": "x"}, Volumes={"/data": {}}), "is a file"),
    "a signal that is none": (hostile_image(StopSignal="SIGKILL\nExecStart=/bin/true"), "is no signal"),
    "a loop of links": (hostile_image({"a": symlink("b"), "b": symlink("a")}, WorkingDir="/a"), "symbolic links"),
}


@pytest.mark.parametrize("trick", REFUSED)
def test_images_that_aim_at_the_host_are_refused(
    trick: str, host: ThrowawayHost, make_image: MakeImage, unchanged: None
) -> None:
    image, reason = REFUSED[trick]
    done = syscontainer(host, "install", "--now", "--name", "hostile", make_image(image=image), code=5)
    told = [line for line in done.stderr.splitlines() if line.startswith("syscontainer: ")]
    assert len(told) == 1
    assert reason in told[0]


LOOK_AROUND = """\
grep -E '^(CapInh|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status
echo descriptors $(ls /proc/self/fd)
grep ' - cgroup' /proc/self/mountinfo
for file in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/*/release_agent; do
    if [ -e $file ] && echo 0 2>/dev/null > $file; then echo wrote $file; fi
done
ls /etc
trap 'exit 0' TERM; echo up; sleep 1000000 & wait
"""


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_what_the_payload_gets(host: ThrowawayHost, make_image: MakeImage, runtime: str) -> None:
    """No inheritable capabilities (CVE-2022-24769), no descriptor of ours (CVE-2024-21626), a control group that it
    cannot write (CVE-2023-25809), and a volume behind a link that shows nothing of the host (CVE-2022-23648)."""
    labels = {
        "io.containers.autoupdate": "registry",
        "PODMAN_SYSTEMD_UNIT": "x.service",
        "systemd.ExecStart": "/bin/id",
    }
    image = hostile_image({"link": symlink("/etc")}, LOOK_AROUND, Volumes={"/link": {}}, Labels=labels)
    name = f"around-{runtime}"
    syscontainer(host, "install", "--now", "--runtime", runtime, "--name", name, make_image(image=image))
    try:
        for _ in turns():
            lines = host.run(["journalctl", "--unit", name, "--output", "cat", "--no-pager"]).stdout.splitlines()
            if any(line.startswith("up") for line in lines):
                break
        assert "CapInh:\t0000000000000000" in lines
        assert "CapAmb:\t0000000000000000" in lines
        # The shell's redirected output, and the directory that ls reads.
        assert [line for line in lines if line.startswith("descriptors")] == ["descriptors 0 1 2 3"]
        groups = [line for line in lines if " /sys/fs/cgroup" in line and " - cgroup" in line]
        assert groups
        assert [line for line in groups if " ro," not in line] == []
        assert [line for line in lines if line.startswith("wrote")] == []
        assert not {"passwd", "shadow", "systemd", "ssh"} & set(lines), "the host's /etc"
        unit = host.run(["systemctl", "cat", name]).stdout
        assert not [value for value in (*labels, *labels.values()) if value in unit]
        assert unit_property(host, f"{name}.service", "ExecStart").count("path=") == 1
        # Markers of overlayfs in a layer, which podman lets in, lead nowhere.
        root = f"/var/lib/syscontainers/containers/{name}.0/rootfs"
        assert "redirect_dir=nofollow" in host.run(["findmnt", "--noheadings", "--output=OPTIONS", root]).stdout
    finally:
        syscontainer(host, "uninstall", name)


def test_the_unit_of_any_image_of_ours_is_the_same(host: ThrowawayHost, make_image: MakeImage) -> None:
    """Whatever a config says, our template's settings are those of an honest image, their values apart."""
    nasty = "x%n $(id)\n[Service]\nUser=0\nExecStart=/bin/false \\"
    run = {"Labels": {nasty: nasty}, "Cmd": [nasty], "Env": ["PATH=/bin", f"A={nasty}"], "StopSignal": "SIGINT"}
    image = hostile_image({"etc/hostname": nasty}, PATIENT, **run)
    settings = []
    for each in (hostile_image(StopSignal="SIGINT"), image):
        reference = make_image(image=each)
        syscontainer(host, "pull", reference)
        printed = syscontainer(host, "install", "--dry-run", "--name", "same", reference).stdout
        unit = printed.partition("same.service\n")[2].partition("\n# /")[0]
        settings.append([line for line in unit.splitlines() if not line.startswith("Description=")])
        syscontainer(host, "image", "rm", reference)
    assert settings[0] == settings[1] != []


def test_arguments_reach_the_payload_as_they_are(host: ThrowawayHost, make_image: MakeImage) -> None:
    nasty = "%n $HOME \"'\\ ;id \u202e\t\n[Service]"
    reference = make_image(image=hostile_image(None, PATIENT, Cmd=[nasty]))
    syscontainer(host, "install", "--now", "--name", "words", reference)
    try:
        pid = unit_property(host, "words.service", "MainPID")
        assert host.run(["cat", f"/proc/{pid}/cmdline"]).stdout.split("\0")[-2] == nasty
    finally:
        syscontainer(host, "uninstall", "words")


def test_a_payload_cannot_aim_the_next_versions_volumes(host: ThrowawayHost, make_image: MakeImage) -> None:
    """A link in one volume on the way to another: neither the runtime nor systemd-tmpfiles may follow it."""
    plant = f"ln -s /etc /data/evil; mkdir /data/deep; ln -s /etc /data/deep/x; {PATIENT}"
    volumes: dict[str, object] = {"/data": {}, "/data/evil": {}, "/data/deep/x/systemd": {}}
    files: Tree = {"bin/ln": symlink("busybox"), "bin/mkdir": symlink("busybox"), "data": directory()}
    wide: Tree = {**files, "data/deep/x/systemd": directory(0o777, 1000), "data/evil": directory(0o777, 1000)}
    first = make_image(image=hostile_image(files, plant, Volumes={"/data": {}}))
    second = make_image(image=hostile_image(wide, f"touch /data/evil/owned; {PATIENT}", Volumes=volumes))
    before = host.shell("stat -c '%a %u %n' /etc /etc/systemd; ls -A /etc").stdout
    syscontainer(host, "install", "--now", "--name", "aims", first)
    try:
        wait_for(host.path("/var/lib/aims/data/deep/x").is_symlink, "it plants nothing")
        host.run(["syscontainer", "update", "--image", second, "aims"], check=False)
        host.run(["systemd-tmpfiles", "--create"], check=False)
        after = host.shell("stat -c '%a %u %n' /etc /etc/systemd; ls -A /etc").stdout
        assert after == before
    finally:
        syscontainer(host, "uninstall", "aims")
        host.run(["rm", "-rf", "/var/lib/aims"])
