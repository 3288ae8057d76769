"""The sick container in a script: restarted where a rule says so, denied where nothing does, and always on record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.walk.sick import health, sick_container, starts
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID, assert_accounted, reaching
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import WireServer, heal

TASK = "Restart the sick container"


@pytest.fixture
def sick(docker_host: str) -> Iterator[str]:
    with sick_container(docker_host, f"web-{os.getpid()}") as name:
        yield name


@pytest.fixture(scope="module")
def untouched(docker_host: str) -> Iterator[str]:
    """A sick container for the tests that restart none."""
    with sick_container(docker_host, f"web-{os.getpid()}-untouched") as name:
        yield name


@pytest.fixture
def server(wire: OpenWire) -> WireServer:
    return wire(heal, rates=PAID["openai"].rates, keys=[KEY])


@pytest.fixture
def environ(server: WireServer, docker_host: str) -> dict[str, str]:
    return reaching(server, "openai") | {"DOCKER_HOST": docker_host, "AGENTCTL_AGENT": ""}


def test_a_rule_lets_a_script_restart_that_container(
    shell: Commands, state: Path, server: WireServer, environ: dict[str, str], docker_host: str, sick: str
) -> None:
    before = starts(docker_host, sick)
    ended = shell("run", TASK, "--allow", f"docker_restart(name={sick})", "--json", **environ)
    document, book = ended.document, book_of(state)
    assert (ended.code, document["status"], document["denied"], document["agent"]) == (0, "done", [], "docker")
    assert document["answer"] == f"{sick} was unhealthy. I restarted it, and it runs again."
    assert [tool["name"] for tool in document["tools"]] == ["docker_ps", "docker_logs", "docker_restart"]
    assert starts(docker_host, sick) != before
    assert health(docker_host, sick) in {"starting", "healthy"}
    assert document["cost"]["nano_usd"] == server.books.billed_nano > 0
    assert_accounted(server.books, book)
    told = shell("runs", "show", **environ).out
    assert f"the rule allow docker_restart(name={sick})" in told


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--allow", "docker_restart(name=another)"),
        ("--allow", "docker_stop"),
        ("--approve", "deny"),
        ("--no-network",),
    ],
    ids=" ".join,
)
def test_restart_without_a_rule_is_denied_with_the_rule_to_paste(
    shell: Commands,
    server: WireServer,
    environ: dict[str, str],
    docker_host: str,
    untouched: str,
    words: tuple[str, ...],
) -> None:
    before = starts(docker_host, untouched)
    ended = shell("run", TASK, *words, **environ)
    assert (ended.code, ended.out) == (5, "")
    assert f"--allow 'docker_restart(name={untouched})'" in ended.err
    assert f"By hand: docker restart {untouched}" in ended.err, "what was paid for is not lost"
    assert starts(docker_host, untouched) == before
    heard = server.books.chat_requests[-1].asked
    assert heard is not None
    assert heard.messages[-1].text.startswith("denied: docker_restart needs approval")


@pytest.mark.parametrize("words", [("--deny", "docker_restart"), ("--deny", "docker_*(name=web*)"), ("--read-only",)])
def test_yes_does_not_override_a_deny_rule(
    shell: Commands, environ: dict[str, str], docker_host: str, untouched: str, words: tuple[str, ...]
) -> None:
    before = starts(docker_host, untouched)
    ended = shell("run", TASK, "--yes", *words, **environ)
    assert ended.code in {0, 5}, "a tool that may never run is not offered: the model says that it cannot"
    assert starts(docker_host, untouched) == before


def test_yes_restarts_the_container(shell: Commands, environ: dict[str, str], docker_host: str, sick: str) -> None:
    before = starts(docker_host, sick)
    ended = shell("run", TASK, "-y", **environ)
    assert (ended.code, ended.out) == (0, f"{sick} was unhealthy. I restarted it, and it runs again.\n")
    assert starts(docker_host, sick) != before
