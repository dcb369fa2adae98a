"""Declared containers on a running host: seeds, lock file, dependencies, limits, and doing nothing twice."""

from __future__ import annotations

import json
import tomllib

import pytest

from tests.images import build_index
from tests.machine.command import show, syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.declared import DECLARED, LOCK, SEEDS, Declare, seed, write
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FAILING, PATIENT, push_image, shell_image
from tests.waiting import wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]


def state(host: ThrowawayHost, name: str) -> tuple[str, int]:
    document = show(host, name)
    return document["state"], document["generation"]


def test_a_chain_from_seeds_and_then_nothing(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {f"seed.example/{name}:1": shell_image(f"{PATIENT} # {name}") for name in ("a", "b", "c")})
    declare("c", 'image = "seed.example/c:1"\nrequires = ["b"]\n[limits]\nMemoryHigh = "50M"\nTasksMax = 33\n')
    declare("b", 'image = "seed.example/b:1"\nwants = ["a"]\n[values]\nDESCRIPTION = "the middle"\n')
    declare("a", 'image = "seed.example/a:1"\n')
    check = syscontainer(host, "apply", "--check", code=1)
    assert "+++ declared/b" in check.stdout
    assert "+set DESCRIPTION: the middle" in check.stdout
    assert syscontainer(host, "list", "--json").stdout.strip() == "[]"
    told = syscontainer(host, "apply").stdout.splitlines()
    assert [line.partition(":")[0] for line in told] == ["a", "b", "c"]
    assert all(line.endswith(", started") for line in told)
    assert [state(host, name) for name in "abc"] == [("running", 0)] * 3
    assert unit_property(host, "b.service", "Description") == "the middle"
    assert unit_property(host, "c.service", "TasksMax") == "33"
    assert "b.service" in unit_property(host, "c.service", "Requires").split()
    assert {"a.service", "syscontainers-apply.service"} <= set(unit_property(host, "b.service", "After").split())
    pids = [unit_property(host, f"{name}.service", "MainPID") for name in "abc"]
    again = syscontainer(host, "apply")
    assert again.stdout == "everything is as declared; nothing to do\n"
    assert syscontainer(host, "apply", "--check").stdout == ""
    assert [unit_property(host, f"{name}.service", "MainPID") for name in "abc"] == pids
    stopped = host.run(["systemctl", "stop", "a.service"])
    assert stopped.returncode == 0
    assert "now: runs" in syscontainer(host, "apply", "--check", code=1).stdout
    assert syscontainer(host, "apply").stdout == "a: started\n"


