"""service_status and journal_tail beside a real systemd and its journal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import pytest

from tests.support.systemd import Systemd, started

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"

#: Sends an entry with fields of one's own to the journal: what a program may write there.
SEND = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.connect("/run/systemd/journal/socket")
fields = {"SYSLOG_IDENTIFIER": b"fake", "PRIORITY": b"6"}
fields |= dict(pair.split("=", 1) for pair in sys.argv[1:])
out = b""
for name, value in fields.items():
    value = value if isinstance(value, bytes) else value.encode()
    out += name.encode() + b"\\n" + len(value).to_bytes(8, "little") + value + b"\\n"
sock.sendall(out)
"""


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """Give a systemd that has a unit that runs, one that has failed, and one that has written odd bytes."""
    with started(tmp_path_factory.mktemp("systemd")) as found:
        yield found


def send(systemd: Systemd, **fields: str) -> None:
    """Write an entry to the journal, and wait until it can be read."""
    words = [f"{name}={value}" for name, value in fields.items()]
    done = systemd.run(sys.executable, "-c", SEND, *words)
    assert done.returncode == 0, done.stderr
    assert systemd.run("journalctl", "--sync").returncode == 0


def test_units_are_shown_with_state_exit_code_and_other_names(systemd: Systemd) -> None:
    hello, alias, broken, timer = systemd.call(
        ("service_status", {"unit": "hello"}),
        ("service_status", {"unit": "greeter.service"}),
        ("service_status", {"unit": "broken"}),
        ("service_status", {"unit": "ready.target"}),
    )
    assert re.search(r"^state +active \(running\) since .* UTC, for \d+ ", hello, re.MULTILINE)
    assert hello.splitlines()[0].split() == ["unit", "hello.service"] == alias.splitlines()[0].split()
    assert re.search(r"^state +failed \(failed\)", broken, re.MULTILINE)
    assert re.search(r"^main process +exited with 3$", broken, re.MULTILINE)
    assert re.search(r"^result +exit-code$", broken, re.MULTILINE)
    assert "active (active)" in timer


def test_services_are_listed_the_failed_ones_first(systemd: Systemd) -> None:
    every, failed, running = systemd.call(
        ("service_status", {}), ("service_status", {"state": "failed"}), ("service_status", {"state": "running"})
    )
    assert every.splitlines()[1].startswith("broken.service ")
    assert r"Writes \x1b[31m and other bytes" in every
    assert [line.split()[0] for line in failed.splitlines()[1:]] == ["broken.service"]
    assert {line.split()[0] for line in running.splitlines()[1:]} == {"hello.service", "systemd-journald.service"}


@pytest.mark.parametrize("tool", ["service_status", "journal_tail"])
def test_what_is_no_units_name_reaches_no_program(systemd: Systemd, tool: str) -> None:
    names = ["--version", "-H", "--", "*", "hel*", "a/b", "../x", "hello;id", "hello\n", "a b", "$(id)", "x" * 300, "é"]
    for name, said in zip(names, systemd.call(*((tool, {"unit": name}) for name in names)), strict=True):
        if name == "hello\n":
            continue  # blanks around a name are none of it
        assert re.match(r"error: .* is not the name of a unit", said), (name, said)


@pytest.mark.parametrize("tool", ["service_status", "journal_tail"])
def test_unit_that_does_not_exist_is_an_error_with_the_nearest_name(systemd: Systemd, tool: str) -> None:
    [near, far] = systemd.call((tool, {"unit": "helo"}), (tool, {"unit": "zork.timer"}))
    assert near == 'error: systemd knows no unit helo.service / did you mean "hello.service"?'
    assert far == "error: systemd knows no unit zork.timer / systemctl list-unit-files   lists them"


def test_journal_of_a_unit_is_shown_by_any_of_its_names(systemd: Systemd) -> None:
    own, alias, errors, none = systemd.call(
        ("journal_tail", {"unit": "hello", "tail": 5}),
        ("journal_tail", {"unit": "greeter", "tail": 5}),
        ("journal_tail", {"unit": "hello", "priority": "err"}),
        ("journal_tail", {"unit": "hello", "since": "2099-01-01"}),
    )
    # systemd writes lines of its own about the unit, before and after this one
    assert re.search(rf"^{TIME} sh\[\d+\]: hello from the service$", own, re.MULTILINE)
    assert alias == own
    assert errors == "The journal has no line of hello.service of priority err or worse."
    assert none == "The journal has no line of hello.service since 2099-01-01."


