""" "List all containers" on a real engine and through every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import FORMATS, KEY, PAID, assert_accounted, assert_told, priced, reaching
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import containers, parallel


def told(text: str) -> set[str]:
    """Return the containers that the answer names."""
    said, _, names = text.partition(".")[0].partition(": ")
    assert said == "There are 3"
    return set(names.split(", "))


SAMPLES = {"sample-worker", "sample-web", "sample-failed"}


@pytest.mark.parametrize("format", FORMATS)
def test_list_all_containers_names_the_sample_containers(
    shell: Commands, state: Path, wire: OpenWire, docker_host: str, format: str
) -> None:
    server = wire(containers, rates=PAID[format].rates, keys=[KEY])
    environ = reaching(server, format) | {"DOCKER_HOST": docker_host, "AGENTCTL_AGENT": ""}
    ended = shell("run", "List all containers", "--config", str(priced(shell.folder)), **environ)
    book = book_of(state)
    assert (ended.code, told(ended.out), ended.out[-2:], ended.out.count("\n")) == (0, SAMPLES, ".\n", 1)
    assert book.phases == ["settled", "settled"]
    assert book.nano("settled") == server.books.billed_nano > 0
    assert_accounted(server.books, book)
    assert "Warning" not in ended.err


def test_two_tools_in_one_turn_are_both_run(shell: Commands, state: Path, wire: OpenWire, docker_host: str) -> None:
    server = wire(parallel, rates=PAID["anthropic"].rates, keys=[KEY])
    environ = reaching(server, "anthropic") | {"DOCKER_HOST": docker_host, "AGENTCTL_AGENT": ""}
    ended = shell("run", "List the containers and the images", "--json", **environ)
    document, book = ended.document, book_of(state)
    assert (ended.code, document["agent"], document["turns"]) == (0, "docker", 2)
    assert told(document["answer"]) == SAMPLES
    assert "busybox" in document["answer"]
    assert {(tool["name"], tool["calls"], tool["failed"]) for tool in document["tools"]} == {
        ("docker_images", 1, 0),
        ("docker_ps", 1, 0),
    }
    assert document["cost"]["nano_usd"] == server.books.billed_nano
    assert_accounted(server.books, book)
    assert_told(document, book)
