"""Image names, commands, host configurations and owners: decisions made without an engine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import ToolError
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.docker.exec import split_command
from agentctl.tools.docker.images import familiar_name, is_identity, parse_reference
from agentctl.tools.docker.orphans import is_gone, process_identity
from agentctl.tools.docker.run import RunContainer, create_request, host_config, mountable_workspace, port_bindings
from agentctl.tools.toolbox import ToolContext

PARTS = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}", fullmatch=True)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("docker.io/library/nginx:latest", "nginx"),
        ("nginx", "nginx"),
        ("library/nginx:1", "nginx:1"),
        ("docker.io/grafana/grafana:10", "grafana/grafana:10"),
        ("library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app"),
        ("localhost:5000/app:latest", "localhost:5000/app"),
        ("[::1]:5000/app:2", "[::1]:5000/app:2"),
        ("GHCR.io/o/a", "GHCR.io/o/a"),
        (f"nginx:1@sha256:{'a' * 64}", f"nginx@sha256:{'a' * 64}"),
    ],
)
def test_image_is_shown_in_its_familiar_form(given: str, name: str) -> None:
    assert str(parse_reference(given)) == name


@given(st.lists(PARTS, min_size=1, max_size=3).map("/".join), TAGS)
def test_the_familiar_form_means_the_same_image(path: str, tag: str) -> None:
    once = parse_reference(f"{path}:{tag}")
    assert parse_reference(str(once)) == once
    assert familiar_name(str(once)) == str(once)
    assert parse_reference(f"{once.domain}/{once.path}:{once.tag}") == once


@given(st.text(max_size=60))
def test_accepted_image_name_is_one_plain_word(text: str) -> None:
    try:
        parse_reference(text)
    except ToolError:
        return
    assert shlex.quote(text) == text or text.startswith("[")
    assert not text.startswith(("-", "/", "."))


def test_id_is_distinguished_from_a_name() -> None:
    assert is_identity("8cfc33eda8ed")
    assert is_identity("sha256:" + "a" * 64)
    assert not is_identity("abc")
    assert not is_identity("nginx")
    with pytest.raises(ToolError):
        parse_reference("a" * 64)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5).filter(lambda words: words[0] != ""))
def test_quoted_command_is_split_into_its_words(words: list[str]) -> None:
    command = shlex.join(words)
    if "\0" in command:
        with pytest.raises(ToolError):
            split_command("docker_run", command)
    else:
        assert split_command("docker_run", command) == words


@given(st.text(max_size=30))
def test_a_port_is_published_on_the_loopback_or_refused(text: str) -> None:
    try:
        bound = port_bindings([text], network=True)
    except ToolError:
        return
    assert {entry["HostIp"] for entries in bound.values() for entry in entries} == {"127.0.0.1"}


@given(st.integers(16, 8192), st.booleans(), st.booleans(), st.booleans())
def test_choices_never_widen_the_host_config(memory: int, network: bool, writable: bool, workspace: bool) -> None:
    frame = host_config(
        memory=memory, network=network, writable=writable, workspace=Path("/w") if workspace else None, ports={}
    )
    assert frame["Privileged"] is False
    assert frame["CapDrop"] == ["ALL"]
    assert frame["SecurityOpt"] == ["no-new-privileges:true"]
    assert frame["NetworkMode"] in ("none", "bridge")
    assert frame["Memory"] == frame["MemorySwap"] == memory
    mounts = frame["Mounts"]
    assert isinstance(mounts, list)
    assert all(mount["Source"] == "/w" and mount["ReadOnly"] is True for mount in mounts)
    assert not {"CapAdd", "Binds", "Devices", "PidMode", "UTSMode", "UsernsMode", "VolumesFrom"} & set(frame)


def test_a_link_to_a_folder_with_the_socket_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "engine.sock").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "other").mkdir()
    socket = tmp_path / "link" / "engine.sock"
    for folder in (tmp_path, tmp_path / "real", tmp_path / "link"):
        with pytest.raises(ToolError, match="holds the container engine's socket"):
            mountable_workspace(folder, (socket,))
    assert mountable_workspace(tmp_path / "other", (socket,)) == tmp_path / "other"
    with pytest.raises(ToolError, match="cannot be mounted"):
        mountable_workspace(Path("/"), ())


@contextmanager
def _as_nobody() -> Iterator[None]:
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_container_with_a_workspace_runs_as_the_user_who_can_read_it(tmp_path: Path) -> None:
    context = ToolContext(tmp_path, DockerEngine("unix:///nowhere.sock"), lambda: datetime.now(UTC))
    with _as_nobody():
        assert "User" not in create_request(context, RunContainer.model_validate({"image": "x"}), call="c")
        context = context._replace(workspace=Path("/tmp/agentctl-none"))
        assert (
            create_request(context, RunContainer.model_validate({"image": "x", "workspace": True}), call="c")["User"]
            == "65534:65534"
        )


def test_a_living_owner_is_never_gone() -> None:
    assert process_identity()
    assert not is_gone(process_identity())


@given(st.text())
def test_any_label_of_others_means_alive(label: str) -> None:
    assert not is_gone(label)
