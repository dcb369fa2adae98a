from __future__ import annotations

import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syscontainers.systemd.unitfile import (
    Setting,
    UnitSyntaxError,
    cgroup_name,
    escape_name,
    escape_path,
    escape_value,
    make_unit,
    mount_unit_name,
    parse,
    quote_argument,
    quote_command,
    quote_path,
    quote_word,
    slice_cgroup,
    unit_cgroup,
    valid_unit_name,
)

bounded = settings(max_examples=25, deadline=None)
printable = st.text(st.characters(min_codepoint=1, codec="utf-8"), max_size=40)


def ask_systemd_escape(*arguments: str) -> str | None:
    """What the real systemd-escape prints, or None if it refuses."""
    done = subprocess.run(["systemd-escape", *arguments], capture_output=True, check=False)
    return done.stdout.decode().removesuffix("\n") if done.returncode == 0 else None


@bounded
@given(st.text(st.characters(min_codepoint=1, codec="utf-8"), min_size=1, max_size=30))
@example(".hidden")
@example("a-b/c\\d")
@example("ünïcode")
@example("/leading")
def test_names_are_escaped_as_systemd_does(text: str) -> None:
    assert ask_systemd_escape("--", text) == escape_name(text)


@bounded
@given(st.lists(st.text(st.sampled_from("ab.-_ü%\\ @:"), max_size=6), max_size=6).map(lambda p: "/" + "/".join(p)))
@example("/")
@example("//")
@example("/./a")
@example("/.a")
@example("/var/lib/syscontainers/containers/my-app.3/rootfs")
@example("/a/../b")
def test_paths_are_escaped_as_systemd_does(path: str) -> None:
    expected = ask_systemd_escape("--path", "--", path)
    if expected is None:
        with pytest.raises(UnitSyntaxError):
            escape_path(path)
    else:
        assert escape_path(path) == expected


@bounded
@given(st.lists(st.text("ab.-_ü", min_size=1, max_size=6), min_size=1, max_size=4))
def test_a_mount_units_name_leads_back_to_its_path(parts: list[str]) -> None:
    path = "/" + "/".join(part for part in parts if part not in (".", ".."))
    assert ask_systemd_escape("--unescape", "--path", mount_unit_name(path).removesuffix(".mount")) == path


@pytest.mark.parametrize("path", ["relative", "", "/a/../b", "/nul\0", "/a/.."])
def test_paths_that_no_unit_can_be_named_after(path: str) -> None:
    with pytest.raises(UnitSyntaxError):
        escape_path(path)


def test_a_path_too_long_for_a_mount_unit() -> None:
    assert len(mount_unit_name("/" + "a" * 249)) == 255
    with pytest.raises(UnitSyntaxError, match="too long"):
        mount_unit_name("/" + "a" * 250)
    with pytest.raises(UnitSyntaxError, match="too long"):
        mount_unit_name("/" + "-" * 63)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("etcd.service", True),
        ("a.b-c_d:e\\x2d.service", True),
        ("foo@.service", True),
        ("foo@bar@baz.service", True),
        ("-.mount", True),
        ("etcd", False),
        (".service", False),
        ("@.service", False),
        ("etcd.nothing", False),
        ("et cd.service", False),
        ("et/cd.service", False),
        ("etcd.service\n", False),
        ("étcd.service", False),
        ("", False),
        ("a" * 247 + ".service", True),
        ("a" * 248 + ".service", False),
    ],
)
def test_valid_unit_names(name: str, valid: bool) -> None:
    assert valid_unit_name(name) is valid


TEXT = """\
; a comment
# another
[Unit]
Description = two   words\x20
After=a.service \\
# in the middle of a line
   ; and another
   b.service

[Service]
ExecStart=/bin/first
ExecStart=
ExecStart=/bin/second \\
  --option
ExecStart=/bin/third
Environment="A=\\\\"
[Unit]
Documentation=man:a(1)
"""


def test_text_is_read_as_systemd_reads_it() -> None:
    unit = parse(TEXT)
    assert unit.problems == ()
    assert unit.get("Unit", "Description") == "two   words"
    assert unit.get("Unit", "After") == "a.service  b.service"
    assert unit.get_all("Service", "ExecStart") == ("/bin/second  --option", "/bin/third")
    assert unit.get("Service", "Environment") == '"A=\\\\"'
    assert unit.get("Unit", "Documentation") == "man:a(1)"
    assert unit.sections() == ("Unit", "Service")
    assert unit.get("Service", "Type", "simple") == "simple"


def test_an_empty_assignment_takes_back_what_came_before() -> None:
    unit = parse("[Service]\nType=notify\nType=\nAfter=x\nAfter=\n")
    assert unit.get("Service", "Type", "simple") == "simple"
    assert unit.get_all("Service", "After") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[Unit]\nnonsense\n", "line 2: 'nonsense' is not an assignment"),
        ("[Unit]\n=x\n", "line 2: '=x' is not an assignment"),
        ("[Unit\nA=b\n", "line 1: '[Unit' is not a section header"),
        ("[Un\tit]\nA=b\n", "line 1: '[Un\\tit]' is not a section header"),
        ("A=b\n", "line 1: A= stands before the first section"),
        ("[Unit]\nA=b \\\n c\nnonsense", "line 4: 'nonsense' is not an assignment"),
    ],
)
def test_what_systemd_ignores_is_told(text: str, problem: str) -> None:
    assert parse(text).problems[0] == problem


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r", "\0"])
def test_everything_that_ends_a_line_for_systemd_ends_one_for_us(separator: str) -> None:
    unit = parse(separator.join(["[Service]", "Type=exec", "User=x"]))
    assert [(s.key, s.value) for s in unit.settings] == [("Type", "exec"), ("User", "x")]


