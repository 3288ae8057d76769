"""What an engine is, and the commands that hints and lines by hand name for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.providers.builtin.lookup import for_engine
from agentctl.tools.docker.client import likely_program
from agentctl.tools.docker.products import DOCKER, OWN_PODMAN, PODMAN, likely_product, product_of, start_hint

PODMANS = {"Platform": {"Name": "linux/amd64"}, "Components": [{"Name": "Podman Engine"}, {"Name": "Conmon"}]}


def test_an_engine_is_what_its_components_say() -> None:
    assert product_of({"Components": [{"Name": "Engine"}]}, "/run/podman/podman.sock") is DOCKER
    assert product_of(PODMANS, "/var/run/docker.sock") is PODMAN
    assert product_of(PODMANS, "/run/user/1000/podman/podman.sock") is OWN_PODMAN
    assert product_of(PODMANS, None) is PODMAN
    assert product_of({"Components": "?"}, None) is DOCKER


def test_a_silent_engine_is_what_its_socket_or_its_target_is_called(tmp_path: Path) -> None:
    (tmp_path / "podman.sock").touch()
    (tmp_path / "docker.sock").symlink_to("podman.sock")  # as the package podman-docker does
    assert likely_program(f"unix://{tmp_path}/docker.sock") == "podman"
    assert likely_product(f"{tmp_path}/docker.sock") is PODMAN
    assert likely_product("/run/user/1000/podman/podman.sock") is OWN_PODMAN
    assert likely_program("unix:///tmp/engine.sock") == "docker"
    assert likely_program("tcp://podman.example.org:2375") == "docker"
    assert likely_program(None) == "docker"


def test_where_only_podman_is_installed_its_socket_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    def hint() -> str:
        return start_hint("/var/run/docker.sock", is_default=True, root=tmp_path)

    assert hint() == DOCKER.start
    (tmp_path / "podman").touch(0o755)
    named = "sudo systemctl start podman.socket   then: export DOCKER_HOST=unix:///run/podman/podman.sock"
    assert hint() == named
    (tmp_path / "docker").touch(0o755)
    assert hint() == DOCKER.start


def test_in_a_container_the_engine_that_runs_it_is_reached_by_its_socket(tmp_path: Path) -> None:
    (tmp_path / ".dockerenv").touch()
    hint = start_hint("/var/run/docker.sock", is_default=True, root=tmp_path)
    assert hint.startswith("start this container with -v /var/run/docker.sock:/var/run/docker.sock: ")
    assert start_hint("/srv/docker.sock", is_default=False, root=tmp_path) == DOCKER.start, "it was named"


@pytest.mark.parametrize(
    ("line", "podmans"),
    [
        ("docker ps -a", "podman ps -a"),
        ("docker stop docker && docker rm docker", "podman stop docker && podman rm docker"),
        ("docker inspect web; docker logs --tail 20 web", "podman inspect web; podman logs --tail 20 web"),
        ("docker restart $(docker ps -q)", "podman restart $(podman ps -q)"),
        ("docker compose -p shop stop", "podman-compose -p shop stop"),
        ("tail docker log", "tail docker log"),
    ],
)
def test_a_line_of_docker_is_one_of_podman(line: str, podmans: str) -> None:
    assert for_engine(line, "podman") == podmans
    assert for_engine(line, "docker") == line
