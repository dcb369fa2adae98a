"""The disk that machines begin with: Debian, this project installed into it, and whatever a test adds.

Three trees, each cached under ``.cache/vm`` by a hash of what it is made from, are laid over each other and written
into one ext4 image: Debian (half a minute, once), the libraries we depend on (the same), and the project with our own
agent. A changed source file costs the last of them and the image, some ten seconds.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.locked import locked
from tests.debian import BOOKWORM, Release, compile_python, make_libraries, make_machine
from tests.vm.initrd import build_initrd

CHECKOUT = Path(__file__).parents[2]
CACHE = CHECKOUT / ".cache" / "vm"
GUEST = Path(__file__).parent / "guest"
# None of these is of use in an emulated machine without network, and each costs its boot up to a second.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "systemd-timesyncd.service", "systemd-pstore.service"),
    *("systemd-binfmt.service", "systemd-udev-settle.service", "serial-getty@ttyS0.service", "getty@tty1.service"),
    *("getty-static.service", "systemd-hwdb-update.service", "systemd-networkd.service", "networking.service"),
    *("acct.service", "systemd-tmpfiles-clean.timer", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
    *("systemd-network-generator.service", "systemd-firstboot.service", "systemd-logind.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-modules-load.service"),
    *("modprobe@configfs.service", "modprobe@dm_mod.service", "modprobe@drm.service", "modprobe@efi_pstore.service"),
    *("modprobe@fuse.service", "modprobe@loop.service", "kmod-static-nodes.service", "systemd-ask-password-wall.path"),
    *("systemd-ask-password-console.path", "systemd-pcrphase.service", "systemd-pcrphase-sysinit.service"),
)
# Each runs at every boot and at every reload of PID 1, and has nothing to find here. What reads fstab stays.
GENERATORS = (
    *("cryptsetup", "debug", "getty", "gpt-auto", "hibernate-resume", "integritysetup"),
    *("rc-local", "run", "system-update", "sysv", "veritysetup"),
)
UNUSED_MODULES = (
    *("aesni_intel", "crc32_pclmul", "crc32c_intel", "crct10dif_pclmul", "ghash_clmulni_intel", "sha512_ssse3", "kvm"),
    *(
        "button",
        "evdev",
        "i2c_i801",
        "i2c_smbus",
        "iTCO_wdt",
        "lpc_ich",
        "pcspkr",
        "powernow_k8",
        "psmouse",
        "serio_raw",
    ),
    *(
        "joydev",
        "qemu_fw_cfg",
        "ahci",
        "libahci",
        "libata",
        "intel_rapl_msr",
        "intel_rapl_common",
        "sg",
        "drm",
        "bochs",
    ),
)
COMMAND = """\
#!/usr/bin/python3 -I
import sys

from syscontainers.__main__ import main

