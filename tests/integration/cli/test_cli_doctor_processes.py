"""Tests that start processes, beside ``tests/unit/cli/test_cli_doctor.py``."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import KEY, Commands, Ended, Here, loaded_modules
from tests.support.probe_host import Host


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[str]:
    """Give the address of an engine that takes a connection and says nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "deaf.sock"))
        listener.listen()
        yield f"unix://{tmp_path}/deaf.sock"


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")


def check(ended: Ended, about: str) -> dict[str, object]:
    """Return what the document says to one question."""
    return next(found for found in ended.document["checks"] if found["about"] == about)


def test_real_engine_is_shown_with_its_version(here: Here, docker_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    found = check(here("doctor", "--offline", "--json"), "engine")
    assert found["state"] == "ok"
    assert "API 1." in str(found["said"])


def test_ctrl_c_ends_doctor_in_the_middle(agentctl: Commands, deaf: str) -> None:
    with Host() as host:
        host.pages["/v1/models"] = host.silence
        env = {"DOCKER_HOST": deaf, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{host.url}/v1"}
        with agentctl.start("doctor", env=env) as process:
            while not host.heard:
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


def test_doctor_ends_silently_when_its_reader_leaves(agentctl: Commands) -> None:
    with agentctl.start("doctor") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_doctor_loads_no_client_of_a_provider() -> None:
    loaded = loaded_modules("doctor", "--offline")
    assert "agentctl.cli.doctor.examination" in loaded
    assert loaded & {"litellm", "openai", "httpx", "rich", "psutil"} == set()
