"""The key file: private to the user, written completely or not at all, by several writers at once."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from agentctl.core.errors import StateError, UsageError
from agentctl.settings import load_settings
from agentctl.settings.key_file import save_key, with_key
from tests.support.desk import Desk


def test_taking_a_key_out_leaves_the_rest(tmp_path: Path) -> None:
    text = "A=1\n\n# why\nOPENAI_API_KEY=a # mine\nAGENTCTL_OPENAI_API_KEY=b\nC=3\n"
    assert with_key(text, "OPENAI_API_KEY", None) == "A=1\n\n# why\nC=3\n"
    path = tmp_path / ".env"
    assert not save_key(path, "openai", None)
    assert list(tmp_path.iterdir()) == []
    path.write_text("C=3\n")
    path.chmod(0o600)
    assert not save_key(path, "openai", None)
    assert save_key(path, "openai", SecretStr("sk-new"))
    assert save_key(path, "openai", None)
    assert path.read_text() == "C=3\n"


def test_new_file_is_private_to_the_user_and_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config" / ".env"
    before = os.umask(0)
    try:
        assert save_key(path, "anthropic", SecretStr("sk-ant-$HOME-#-'\"\\"))
    finally:
        os.umask(before)
    assert [stat.S_IMODE(found.stat().st_mode) for found in (path.parent, path)] == [0o700, 0o600]
    assert sorted(found.name for found in path.parent.iterdir()) == [".env", ".env.lock"]
    loaded = load_settings(flags={}, environ={"AGENTCTL_CONFIG_DIR": str(path.parent)}, cwd=tmp_path, remember=False)
    key = loaded.settings.key_of("anthropic")
    assert key is not None
    assert key.get_secret_value() == "sk-ant-$HOME-#-'\"\\"
    assert str(loaded.sources["anthropic_api_key"]) == f"user .env {path}"


def test_a_file_that_others_may_read_is_refused_as_it_is_when_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.user_env("A=1\n", mode=0o644)
    with pytest.raises(UsageError) as caught:
        save_key(path, "openai", SecretStr("sk-new"))
    assert (caught.value.message, caught.value.hint) == (
        f"user .env {path} contains keys and other users can read it (mode 0644)",
        f"chmod 600 {path}",
    )
    assert path.read_text() == "A=1\n"


def test_link_pipe_folder_and_bytes_are_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("A=1\n")
    elsewhere.chmod(0o600)
    cases = {
        "link": "is a symbolic link",
        "pipe": "is not a regular file",
        "folder": "is not a regular file",
        "bytes": "line 1 is not UTF-8 text",
    }
    (tmp_path / "link").symlink_to(elsewhere)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "bytes").chmod(0o600)
    for name, said in cases.items():
        with pytest.raises(UsageError, match=said):
            save_key(tmp_path / name, "openai", SecretStr("sk-new"))
    assert elsewhere.read_text() == "A=1\n"


def test_a_file_is_written_only_if_it_is_the_users_own(tmp_path: Path) -> None:
    path = Desk(tmp_path).user_env("A=1\n")
    with suppress(PermissionError):  # only root can give a file away
        os.chown(path, 12345, -1)
    is_own, refused = path.stat().st_uid == os.geteuid(), None
    try:
        save_key(path, "openai", SecretStr("sk-new"))
    except UsageError as error:
        refused = error.message
    assert refused == (None if is_own else f"user .env {path} belongs to another user (uid 12345)")
    assert path.read_text() == ("A=1\nOPENAI_API_KEY=sk-new\n" if is_own else "A=1\n")


def test_folder_that_cannot_be_written_is_reported_and_nothing_changes(as_nobody: Path) -> None:
    path = as_nobody / ".env"
    path.write_text("A=1\n")
    path.chmod(0o600)
    as_nobody.chmod(0o500)
    try:
        with pytest.raises(StateError, match="cannot be written: permission denied; nothing was changed") as caught:
            save_key(path, "openai", SecretStr("sk-new"))
    finally:
        as_nobody.chmod(0o700)
    assert caught.value.hint == ""
    assert (path.read_text(), [found.name for found in as_nobody.iterdir()]) == ("A=1\n", [".env"])