sys.exit(main())
"""
DISK_BYTES = 4 << 30


@dataclass(frozen=True)
class Golden:
    """What a machine boots from; the files are never written to."""

    disk: Path
    kernel: Path
    initrd: Path


def build_golden(*extra: Path, release: Release = BOOKWORM) -> Golden:
    """The disk with the trees ``extra`` on top, the last of them winning. Takes a moment when nothing changed."""
    ours = _source(Path(__file__))
    theirs = (release.suite, _source(CHECKOUT / "tests/debian.py"))
    with locked(CACHE / "lock"):
        debian = _cached("debian", theirs, lambda path: make_machine(release, path))
        wanted = _dependencies()
        libraries = _cached("libraries", (*theirs, *wanted), lambda path: make_libraries(release, wanted, path))
        files = (debian.name, ours, *map(_source, _project_files()))
        project = _cached("project", files, lambda path: _make_project(path, debian, release))
        kernel = next(debian.glob("boot/vmlinuz-*"))
        initrd = _cached("initrd", (debian.name, _source(Path(__file__).with_name("initrd.py"))), _make_initrd(debian))
        layers = [*extra, project, libraries, debian]
        key = (debian.name, libraries.name, project.name, *(_tree_hash(tree) for tree in extra))
        disk = _cached("disk", key, lambda path: _make_disk(path, layers))
    return Golden(disk / "disk.img", kernel, initrd / "initrd.img")


def _cached(kind: str, inputs: Sequence[str], make: Callable[[Path], None]) -> Path:
    """The directory that ``make`` fills from ``inputs``; the latest few of each kind are kept."""
    path = CACHE / f"{kind}-{hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]}"
    if not path.exists():
        temporary = path.with_suffix(".new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        make(temporary)
        temporary.rename(path)
        _forget_old(kind)
    os.utime(path)
    return path


def _forget_old(kind: str) -> None:
    every = sorted(CACHE.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in every[8:]:
        shutil.rmtree(path)


def _source(path: Path) -> str:
    return f"{path.relative_to(CHECKOUT)} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _project_files() -> Iterable[Path]:
    for name in ("pyproject.toml", "setup.cfg"):
        yield CHECKOUT / name
    for name in ("syscontainers", "templates", "units", "tests/vm/guest"):
        yield from sorted(
            path for path in (CHECKOUT / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        )


def _tree_hash(tree: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        digest.update(f"{path.relative_to(tree)} {status.st_mode} {status.st_uid} {status.st_gid}\n".encode())
        if path.is_symlink():
            digest.update(os.fsencode(os.readlink(path)))
        elif path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _dependencies() -> list[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def _write_identity(root: Path) -> None:
    for path, text in {
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/hostname": "guest\n",
        "etc/hosts": "127.0.0.1 localhost guest\n",
        "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
        # What udev would load for the processor and the board, and nobody uses.
        "etc/modprobe.d/test.conf": "".join(f"install {name} /bin/true\n" for name in UNUSED_MODULES),
        "etc/systemd/journald.conf.d/test.conf": "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n",
        "etc/systemd/system.conf.d/test.conf": "[Manager]\nDefaultTimeoutStartSec=300s\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "var/log/journal").mkdir(parents=True)
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    generators = root / "etc/systemd/system-generators"
    generators.mkdir()
    for name in GENERATORS:
        (generators / f"systemd-{name}-generator").symlink_to("/dev/null")


def _make_project(root: Path, debian: Path, release: Release) -> None:
    # A copy: building in the checkout would write into everybody's.
    copy = root / "source"
    for path in _project_files():
        target = copy / path.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    # The build wants them; what they say makes no difference to a machine.
    for name in _documents():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    libraries = root / release.libraries
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    options = ["--no-deps", "--no-compile", "--target", str(libraries)]
    subprocess.run([*pip, *options, str(copy)], check=True, cwd=CHECKOUT)
    shutil.rmtree(copy)
    shutil.rmtree(libraries / "bin", ignore_errors=True)
    compile_python(debian, root)
    _install(root / "usr/local/bin/syscontainer", COMMAND.encode(), 0o755)
    for unit in sorted((CHECKOUT / "units").iterdir()):
        _install(root / "usr/lib/systemd/system" / unit.name, unit.read_bytes(), 0o644)
    _install_agent(root)
    _write_identity(root)


def _documents() -> list[str]:
    """What ``pyproject.toml`` and ``setup.cfg`` name besides code and units."""
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    named = [name for names in setup["options.data_files"].values() for name in names.split()]
    return ["README.md", "LICENSE", *(name for name in named if "*" not in name)]


def _install_agent(root: Path) -> None:
    _install(root / "usr/local/lib/agent.sh", (GUEST / "agent.sh").read_bytes(), 0o755)
    wants = root / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True)
    for name in ("agent", "accounting"):
        _install(root / f"etc/systemd/system/{name}.service", (GUEST / f"{name}.service").read_bytes(), 0o644)
        (wants / f"{name}.service").symlink_to(f"../{name}.service")


def _install(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def _make_initrd(debian: Path) -> Callable[[Path], None]:
    def make(directory: Path) -> None:
        modules = next((debian / "usr/lib/modules").iterdir())
        (directory / "initrd.img").write_bytes(build_initrd(modules, debian / "usr/bin/busybox"))

    return make


def _make_disk(directory: Path, layers: Sequence[Path]) -> None:
    """Lay the trees over each other, in a mount namespace that goes with the process, and make an image of it."""
    disk = directory / "disk.img"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    merged = directory / "merged"
    merged.mkdir()
    script = (
        'mount -t overlay overlay -o "lowerdir=$1" "$2" && '
        'mkfs.ext4 -q -L root -m 0 -E lazy_itable_init=1,lazy_journal_init=1 -d "$2" "$3"'
    )
    lower = ":".join(map(str, layers))
    argv = ["unshare", "--mount", "sh", "-euc", script, "sh", lower, str(merged), str(disk)]
    subprocess.run(argv, check=True)
    merged.rmdir()
