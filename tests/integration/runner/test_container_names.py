"""A container whose name looks like a file is found at the engine, and only if no such file exists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.decision import Permissions
from agentctl.runner.toolset import container_finder, container_lister
from agentctl.settings import Loaded, load_settings
from tests.support.docker_parts import command_line

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("shared_walk")]
NAME = "t-payments.api"


@pytest.fixture
def named(docker_host: str) -> Iterator[str]:
    docker = command_line(docker_host)
    docker("rm", "-f", NAME, check=False)
    docker("create", "--name", NAME, "busybox:local", "true")
    yield NAME
    docker("rm", "-f", NAME)


def loaded(workspace: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.setenv("DOCKER_HOST", host)
    return load_settings(flags={"workdir": str(workspace)}, remember=False)


async def test_container_named_like_a_file_is_found_unless_the_file_exists(
    named: str, docker_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(tmp_path, docker_host, monkeypatch)
    find, list_names = container_finder(settings, Permissions()), container_lister(settings, Permissions())
    assert find is not None
    assert list_names is not None
    assert named in await list_names()
    task = f"what is wrong with {named} and other.api"
    assert set(await find(task)) == {named}
    assert set(await find("what is wrong with it")) == set()
    (tmp_path / named).touch()
    assert set(await find(task)) == set()


async def test_engine_that_is_gone_or_may_not_be_asked_has_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in (f"unix://{tmp_path}/none.sock", "tcp://127.0.0.1:9"):
        found = loaded(tmp_path, host, monkeypatch)
        find = container_finder(found, Permissions())
        assert find is not None
        assert set(await find("look at payments.api")) == set()
    assert container_finder(found, Permissions(deny=(parse_rule("docker_*"),))) is None
    assert container_finder(found, Permissions(only=("read_file",))) is None
    assert container_lister(found, Permissions(only=("read_file",))) is None