def test_a_last_line_that_wants_to_continue() -> None:
    assert parse("[Unit]\nA=b \\").get("Unit", "A") == "b"
    assert parse("[Unit]\nA=b\\\\").get("Unit", "A") == "b\\\\"
    assert parse("\ufeff[Unit]\nA=b").get("Unit", "A") == "b"


values = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f\\"), max_size=20).map(str.strip)
pairs = st.lists(st.tuples(st.text("KeyABC", min_size=1, max_size=5), values), min_size=1, max_size=5)


@bounded
@given(pairs, pairs)
def test_what_is_written_is_read_back(unit: list[tuple[str, str]], service: list[tuple[str, str]]) -> None:
    made = make_unit(("Unit", unit), ("Service", service))
    again = parse(made.to_text())
    assert again.settings == made.settings
    assert again.problems == ()
    assert made.settings[0] == Setting("Unit", *unit[0])


@pytest.mark.parametrize("value", ["a\nExecStart=/bin/evil", "a\rb", "a\0b", "tail\\", " led", "trailed "])
def test_a_value_that_would_break_its_line_is_not_written(value: str) -> None:
    with pytest.raises(UnitSyntaxError):
        make_unit(("Service", [("Description", value)]))


@pytest.mark.parametrize(
    "value", ["a\nb", "a\rb", "a\0b", "a\tb", "a\x1bb", "a\x7fb", "a\u2028b", "a\ufffeb", "tail\\"]
)
def test_values_that_are_refused(value: str) -> None:
    with pytest.raises(UnitSyntaxError):
        escape_value(value, "Description")


def test_specifiers_are_taken_literally() -> None:
    assert escape_value("100 % of %n") == "100 %% of %%n"
    assert quote_argument("%n $HOME ${X} 'q' \"d\" \\") == '"%%n $$HOME $${X} \'q\' \\"d\\" \\\\"'


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("plain-1.2_x=/:@,+", "plain-1.2_x=/:@,+"),
        ("", '""'),
        (";", '";"'),
        ("two words", '"two words"'),
        ("a\nb", '"a\\nb"'),
        ("\x01", '"\\x01"'),
        ("ü", '"ü"'),
        ("\ufffe", '"\\xef\\xbf\\xbe"'),
        ("#c", '"#c"'),
        ("[x]", '"[x]"'),
    ],
)
def test_words_are_quoted_where_they_must_be(word: str, quoted: str) -> None:
    assert quote_argument(word) == quoted


@pytest.mark.parametrize("word", ["nul\0", "surrogate\udc80"])
def test_words_that_cannot_be_written(word: str) -> None:
    with pytest.raises(UnitSyntaxError):
        quote_word(word)


@bounded
@given(printable)
def test_a_quoted_word_never_leaves_its_line(word: str) -> None:
    unit = make_unit(("Service", [("Environment", quote_word(word)), ("ExecStart", f"/bin/x {quote_argument(word)}")]))
    assert [setting.key for setting in parse(unit.to_text()).settings] == ["Environment", "ExecStart"]


@pytest.mark.parametrize("argv", [[], ["runc"], ["/a b"], ["/bin/$X"], ["/bin/%n"], ['/bin/"x"'], ["-/bin/x"]])
def test_programs_that_no_command_line_may_begin_with(argv: list[str]) -> None:
    with pytest.raises(UnitSyntaxError):
        quote_command(argv)


def test_a_command_line() -> None:
    assert quote_command(["/bin/sh", "-c", "echo $X; ls"]) == '/bin/sh -c "echo $$X; ls"'


@pytest.mark.parametrize("path", ['/a"b', "/a\\b", "/a'b", "/a\nb"])
def test_paths_that_cannot_stand_in_a_list(path: str) -> None:
    with pytest.raises(UnitSyntaxError):
        quote_path(path)


def test_paths_in_a_list() -> None:
    assert quote_path("/plain/path") == "/plain/path"
    assert quote_path("/with space/50%") == '"/with space/50%%"'


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("system.slice", "/system.slice"),
        ("a-b.slice", "/a.slice/a-b.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
        ("-.slice", ""),
        ("cpu.slice", "/_cpu.slice"),
        ("system-foo\\x2dbar.slice", "/system.slice/system-foo\\x2dbar.slice"),
    ],
)
def test_slices_are_nested(name: str, group: str) -> None:
    assert slice_cgroup(name) == group


@pytest.mark.parametrize("name", ["a", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice", ".slice", "a@b.slice", ""])
def test_names_that_are_no_slice(name: str) -> None:
    with pytest.raises(UnitSyntaxError):
        slice_cgroup(name)


@pytest.mark.parametrize(
    ("text", "name", "group"),
    [
        ("", "etcd.service", "/system.slice/etcd.service"),
        ("[Service]\nSlice=a-b.slice\n", "etcd.service", "/a.slice/a-b.slice/etcd.service"),
        ("[Service]\nSlice=-.slice\n", "etcd.service", "/etcd.service"),
        ("[Service]\nSlice=a.slice\nSlice=\n", "etcd.service", "/system.slice/etcd.service"),
        ("", "memory.service", "/system.slice/_memory.service"),
        ("", "my-app@one.service", "/system.slice/system-my\\x2dapp.slice/my-app@one.service"),
    ],
)
def test_where_a_service_will_run(text: str, name: str, group: str) -> None:
    assert unit_cgroup(parse(text), name) == group


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("io.service", "_io.service"),
        ("iota.service", "iota.service"),
        ("_x.service", "__x.service"),
        ("tasks", "_tasks"),
    ],
)
def test_names_that_the_kernel_could_claim(name: str, directory: str) -> None:
    assert cgroup_name(name) == directory
