"""Trusted files: bound to their path and content, and one layer among others."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentctl.core.errors import StateError
from agentctl.settings import Source
from agentctl.settings.trust_store import TrustRecord, TrustStore, trust_state
from agentctl.settings.untrusted_files import ProjectFile, read_project_file
from tests.support.desk import Desk

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def found(path: Path) -> ProjectFile:
    file = read_project_file(path)
    assert file is not None
    return file


def trust(desk: Desk, *paths: Path) -> None:
    TrustStore(desk.state).grant([found(path) for path in paths], now=NOW)


def test_a_trusted_file_takes_its_place_in_the_order(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("max_turns = 11")
    desk.user_env("AGENTCTL_MAX_TURNS=12\n")
    toml = desk.project_toml("max_turns = 50")
    trust(desk, toml)
    loaded = desk.load()
    assert (loaded.settings.max_turns, loaded.sources["max_turns"]) == (50, Source("trusted project file", str(toml)))
    env = desk.project_env("AGENTCTL_MAX_TURNS=60\n")
    trust(desk, env)
    loaded = desk.load()
    assert (loaded.settings.max_turns, loaded.sources["max_turns"]) == (60, Source("trusted project file", str(env)))
    assert (loaded.notes, loaded.ignored, loaded.offers, loaded.tightened) == ((), (), (), {})
    desk.file("a.env", "AGENTCTL_MAX_TURNS=70")
    assert desk.load(env_files=["a.env"]).settings.max_turns == 70
    assert desk.load({"AGENTCTL_MAX_TURNS": "80"}, env_files=["a.env"]).settings.max_turns == 80
    assert desk.load({"AGENTCTL_MAX_TURNS": "80"}, flags={"max_turns": 90}).settings.max_turns == 90


def test_secrets_of_a_trusted_file_are_redacted_like_any_key(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    trust(desk, desk.project_env("OPENAI_API_KEY=sk-12345678\nGROQ_API_KEY=\n"))
    loaded = desk.load()
    assert (loaded.secrets, loaded.empty_keys) == (("sk-12345678",), ("GROQ_API_KEY",))


def test_a_wrong_line_of_the_users_own_does_not_stand_in_the_way(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('max_turns = "many"')
    trust(desk, desk.project_env("AGENTCTL_MAX_TURNS=60\n"))
    assert desk.load().settings.max_turns == 60


def test_changed_file_is_untrusted_again_and_reported_as_changed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.project_env("LLM_PROVIDER=openai\n")
    trust(desk, path)
    assert desk.load().settings.llm_provider == "openai"
    desk.project_env("LLM_PROVIDER=openai\nOPENAI_BASE_URL=http://evil\n")
    loaded = desk.load()
    assert (loaded.settings.llm_provider, loaded.settings.openai_base_url) == (None, None)
    (note,) = loaded.notes
    assert note.startswith("./.env has changed since it was trusted, so this was ignored: LLM_PROVIDER, OPENAI_BASE_")
    (offer,) = loaded.offers
    assert (offer.changed, offer.names) == (True, ("LLM_PROVIDER", "OPENAI_BASE_URL"))
    assert offer.consequences == ("OPENAI_BASE_URL decides where tasks and keys are sent",)
    desk.project_env("LLM_PROVIDER=openai\n")
    assert desk.load().settings.llm_provider == "openai"


def test_the_same_content_elsewhere_is_not_trusted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    trust(desk, desk.project_env("LLM_PROVIDER=openai\n"))
    (desk.cwd / "sub").mkdir()
    path = desk.file("sub/.env", "LLM_PROVIDER=openai\n")
    assert desk.load(flags={"workdir": "sub"}).settings.llm_provider is None
    assert trust_state(found(path), TrustStore(desk.state).records()) == "unknown"


def test_the_way_to_the_folder_does_not_matter_but_where_it_leads_does(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    trust(desk, desk.project_env("LLM_PROVIDER=openai\n"))
    (tmp_path / "way").symlink_to(desk.cwd)
    desk.cwd = tmp_path / "way"
    assert desk.load().settings.llm_provider == "openai"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".env").write_text("LLM_PROVIDER=openai\n")
    (tmp_path / "way").unlink()
    (tmp_path / "way").symlink_to(tmp_path / "other")
    assert desk.load().settings.llm_provider is None


def test_file_swapped_after_it_was_shown_is_not_trusted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    shown = found(desk.project_env("LLM_PROVIDER=openai\n"))
    desk.project_env("OPENAI_BASE_URL=http://evil\n")
    TrustStore(desk.state).grant([shown], now=NOW)
    loaded = desk.load()
    assert loaded.settings.openai_base_url is None
    assert "has changed since it was trusted" in loaded.notes[0]


def test_project_file_cannot_move_agentctls_folders_or_the_workdir(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    text = "AGENTCTL_STATE_DIR=/evil\nAGENTCTL_CONFIG_DIR=/evil\nAGENTCTL_CACHE_DIR=/evil\nAGENTCTL_WORKDIR=/\n"
    trust(desk, desk.project_env(text + "AGENTCTL_MAX_TURNS=60\n"))
    del desk.environ["AGENTCTL_CACHE_DIR"]
    before = desk.load(env_files=[desk.file("x.env", "AGENTCTL_MAX_TURNS=60")])
    loaded = desk.load()
    assert loaded.settings == before.settings
    assert loaded.notes == (
        (
            "./.env has AGENTCTL_WORKDIR, AGENTCTL_STATE_DIR, AGENTCTL_CONFIG_DIR, AGENTCTL_CACHE_DIR, "
            "which no project file can set"
        ),
    )
    desk.project_env("AGENTCTL_CACHE_DIR=/evil\n")
    assert desk.load().offers == ()


@pytest.mark.parametrize(("mode", "around"), [(0o664, 0o755), (0o646, 0o755), (0o644, 0o775), (0o644, 0o777)])
def test_file_writable_by_others_is_not_trusted_even_if_it_was(tmp_path: Path, mode: int, around: int) -> None:
    desk = Desk(tmp_path)
    path = desk.project_env("LLM_PROVIDER=openai\n")
    trust(desk, path)
    path.chmod(mode)
    desk.cwd.chmod(around)
    loaded = desk.load()
    assert (loaded.settings.llm_provider, loaded.offers) == (None, ())
    assert loaded.notes[0].startswith("./.env is no longer trusted, because other users can write to it")
    assert found(path).hint == f"chmod go-w {path if mode != 0o644 else desk.cwd}"


def test_a_file_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.project_env("LLM_PROVIDER=openai\n")
    trust(desk, path)
    with suppress(PermissionError):  # only root can give a file away
        os.chown(path, 12345, -1)
    is_own = path.stat().st_uid == os.geteuid()
    assert (desk.load().settings.llm_provider == "openai") is is_own
    if not is_own:
        assert found(path).doubt == "it belongs to another user (uid 12345)"


def test_an_untrusted_file_still_only_tightens_beside_a_trusted_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    trust(desk, desk.project_toml('max_turns = 60\nllm_provider = "openai"'))
    desk.project_env("AGENTCTL_MAX_TURNS=50\nLLM_PROVIDER=groq\nOLLAMA_HOST=evil\n")
    loaded = desk.load()
    assert (loaded.settings.max_turns, loaded.settings.llm_provider) == (50, "openai")
    assert [line.name for line in loaded.ignored] == ["LLM_PROVIDER", "OLLAMA_HOST"]
    desk.project_env("AGENTCTL_MAX_TURNS=90\n")
    assert desk.load().settings.max_turns == 60


def test_file_that_would_break_the_run_is_not_offered(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.project_env("LLM_PROVIDER=opnai\nLLM_MODEL=x\n")
    assert desk.load().offers == ()


def test_trust_list_is_private_to_the_user(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.project_env("A=1\n")
    trust(desk, path)
    assert [stat.S_IMODE(one.stat().st_mode) for one in (desk.state, desk.state / "trusted.json")] == [0o700, 0o600]
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert TrustStore(desk.state).records() == {path: TrustRecord(path, sha256, "2026-11-24T12:00:00Z")}


def _damaged(path: Path) -> None:
    path.write_text("{")


def _other(path: Path) -> None:
    path.write_text(json.dumps({"schema": "agentctl.trusted/1", "files": {"/x": {"sha256": 1, "at": "y"}}}))


def _deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def _open(path: Path) -> None:
    path.chmod(0o666)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _huge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1024**3)


@pytest.mark.parametrize("spoil", [_damaged, _other, _deep, _open, _link, _pipe, _huge])
def test_invalid_trust_list_trusts_nothing_and_says_so(tmp_path: Path, spoil: object) -> None:
    desk = Desk(tmp_path)
    path = desk.project_env("LLM_PROVIDER=openai\n")
    trust(desk, path)
    assert callable(spoil)
    spoil(desk.state / "trusted.json")
    loaded = desk.load()
    assert loaded.settings.llm_provider is None
    assert loaded.notes[0].startswith(f"the list of trusted files {desk.state / 'trusted.json'} is not used: ")
    with pytest.raises(StateError, match="is not used") as caught:
        trust(desk, path)
    assert caught.value.hint.startswith("agentctl trust --revoke --all")
    assert TrustStore(desk.state).revoke(None) == ()
    trust(desk, path)
    assert desk.load().settings.llm_provider == "openai"


def test_revoking_knows_folders_that_are_gone(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    env, toml = desk.project_env("A=1\n"), desk.project_toml("max_turns = 3")
    trust(desk, env, toml)
    book = TrustStore(desk.state)
    assert book.revoke(tmp_path) == ()
    assert book.revoke(env) == (env,)
    toml.unlink()
    env.unlink()
    desk.cwd.rmdir()
    assert [record.state for record in book.records().values()] == ["gone"]
    assert book.revoke(desk.cwd) == (toml,)
    assert book.records() == {}


def test_a_state_folder_that_cannot_be_written_trusts_nothing(as_nobody: Path) -> None:
    path = as_nobody / ".env"
    path.write_text("A=1\n")
    file = found(path)
    as_nobody.chmod(0o500)
    try:
        with pytest.raises(StateError, match="cannot be written: permission denied; nothing was changed") as caught:
            TrustStore(as_nobody).grant([file], now=NOW)
    finally:
        as_nobody.chmod(0o700)
    assert caught.value.hint == ""
