"""docker_pull: from a real registry with a real engine, and its failures."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.tools.docker.images import progress
from agentctl.tools.toolbox import LazyToolbox, toolbox
from tests.support.docker_parts import act, command_line
from tests.support.registry import GOOD, digest_of

if TYPE_CHECKING:
    from tests.support.engine import PrivateEngine

pytest_plugins = ["tests.support.engine", "tests.support.docker_plugin"]
HERE = "127.0.0.1:5000"


@contextmanager
def _registry(engine: PrivateEngine) -> Iterator[None]:
    """Run a registry where the engine finds it on its own loopback."""
    script = Path(__file__).parents[2] / "support/registry.py"
    words = ["bash", str(script.parents[1] / "engine.sh"), "inside", sys.executable, str(script), "5000"]
    with subprocess.Popen(words, env=engine.environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


async def test_missing_network_is_reported_with_cause_and_hint(box: LazyToolbox) -> None:
    with pytest.raises(ToolError) as caught:
        await act(box, "docker_pull", image="nginx")
    assert caught.value.message.startswith("nginx was not pulled: the engine cannot reach docker.io: ")
    assert caught.value.hint.startswith("check the machine's network, DNS and the engine's proxy")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("docker.io/library/nginx:latest", "nginx"),
        ("index.docker.io/library/redis:7", "redis:7"),
        ("docker.io/grafana/grafana", "grafana/grafana"),
        ("ghcr.io/o/a:latest", "ghcr.io/o/a"),
    ],
)
async def test_a_long_name_is_resolved_to_its_familiar_form(box: LazyToolbox, given: str, meant: str) -> None:
    assert await box.get("docker_pull").prepare({"image": given}) == {"image": meant}


NO_NAMES = ["-a nginx", "--all-tags", "nginx --platform x", "NGINX", "nginx:", "a\nb", "a\0", "https://x/y"]


@pytest.mark.parametrize("image", [*NO_NAMES, "a" * 32768])
async def test_invalid_image_name_is_refused_before_any_question(box: LazyToolbox, image: str) -> None:
    with pytest.raises(ToolError, match="is not a valid image name") as caught:
        await box.get("docker_pull").prepare({"image": image})
    assert len(caught.value.message) < 200


async def test_an_image_is_pulled_and_each_refusal_has_its_own_hint(
    empty_engine: PrivateEngine, tmp_path: Path
) -> None:
    async with toolbox(workspace=tmp_path, docker_host=empty_engine.host) as box:
        with _registry(empty_engine):
            told = await act(box, "docker_pull", image=f"{HERE}/good:1")
            digest = digest_of(GOOD[0])
            assert re.fullmatch(rf"{HERE}/good:1 was pulled\.\ndigest: {digest}\nid: [0-9a-f]{{12}}\nsize: 5 B", told)
            assert (await act(box, "docker_pull", image=f"{HERE}/good:1")).startswith(
                f"{HERE}/good:1 was already up to date."
            )
            told = await act(box, "docker_pull", image=f"{HERE}/good@{digest}")
            assert f"digest: {digest}" in told
            for image, said, hint in (
                ("good:2", f"{HERE} has no image {HERE}/good:2", "check the name and the tag"),
                ("private", "has no such public image, or requires a login", f"docker login {HERE} && docker pull"),
                ("limited", "limits the rate of pulls", "wait, or docker login"),
            ):
                with pytest.raises(ToolError, match=re.escape(said)) as caught:
                    await act(box, "docker_pull", image=f"{HERE}/{image}")
                assert hint in caught.value.hint
        with pytest.raises(ToolError, match=f"the engine cannot reach {HERE}"):
            await act(box, "docker_pull", image=f"{HERE}/good:3")


async def test_a_pull_can_be_cancelled(empty_engine: PrivateEngine, tmp_path: Path) -> None:
    async with toolbox(workspace=tmp_path, docker_host=empty_engine.host) as box:
        with _registry(empty_engine):
            with anyio.move_on_after(1) as limit:
                await act(box, "docker_pull", image=f"{HERE}/slow:1")
            assert limit.cancelled_caught
            assert "busybox:local" in await box.get("docker_images")({})
    assert "slow" not in command_line(empty_engine.host)("images")


async def test_progress_of_any_shape_is_read_with_bounds() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"status": "one"}\r\n{"sta'
        yield b'tus": "two"}\n[1]\nnot json\n{"status": "three"}'

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    assert [line["status"] async for line in progress(pieces()) if line] == ["one", "two", "three"]
    with pytest.raises(EngineUnavailable, match="a line without an end"):
        assert [line async for line in progress(endless())]
