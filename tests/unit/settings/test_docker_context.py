"""The default container engine where none is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from agentctl.settings import Source
from tests.support.desk import Desk


def _context(root: Path, name: str, meta: object, *, current: bool = True) -> None:
    folder = root / ".docker" / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(meta))
    (root / ".docker" / "config.json").write_text(json.dumps({"currentContext": name} if current else {"auths": {}}))


HOST = {"Name": "remote", "Endpoints": {"docker": {"Host": "ssh://box"}}}


def test_the_current_context_names_the_engine(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    _context(tmp_path, "remote", HOST)
    loaded = desk.load()
    assert loaded.settings.docker_host == "ssh://box"
    assert loaded.sources["docker_host"] == Source("docker context", "remote")


def test_docker_host_wins_over_the_context(tmp_path: Path) -> None:
    _context(tmp_path, "remote", HOST)
    desk = Desk(tmp_path)
    assert desk.load({"DOCKER_HOST": "unix:///x.sock"}).settings.docker_host == "unix:///x.sock"
    desk.user_toml('docker_host = "unix:///y.sock"')
    assert desk.load().settings.docker_host == "unix:///y.sock"


def test_a_context_can_be_named_by_the_environment(tmp_path: Path) -> None:
    _context(tmp_path, "remote", HOST, current=False)
    desk = Desk(tmp_path)
    assert desk.load().settings.docker_host is None
    assert desk.load({"DOCKER_CONTEXT": "remote"}).settings.docker_host == "ssh://box"
    elsewhere = {"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path / ".docker"), "DOCKER_CONTEXT": "remote"}
    assert desk.load(elsewhere).settings.docker_host == "ssh://box"
    assert desk.load({"DOCKER_CONTEXT": "default"}).settings.docker_host is None


@pytest.mark.parametrize(
    "meta", [[], {}, {"Endpoints": []}, {"Endpoints": {"docker": 3}}, {"Endpoints": {"docker": {"Host": ""}}}]
)
def test_a_broken_context_gets_a_note(tmp_path: Path, meta: object) -> None:
    _context(tmp_path, "odd", meta)
    loaded = Desk(tmp_path).load()
    assert loaded.settings.docker_host is None
    assert loaded.notes == ('docker\'s context "odd" has no address; the default engine is used',)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"currentContext": 3}', "[" * 100_000])
def test_a_broken_configuration_of_docker_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(text)
    loaded = Desk(tmp_path).load()
    assert (loaded.settings.docker_host, loaded.notes) == (None, ())


def test_machine_without_a_home_has_no_context(tmp_path: Path) -> None:
    assert Desk(tmp_path).load({"HOME": ""}).settings.docker_host is None
