"""The verbs, as a table: help, dispatch and the manual are made from it."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """Where a verb lives and how the overview describes it."""

    module: str
    function: str
    group: str
    summary: str
    needs_root: bool = True
    reads_only: bool = False
    """Whether it may end early when nobody reads its output any more."""


IMAGES, LIFE, RUNNING, HOST = "Images", "Containers", "Running", "This host"
GROUPS = (IMAGES, LIFE, RUNNING, HOST)

VERBS = {
    "pull": Verb("pull", "do_pull", IMAGES, "fetch an image and unpack it into the storage"),
    "images": Verb("images", "do_images", IMAGES, "list the images in the storage", needs_root=False, reads_only=True),
    "image": Verb("image", "do_image", IMAGES, "show, remove, tag or verify one image"),
    "mount": Verb("mount", "do_mount", IMAGES, "look at the files of an image or container"),
    "unmount": Verb("unmount", "do_unmount", IMAGES, "end that"),
    "prune": Verb("prune", "do_prune", IMAGES, "free what nothing needs"),
    "storage": Verb("storage", "do_storage", IMAGES, "share the storage with podman and CRI-O, or check it"),
    "install": Verb("install", "do_install", LIFE, "make a container of an image a systemd service"),
    "uninstall": Verb("uninstall", "do_uninstall", LIFE, "stop and remove a container; its data stays"),
    "update": Verb("update", "do_update", LIFE, "go to a new version, another image or other values"),
    "rollback": Verb("rollback", "do_rollback", LIFE, "go back to an earlier generation"),
    "diff": Verb("diff", "do_diff", LIFE, "what an update would change", reads_only=True),
    "list": Verb("list", "do_list", LIFE, "list the containers", needs_root=False, reads_only=True),
    "show": Verb("show", "do_show", LIFE, "everything about one container", needs_root=False, reads_only=True),
    "verify": Verb("verify", "do_verify", LIFE, "compare containers with what was installed", reads_only=True),
    "start": Verb("lifecycle", "do_start", RUNNING, "start a container and wait until it is well"),
    "stop": Verb("lifecycle", "do_stop", RUNNING, "stop a container"),
    "restart": Verb("lifecycle", "do_restart", RUNNING, "stop and start a container"),
    "enable": Verb("lifecycle", "do_enable", RUNNING, "start a container at boot"),
    "disable": Verb("lifecycle", "do_disable", RUNNING, "do not start a container at boot"),
    "logs": Verb(
        "logs", "do_logs", RUNNING, "what a container wrote, from the journal", needs_root=False, reads_only=True
    ),
    "run": Verb("run", "do_run", RUNNING, "run an image once, or a command in or beside a container"),
    "exec": Verb("exec", "do_exec", RUNNING, "run a command inside a running container", reads_only=True),
    "stats": Verb("stats", "do_stats", RUNNING, "what running containers use", needs_root=False, reads_only=True),
    "doctor": Verb("doctor", "do_doctor", HOST, "what of this host stands in the way", reads_only=True),
    "apply": Verb("apply", "do_apply", HOST, "install, update and start what containers.d declares"),
    "export": Verb("export", "do_export", HOST, "a container as a declaration", needs_root=False, reads_only=True),
    "lock": Verb("lock", "do_lock", HOST, "pin every declared image to a digest", needs_root=False),
    "seed": Verb("seed", "do_seed", HOST, "put images where they are found without a network", needs_root=False),
    "recover": Verb("recover", "do_recover", HOST, "complete or undo operations that were cut off"),
    "settle": Verb("settle", "do_settle", HOST, "keep new generations that came up at boot, replace the others"),
}
