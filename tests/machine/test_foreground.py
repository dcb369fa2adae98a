"""Images whose unit is made for a runtime that stays, as most of Project Atomic's have it, under both runtimes."""

from __future__ import annotations

import pytest

from tests.machine.command import syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost

pytestmark = [pytest.mark.machine, pytest.mark.root]

TEMPLATE = """\
[Service]
ExecStart=$EXEC_START
ExecStop=$EXEC_STOP
WorkingDirectory=$DESTDIR

[Install]
WantedBy=multi-user.target
"""
ENDS_WITH_7 = "trap 'exit 7' TERM; echo up; sleep 1000000 & wait"


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_the_runtime_is_the_main_process_and_ends_as_the_payload(
    runtime: str, host: ThrowawayHost, make_image: MakeImage
) -> None:
    reference = make_image(ENDS_WITH_7, exports={"service.template": TEMPLATE})
    syscontainer(host, "install", "--now", "--runtime", runtime, "--name", "stays", reference)
    main = unit_property(host, "stays", "MainPID")
    # Not by its exe: crun runs from a copy of itself.
    assert f"/{runtime} run " in host.run(["ps", "-o", "args=", "-p", main]).stdout
    assert "/stays.service/payload" in host.run(["sh", "-c", f"cat /proc/$(pgrep -P {main})/cgroup"]).stdout
    host.run(["systemctl", "stop", "stays"])
    assert unit_property(host, "stays", "ExecMainStatus") == "7"
    syscontainer(host, "uninstall", "stays")
