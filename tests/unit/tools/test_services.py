"""What systemctl and journalctl print, as recorded of systemd 252, and what strangers could make them print."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import ToolError
from agentctl.core.tool_rules import parse_rule
from agentctl.runner import toolset
from agentctl.tools.services import entry_line, parse_entry, parse_time, parse_units, unit_facts, unit_name
from agentctl.tools.toolbox import NEED_SYSTEMD, toolbox

NOW = datetime(2026, 11, 30, 9, 10, 3, tzinfo=UTC)

#: systemctl show --property=… -- hello.service broken.service nosuch.service
SHOWN = """MainPID=30
Result=success
NRestarts=2
ExecMainCode=0
ExecMainStatus=0
MemoryCurrent=[not set]
CPUUsageNSec=3500000000
TasksCurrent=18446744073709551615
StatusText=Ready: 3 workers
Id=hello.service
Names=greeter.service hello.service
Description=Says hello
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/etc/systemd/system/hello.service
UnitFileState=enabled
StateChangeTimestamp=Mon 2026-11-30 08:10:03 UTC
NeedDaemonReload=no

MainPID=0
Result=exit-code
NRestarts=0
ExecMainCode=1
ExecMainStatus=3
MemoryCurrent=20480
Id=broken.service
Names=broken.service
LoadState=loaded
ActiveState=failed
SubState=failed
StateChangeTimestamp=Mon 2026-11-30 08:10:03 UTC

Id=nosuch.service
LoadState=not-found
ActiveState=inactive
SubState=dead
StateChangeTimestamp=
"""


def test_facts_of_a_unit_that_runs_and_of_one_that_failed() -> None:
    hello, broken, none = parse_units(SHOWN)
    assert unit_facts(hello, NOW).splitlines() == [
        "unit          hello.service",
        "description   Says hello",
        "state         active (running) since 2026-11-30 08:10:03 UTC, for 1 h",
        "main process  30",
        "restarts      2",
        "says          Ready: 3 workers",
        "cpu time      3 s",
        "file          /etc/systemd/system/hello.service",
        "at boot       enabled",
    ]
    assert "main process  exited with 3\n" in unit_facts(broken, NOW)
    assert "memory        20.0 KB" in unit_facts(broken, NOW)
    assert unit_facts(none, NOW).endswith("loaded  not-found")


def test_value_with_line_breaks_replaces_no_other_value_and_adds_no_line() -> None:
    [unit, *_] = parse_units("Id=a.service\nActiveState=failed\nStatusText=x\nActiveState=active\rforged\x1b[31m\n")
    assert unit["ActiveState"] == "failed"
    assert "\x1b" not in unit_facts({**unit, "StatusText": "a\nstate  active\x1b[2J"}, NOW)
    assert len(unit_facts({"StatusText": "a\nb\r\n\tc" + "y" * 1_000_000}, NOW)) < 1_000


@pytest.mark.parametrize("shown", ["", "n/a", "0", "Mon 2026-11-30 08:10:03 CET", "Mon 99999-11-30", "\x00"])
def test_time_that_is_not_as_asked_for_is_none(shown: str) -> None:
    assert parse_time(shown) is None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("nginx", "nginx.service"),
        (" ssh.service ", "ssh.service"),
        ("backup.timer", "backup.timer"),
        ("getty@tty1", "getty@tty1.service"),
        ("org.example.App", "org.example.App.service"),
        (r"dev-disk-by\x2dlabel", r"dev-disk-by\x2dlabel.service"),
    ],
)
def test_name_of_a_unit_is_completed(given: str, name: str) -> None:
    assert unit_name(given) == name


@given(st.text(max_size=40))
def test_name_that_is_accepted_is_no_option_no_pattern_no_path_and_one_word(given: str) -> None:
    try:
        name = unit_name(given)
    except ToolError:
        return
    assert name[0] != "-"
    assert not set(name) & set("*?[]/ \n\t\0;|&$`'\"<>()")
    assert name.isascii()


@pytest.mark.parametrize("given", ["", "-", "--help", "-Hroot@host", "a/b", "*", "ssh*", "a\nb", "x" * 256, "getty@"])
def test_name_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ToolError):
        unit_name(given)


def entry(**fields: object) -> str:
    """Return a line of journalctl's JSON."""
    return json.dumps({"__REALTIME_TIMESTAMP": "1796026203000000", "_PID": "7", "SYSLOG_IDENTIFIER": "a", **fields})


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("plain", "plain"),
        ([114, 195, 164, 255, 27, 91], "rä\\xff\x1b["),  # bytes that are no text, as journalctl has them
        (["one", "two"], "one two"),  # a field that stands twice
        ([["x"], [104, 105]], "x hi"),
        (None, ""),
        ("a\nb\r\n", "a\n    b"),
        ({"a": 1}, ""),
        ([{"a": 1}], ""),
        (["a", 300], "a 300"),
        (True, "True"),
        ("x" * 9000, "x" * 8192 + "… (9,000 characters)"),
    ],
)
def test_message_of_any_form_becomes_text(message: object, shown: str) -> None:
    found = parse_entry(entry(MESSAGE=message))
    assert found is not None
    assert entry_line(found).partition(": ")[2] == shown


def test_who_wrote_a_line_is_one_word_and_worse_lines_are_marked() -> None:
    found = parse_entry(entry(MESSAGE="m", PRIORITY="3", SYSLOG_IDENTIFIER="sshd\n\x1b[31m", _PID="1\n2"))
    assert found is not None
    line = entry_line(found)
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.endswith(" (err): m")


@pytest.mark.parametrize("line", ["", "-- No entries --", "{", "[]", "7", '{"a": ' * 5000, "\x00", '{"MESSAGE": "cut'])
def test_line_that_is_no_entry_is_none(line: str) -> None:
    assert parse_entry(line) is None


FIELDS = st.sampled_from(["MESSAGE", "PRIORITY", "_PID", "__REALTIME_TIMESTAMP", "_COMM"])
VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers(-1, 300) | st.text())


@given(st.dictionaries(FIELDS, VALUES, max_size=5))
def test_any_entry_becomes_a_line(fields: dict[str, object]) -> None:
    found = parse_entry(json.dumps(fields))
    assert found is not None
    assert entry_line(found)


@pytest.mark.parametrize("name", NEED_SYSTEMD)
async def test_without_systemd_the_tools_say_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentctl.tools.toolbox._SYSTEMD", "/nowhere")
    async with toolbox(workspace=Path("/"), restricting=[parse_rule("docker_logs(name=a)")]) as box:
        for arguments in ({}, {"unit": "nginx"}):
            with pytest.raises(ToolError, match="systemd does not run on this machine"):
                await box.get(name)(await box.get(name).prepare(arguments))


def test_name_is_that_of_a_unit_only_where_systemd_runs_and_has_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nginx.service").touch()
    (tmp_path / "sshd.service").symlink_to("ssh.service")  # a name of another one
    monkeypatch.setattr(toolset, "_UNIT_FOLDERS", (str(tmp_path),))
    names = ("nginx", "nginx.service", "sshd", "web", "../nginx", "a/../nginx", "", "-x", "nginx\n", "*")
    monkeypatch.setattr("agentctl.tools.toolbox._SYSTEMD", str(tmp_path))
    assert [name for name in names if toolset.is_unit(name)] == ["nginx", "nginx.service", "sshd"]
    monkeypatch.setattr("agentctl.tools.toolbox._SYSTEMD", "/nowhere")
    assert not any(map(toolset.is_unit, names))