def test_limits_change_without_a_restart_and_values_with_one(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/a:1": shell_image(f"{PATIENT} # limits")})
    declare("a", 'image = "seed.example/a:1"\n[limits]\nTasksMax = 100\n')
    syscontainer(host, "apply")
    pid = unit_property(host, "a.service", "MainPID")
    declare("a", 'image = "seed.example/a:1"\n[limits]\nTasksMax = 200\n')
    check = syscontainer(host, "apply", "--check", code=1).stdout
    assert "-TasksMax=100" in check
    assert "+TasksMax=200" in check
    assert syscontainer(host, "apply").stdout == "a: dependencies and limits changed\n"
    assert unit_property(host, "a.service", "TasksMax") == "200"
    assert unit_property(host, "a.service", "MainPID") == pid
    declare("a", 'image = "seed.example/a:1"\nstart = true\n[values]\nENV = "X=1"\n[limits]\nTasksMax = 200\n')
    assert syscontainer(host, "apply").stdout == "a: now at a.1\n"
    declare("a", 'image = "seed.example/a:1"\nstart = false\n[limits]\nTasksMax = 200\n')
    assert syscontainer(host, "apply").stdout == "a: now at a.2, disabled\n"
    assert show(host, "a")["state"] == "running"
    assert syscontainer(host, "apply").stdout == "everything is as declared; nothing to do\n"


def test_a_bad_limit_is_refused_before_anything_happens(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/a:1": shell_image()})
    declare("a", 'image = "seed.example/a:1"\n')
    declare("b", 'image = "seed.example/a:1"\n\n[limits]\nTasksMax = 100\nMemoryMax = "much"\n')
    done = syscontainer(host, "apply", code=2)
    assert f"{DECLARED}/b.toml:5: limits.MemoryMax is not what systemd takes" in done.stderr
    assert syscontainer(host, "list", "--json").stdout.strip() == "[]"


def test_a_new_seed_of_the_same_name_is_an_update(host: ThrowawayHost, declare: Declare) -> None:
    old, new = (shell_image(f"{PATIENT} # version {number}") for number in (1, 2))
    seed(host, {"seed.example/a:1": old})
    declare("a", 'image = "seed.example/a:1"\n')
    declare("b", 'image = "seed.example/a:1"\nupdate = "never"\n')
    syscontainer(host, "apply")
    seed(host, {"seed.example/a:1": build_index({"linux/amd64": new})})
    assert syscontainer(host, "apply").stdout == "a: now at a.1\n"
    assert show(host, "a")["digest"] == new.digest
    assert show(host, "b")["digest"] == old.digest
    assert syscontainer(host, "apply").stdout == "everything is as declared; nothing to do\n"


def test_the_lock_file_decides_alone(host: ThrowawayHost, declare: Declare) -> None:
    old, new = (shell_image(f"{PATIENT} # locked {number}") for number in (1, 2))
    seed(host, {"seed.example/a:1": old})
    declare("a", 'image = "seed.example/a:1"\n')
    assert syscontainer(host, "lock").stdout == f"seed.example/a:1 {old.digest}\n"
    assert tomllib.loads(host.path(LOCK).read_text()) == {"images": {"seed.example/a:1": old.digest}}
    # Both lie there; only the digest tells them apart, and the name says otherwise.
    seed(host, {"seed.example/a:1": new, "": old})
    syscontainer(host, "apply")
    assert show(host, "a")["digest"] == old.digest
    assert syscontainer(host, "lock").stdout == f"seed.example/a:1 {old.digest}\n"
    assert syscontainer(host, "lock", "--renew").stdout == f"seed.example/a:1 {new.digest}\n"
    assert syscontainer(host, "apply").stdout == "a: now at a.1\n"
    declare("z", 'image = "seed.example/unpinned:1"\n')
    done = syscontainer(host, "apply", code=2)
    assert f"{LOCK}: does not pin seed.example/unpinned:1" in done.stderr
    assert show(host, "a")["digest"] == new.digest


def test_seeds_are_made_from_a_registry(host: ThrowawayHost, declare: Declare, make_image: MakeImage) -> None:
    reference = make_image(f"{PATIENT} # for a seed")
    first = syscontainer(host, "seed", "add", "--to", f"{SEEDS}/made", reference)
    digest = first.stdout.strip().rpartition(" ")[2]
    assert syscontainer(host, "seed", "add", "--to", f"{SEEDS}/made", reference).stdout == first.stdout
    name = reference.partition("/")[2].partition(":")[0]
    assert (
        host.run(["skopeo", "inspect", "--format={{.Digest}}", f"oci:{SEEDS}/made:{reference}"]).stdout == digest + "\n"
    )
    host.run(["systemctl", "stop", "registry.service"])
    try:
        declare(name, f'image = "{reference}"\n')
        told = syscontainer(host, "apply")
    finally:
        host.run(["systemctl", "start", "registry.service"])
    assert told.stdout == f"{name}: installed from {digest}, started\n"
    assert f"{reference}: from {SEEDS}/made" in told.stderr


def test_one_that_fails_does_not_stop_the_others(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/good:1": shell_image(), "seed.example/bad:1": shell_image(FAILING)})
    declare("bad", 'image = "seed.example/bad:1"\n[values]\nRESTART = "no"\n')
    declare("good", 'image = "seed.example/good:1"\nafter = ["bad"]\n')
    declare("needy", 'image = "seed.example/good:1"\nrequires = ["bad"]\n')
    done = syscontainer(host, "apply", code=6)
    assert show(host, "good")["state"] == "running"
    assert "bad did not" in done.stderr
    assert "needy: not started, because it requires bad" in done.stderr
    assert not host.path("/var/lib/syscontainers/applied").exists()


def test_prune_takes_only_what_was_declared(host: ThrowawayHost, declare: Declare, make_image: MakeImage) -> None:
    by_hand = make_image()
    syscontainer(host, "install", "--name", "by-hand", by_hand)
    seed(host, {"seed.example/a:1": shell_image()})
    declare("a", 'image = "seed.example/a:1"\n')
    declare("b", 'image = "seed.example/a:1"\n')
    syscontainer(host, "apply")
    host.run(["rm", f"{DECLARED}/b.toml"])
    assert syscontainer(host, "apply").stdout == "everything is as declared; nothing to do\n"
    assert "--- present/b" in syscontainer(host, "apply", "--check", "--prune", code=1).stdout
    assert syscontainer(host, "apply", "--prune").stdout == "b: uninstalled\n"
    assert not host.path("/etc/systemd/system/b.service.d").exists()
    assert sorted(row["name"] for row in json.loads(syscontainer(host, "list", "--json").stdout)) == ["a", "by-hand"]
    syscontainer(host, "uninstall", "by-hand")


def test_export_declares_what_is_there(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/a:1": shell_image(), "seed.example/b:1": shell_image()})
    text = 'image = "seed.example/a:1"\nname = "x"\nwants = ["b"]\n'
    text += '[values]\nENV = "A=\'1 2\'"\n[limits]\nCPUQuota = "50%"\n'
    declare("a", text)
    declare("b", 'image = "seed.example/b:1"\n')
    syscontainer(host, "apply")
    exported = syscontainer(host, "export", "x").stdout
    runtime = tomllib.loads(exported).pop("runtime")
    assert tomllib.loads(exported) == {**tomllib.loads(text), "start": True, "runtime": runtime}
    declare("a", exported)
    assert syscontainer(host, "apply").stdout == "everything is as declared; nothing to do\n"


def test_before_services_may_start_nobody_is_waited_for(host: ThrowawayHost, declare: Declare) -> None:
    good, bad = shell_image(f"{PATIENT} # early"), shell_image(FAILING)
    seed(host, {"seed.example/a:1": good, "seed.example/b:1": bad})
    declare("a", 'image = "seed.example/a:1"\n')
    told = syscontainer(host, "apply", "--boot").stdout
    assert told == f"a: installed from {good.digest}, queued to start\n"
    assert host.path("/var/lib/syscontainers/trials/a.json").exists()
    cut_off = host.path("/var/lib/syscontainers/trials/.b.json.0123abcd.tmp")  # as a power cut leaves it
    cut_off.touch()
    assert syscontainer(host, "settle").stdout == "a: generation 0 has come up\n"
    assert not host.path("/var/lib/syscontainers/trials/a.json").exists()
    assert not cut_off.exists()
    # As if the next version came with the next version of the operating system.
    syscontainer(host, "stop", "a")
    declare("a", 'image = "seed.example/b:1"\n[values]\nRESTART = "no"\n')
    assert syscontainer(host, "apply", "--boot").stdout == "a: now at a.1, queued to start\n"
    settled = syscontainer(host, "settle").stdout
    assert settled.startswith("a: generation 1 did not come up, generation 0 runs again: ")
    assert state(host, "a") == ("running", 0)
    listed = syscontainer(host, "list")
    assert "a: went back to generation 0 at boot, because 1 did not come up" in listed.stderr
    assert "went back" in json.loads(syscontainer(host, "list", "--json").stdout)[0]["problem"]


def test_late_in_boot_what_runs_is_restarted_and_judged(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/a:1": shell_image(f"{PATIENT} # late")})
    declare("a", 'image = "seed.example/a:1"\n')
    syscontainer(host, "apply")
    declare("a", 'image = "seed.example/a:1"\n[values]\nENV = "LATE=yes"\n')
    assert syscontainer(host, "apply", "--boot").stdout.startswith("a: now at a.1")
    assert syscontainer(host, "settle").stdout == "a: generation 1 has come up\n"
    pid = unit_property(host, "a.service", "MainPID")
    assert "LATE=yes" in host.run(["cat", f"/proc/{pid}/environ"]).stdout.split("\0")


def test_an_image_that_is_nowhere_is_left_for_later(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/a:1": shell_image()})
    declare("a", 'image = "seed.example/a:1"\n')
    declare("later", 'image = "127.0.0.1:5000/later:1"\n')
    fetch = "/run/systemd/system/syscontainers-fetch.service"
    write(host, fetch, b"[Service]\nType=oneshot\nExecStart=/bin/touch /run/fetched\n")
    host.run(["systemctl", "daemon-reload"])
    try:
        done = syscontainer(host, "apply", "--boot")
        wait_for(host.path("/run/fetched").exists, "nobody fetches")
    finally:
        host.run(["rm", fetch])
        host.run(["systemctl", "daemon-reload"])
    assert "later:1: neither in the storage nor among the seeds of this host" in done.stderr
    assert show(host, "a")["name"] == "a"
    assert not host.path("/var/lib/syscontainers/applied").exists()


def test_an_update_of_a_stopped_service_is_on_trial(host: ThrowawayHost, make_image: MakeImage) -> None:
    good, bad = make_image(f"{PATIENT} # trial"), make_image(FAILING)
    syscontainer(host, "install", "--now", "--name", "tried", "--set", "RESTART=no", good)
    syscontainer(host, "stop", "tried")
    syscontainer(host, "update", "--image", bad, "tried")
    note = json.loads(host.path("/var/lib/syscontainers/trials/tried.json").read_bytes())
    assert note == {"generation": 1, "previous": 0}
    host.run(["systemctl", "start", "--no-block", "tried.service"])
    assert "generation 0 runs again" in syscontainer(host, "settle").stdout
    assert state(host, "tried") == ("running", 0)
    syscontainer(host, "uninstall", "tried")
    assert not host.path("/var/lib/syscontainers/fallbacks/tried.json").exists()


def test_a_value_that_the_image_does_not_take_is_told_with_its_line(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/a:1": shell_image()})
    declare("a", 'image = "seed.example/a:1"\n[values]\nENV = "X=1"\nMEMORY = "much"\n')
    done = syscontainer(host, "apply", code=2)
    assert f"{DECLARED}/a.toml:4: values.MEMORY 'much' will not do" in done.stderr
    assert syscontainer(host, "list", "--json").stdout.strip() == "[]"


def test_check_asks_the_registry_for_what_is_always_updated(
    host: ThrowawayHost, declare: Declare, make_image: MakeImage
) -> None:
    reference = make_image(f"{PATIENT} # always, first")
    declare("a", f'image = "{reference}"\nupdate = "always"\n')
    syscontainer(host, "apply")
    assert syscontainer(host, "apply", "--check").stdout == ""
    newer = shell_image(f"{PATIENT} # always, second")
    push_image(host, newer, reference.partition("/")[2].partition(":")[0], "1")
    assert f"+digest: {newer.digest}" in syscontainer(host, "apply", "--check", code=1).stdout
    assert syscontainer(host, "apply").stdout == "a: now at a.1\n"


def test_a_disk_error_with_one_does_not_stop_the_others(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/a:1": shell_image(), "seed.example/b:1": shell_image()})
    for name in "ab":
        declare(name, f'image = "seed.example/{name}:1"\n')
    # A file where a directory is needed.
    write(host, "/etc/systemd/system/a.service.d", b"")
    done = syscontainer(host, "apply", code=1)
    host.run(["rm", "/etc/systemd/system/a.service.d"])
    assert "/etc/systemd/system/a.service.d" in done.stderr
    assert show(host, "b")["state"] == "running"


def test_what_requires_one_that_fell_back_runs_too(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/good:1": shell_image(), "seed.example/bad:1": shell_image(FAILING)})
    declare("z", 'image = "seed.example/good:1"\n')
    declare("a", 'image = "seed.example/good:1"\nrequires = ["z"]\n')
    syscontainer(host, "apply")
    syscontainer(host, "stop", "a", "z")
    declare("z", 'image = "seed.example/bad:1"\n[values]\nRESTART = "no"\n')
    declare("a", 'image = "seed.example/good:1"\nrequires = ["z"]\n[values]\nENV = "X=1"\n')
    syscontainer(host, "apply", "--boot")
    # As where boot finds out before it starts the other.
    host.run(["systemctl", "stop", "a.service"])
    settled = syscontainer(host, "settle").stdout.splitlines()
    assert settled[0].startswith("z: generation 1 did not come up, generation 0 runs again: ")
    assert settled[1:] == ["a: generation 1 has come up"]
    assert [state(host, name) for name in "az"] == [("running", 1), ("running", 0)]
