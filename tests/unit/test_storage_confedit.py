"""One entry goes into the text of a storage.conf and out of it, and nothing else changes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from syscontainers.errors import SyscontainersError
from syscontainers.storage.confedit import add_store, remove_store, stores_in

OURS = Path("/var/lib/syscontainers/storage")
OTHERS = "/usr/lib/containers/storage"
# What containers-storage.conf(5) and distributions ship: comments that look like keys, keys that come twice in them.
SHIPPED = """\
# This file is the configuration file for all tools
[storage]
driver = "overlay" # the best
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"

[storage.options]
# Storage options to be passed to underlying storage drivers

# AdditionalImageStores is used to pass paths to additional Read/Only image stores
# Must be comma separated list.
# additionalimagestores = [ "/commented" ]
additionalimagestores = [
]

[storage.options.overlay]
mountopt = "nodev,metacopy=on"
"""
PLAIN = '[storage]\ndriver = "overlay"\n'
TEXTS = {
    "empty": "",
    "no options": PLAIN,
    "no newline at the end": PLAIN.rstrip(),
    "shipped": SHIPPED,
    "options without the key": SHIPPED.replace("additionalimagestores = [\n]\n", ""),
    "options at the end": f"{PLAIN}[storage.options]",
    "empty array": f"{PLAIN}[storage.options]\nadditionalimagestores = []\n",
    "one": f'{PLAIN}[storage.options]\nadditionalimagestores = ["{OTHERS}"]\n',
    "one, and a comma": f'{PLAIN}[storage.options]\nadditionalimagestores = ["{OTHERS}",]\n',
    "several lines": f"""{PLAIN}[storage.options]
additionalimagestores = [
  "{OTHERS}", # why
  '/x # [y]', # "no"
]
""",
    "appending": f'{PLAIN}[storage.options]\nadditionalimagestores = ["{OTHERS}", {{append=true}}]\n',
    "brackets in strings": f'{PLAIN}[storage.options]\nadditionalimagestores = ["/a]b", "/c\\"]"]\nsize = "[1]"\n',
    "a table that only looks like it": f'[other]\nadditionalimagestores = ["/x"]\n{PLAIN}',
    "spaces": f"{PLAIN}  [ storage . options ]  # here\n\tadditionalimagestores=[ ]\n",
    "windows": SHIPPED.replace("\n", "\r\n"),
    "overlay's options only": f'{PLAIN}[storage.options.overlay]\nmountopt = "nodev"\n',
}


@pytest.mark.parametrize("kind", TEXTS)
def test_added_and_taken_out(kind: str) -> None:
    text = TEXTS[kind]
    added = add_store(text, OURS, "storage.conf")
    assert stores_in(added) == [*stores_in(text), str(OURS)]
    # Every line that was there is there still, and in its order.
    rest = iter(added.replace(f', "{OURS}"', "").replace(f' "{OURS}",', "").replace(f'"{OURS}"', "").splitlines())
    assert all(line in rest for line in text.splitlines())
    assert add_store(added, OURS, "storage.conf") == added

    removed = remove_store(added, OURS, "storage.conf")
    assert stores_in(removed) == stores_in(text)
    if stores_in(text):
        assert removed == text
    assert remove_store(removed, OURS, "storage.conf") == removed


def test_ours_is_taken_from_among_others() -> None:
    for entries in (f'"{OURS}", "/b"', f'"/a", "{OURS}", "/b"', f'\n  "/a",\n  "{OURS}",\n  "/b"\n'):
        text = f"[storage.options]\nadditionalimagestores = [{entries}]\n"
        assert stores_in(remove_store(text, OURS, "x")) == [entry for entry in stores_in(text) if entry != str(OURS)]


@pytest.mark.parametrize(
    "text",
    [
        '[storage]\noptions = {additionalimagestores = ["/a"]}\n',
        '[storage]\noptions.additionalimagestores = ["/a"]\n',
        'storage.options.additionalimagestores = ["/a"]\n',
        '[storage]\n"options" = {size = "1"}\n',
        '[storage]\nnote = """\n[storage.options]\n"""\noptions.size = "1"\n',
    ],
)
def test_what_cannot_be_edited_safely_is_refused(text: str) -> None:
    tomllib.loads(text)
    with pytest.raises(SyscontainersError, match="too unusually") as caught:
        add_store(text, OURS, "/etc/containers/storage.conf")
    assert "by hand" in caught.value.hint


def test_a_path_that_needs_escapes() -> None:
    odd = Path('/srv/a "b" \\ c\t])')
    assert stores_in(add_store(PLAIN, odd, "x")) == [str(odd)]
    assert stores_in(remove_store(add_store(PLAIN, odd, "x"), odd, "x")) == []