def test_journal_of_the_machine_has_the_newest_lines_last(systemd: Systemd) -> None:
    send(systemd, MESSAGE="the newest")
    [said] = systemd.call(("journal_tail", {"tail": 3}))
    lines = said.splitlines()
    assert len(lines) == 3
    assert re.fullmatch(rf"{TIME} fake\[\d+\]: the newest", next(line for line in lines if " fake" in line))
    assert [line[:24] for line in lines] == sorted(line[:24] for line in lines)


def test_bytes_escapes_and_long_lines_of_a_journal_stay_data(systemd: Systemd) -> None:
    [said] = systemd.call(("journal_tail", {"unit": "noisy"}))
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "\\xff" in said
    assert len(said) <= 64 * 1024
    forged = "one\n2026-01-01T00:00:00+0000 sshd[1]: Accepted password for root\n\x1b[2J"
    send(systemd, MESSAGE=forged, SYSLOG_IDENTIFIER="a\nb\x1b[31m", PRIORITY="3")
    [said] = systemd.call(("journal_tail", {"priority": "err", "tail": 1}))
    first, *more = said.splitlines()
    assert re.fullmatch(rf"{TIME} a\\nb.*\[31m\[\d+\] \(err\): one", first)
    assert all(line.startswith("    ") for line in more)
    assert "\x1b" not in said


def test_message_of_a_megabyte_is_bounded(systemd: Systemd) -> None:
    send(systemd, MESSAGE="x" * 100_000)
    [said] = systemd.call(("journal_tail", {"tail": 2}))
    assert "xxx… (100,000 characters)" in said
    assert len(said) < 10_000


def test_deny_rules_about_units_and_containers_hold_for_the_journal_of_the_machine(systemd: Systemd) -> None:
    send(systemd, MESSAGE="secret of a container", CONTAINER_NAME="payments", CONTAINER_ID_FULL="a" * 64)
    rules = ("journal_tail(unit=greeter)", "journal_tail(unit=hello)", "docker_logs(name=pay*)")
    [said] = systemd.call(("journal_tail", {}), deny=rules)
    assert "hello from the service" not in said
    assert "secret of a container" not in said
    assert re.search(r"\n\d+ lines left out by a user rule\.$", said)


def test_rule_by_one_name_of_a_unit_holds_for_the_others(systemd: Systemd) -> None:
    script = """
import anyio, json
from pathlib import Path
from agentctl.core.tool_rules import parse_rule
from agentctl.core.targets import fits
from agentctl.tools.toolbox import toolbox
async def main():
    async with toolbox(workspace=Path("/"), docker_host="unix:///nowhere") as box:
        tool = box.get("journal_tail")
        prepared = await tool.prepare({"unit": "hello"})
        subject = await tool.look_up(tool.subject(prepared))
        names = ("hello", "hello.service", "greeter", "greeter.service", "gre*", "sshd")
        rules = [parse_rule(f"journal_tail(unit={name})") for name in names]
        print(json.dumps([fits(rule, "journal_tail", prepared, subject) for rule in rules]))
anyio.run(main)
"""
    done = systemd.run(sys.executable, "-c", script)
    assert json.loads(done.stdout) == [True] * 5 + [False], done.stderr


ANSWERS = {
    "is greeter running?": r"hello\.service.*active \(running\)",
    "show the last log lines of the greeter service": r"hello from the service",
    "systemctl status broken": r"exited with 3",
}


def test_builtin_answers_about_units_and_takes_secrets_out(
    systemd: Systemd, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    environ = [f"HOME={home}", f"AGENTCTL_STATE_DIR={home}/state", f"PATH={'/usr/bin:/bin'}", "LLM_PROVIDER=builtin"]
    for task, said in ANSWERS.items():
        done = systemd.run("env", "-i", *environ, sys.executable, "-m", "agentctl", "run", "--input", "none", task)
        assert done.returncode == 0, (task, done.stderr)
        assert re.search(said, done.stdout, re.DOTALL), (task, done.stdout)
    done = systemd.run(
        "env", "-i", *environ, sys.executable, "-m", "agentctl", "run", "--input", "none", "journalctl -u broken"
    )
    assert "token [redacted:github-token" in done.stdout
