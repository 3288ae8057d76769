"""``agentctl trust``: shows names, asks once, and trusts exactly the content that was shown."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.command_line import HEAVY_MODULES, KEY, Commands, Here, loaded_modules
from tests.support.terminal import at_a_terminal

ENV = f"OPENAI_API_KEY={KEY}\nOPENAI_BASE_URL=http://127.0.0.1:9\nDATABASE_URL=x\n"
TRUST_MODULES = ("settings.trust_store", "cli.run.startup_prompts", "cli.prompts", "cli.trust")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_trust_shows_names_and_never_values_and_then_the_file_is_used(here: Here, tmp_path: Path) -> None:
    path = write(tmp_path / ".env", ENV)
    ended = here("trust", "--yes")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == (
        f"{path} would set: OPENAI_API_KEY, OPENAI_BASE_URL\n"
        "  OPENAI_BASE_URL decides where tasks and keys are sent\n"
        f"trusted {path}\n"
    )
    rows = here("config", "show", "--json").document["settings"]
    shown = {"value": "http://127.0.0.1:9", "source": f"trusted project file {path}", "is_set": True}
    assert rows["openai_base_url"] == {**shown, "default": "https://api.openai.com/v1"}
    assert "not-to-be-seen" not in json.dumps(rows)
    again = here("trust")
    assert (again.code, again.err) == (0, f"{path} is already trusted\n")


def test_trust_without_a_person_says_what_to_paste(here: Here, agentctl: Commands, tmp_path: Path, state: Path) -> None:
    (tmp_path / "a b").mkdir()
    write(tmp_path / "a b" / ".agentctl.toml", 'llm_provider = "openai"\napprove = "all"\n')
    ended = agentctl("trust", "a b")
    assert (ended.code, ended.out, state.exists()) == (2, "", False)
    assert "approve decides what is done without asking you" in ended.err
    assert ended.err.endswith(
        "error: confirmation needs a terminal; nothing was changed\nhint: agentctl trust 'a b' --yes\n"
    )
    assert here("trust", "a b", "--json").document["error"]["kind"] == "usage"


def test_trust_prints_json(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PROVIDER", "builtin")
    path = write(tmp_path / ".env", "LLM_PROVIDER=openai\nAGENTCTL_MAX_TURNS=3\nAGENTCTL_STATE_DIR=/evil\n")
    document = here("trust", "-y", "--json").document
    assert (document["schema"], document["folder"], document["changed"]) == ("agentctl.trust/1", str(tmp_path), True)
    (file,) = document["files"]
    assert (file["path"], file["names"], file["trusted"]) == (str(path), ["AGENTCTL_MAX_TURNS"], True)
    assert file["overruled"] == ["LLM_PROVIDER (environment LLM_PROVIDER)"]
    (listed,) = here("trust", "--list", "--json").document["trusted"]
    assert (listed["path"], listed["sha256"], listed["matches"]) == (str(path), file["sha256"], True)
    write(path, "AGENTCTL_MAX_TURNS=4\n")
    (listed,) = here("trust", "--ls", "--json").document["trusted"]
    assert (listed["state"], listed["matches"]) == ("changed", False)
    assert f"{path} has changed since it was trusted, and would set: " in here("trust", "-y").err
    assert here("trust", "--list").out.splitlines()[1].startswith(f"{path}  trusted  2")


def test_revoking_one_file_a_folder_that_is_gone_or_everything(here: Here, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    env = write(tmp_path / "sub" / ".env", "AGENTCTL_MAX_TURNS=3\n")
    toml = write(tmp_path / "sub" / ".agentctl.toml", "max_turns = 4\n")
    assert here("trust", "sub/.env", "-y").err.splitlines()[-1] == f"trusted {env}"
    assert [row["path"] for row in here("trust", "--list", "--json").document["trusted"]] == [str(env)]
    here("trust", "sub", "-y")
    assert here("trust", "--revoke", "sub/.agentctl.toml").err == f"no longer trusted: {toml}\n"
    env.unlink()
    toml.unlink()
    (tmp_path / "sub").rmdir()
    assert here("trust", "--list").out.splitlines()[1].split()[1] == "gone"
    assert here("trust", "--revoke", "sub", "--json").document["revoked"] == [str(env)]
    assert here("trust", "--revoke").err == "nothing in . was trusted\n"
    assert here("trust", "--list").out == "no trusted files\n"
    write(tmp_path / ".env", "AGENTCTL_MAX_TURNS=3\n")
    here("trust", "-y")
    assert here("trust", "--revoke", "--all").err == f"no longer trusted: {tmp_path / '.env'}\n"


def _link(path: Path) -> None:
    path.symlink_to(write(path.with_name("elsewhere"), ENV))


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1024**3)


def _shared(path: Path) -> None:
    write(path, ENV).chmod(0o666)


def _open_folder(path: Path) -> None:
    write(path, ENV).parent.chmod(0o777)


def _wrong(path: Path) -> None:
    write(path, "MAX_COST_PER_TASK=much\n")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_link, ".env cannot be trusted: it is not a regular file"),
        (_pipe, ".env cannot be trusted: it is not a regular file"),
        (_huge, ".env cannot be trusted: it is larger than 64 KiB"),
        (_shared, "hint: chmod go-w "),
        (_open_folder, "other users can write to its folder (mode 0777)"),
        (_wrong, '.env cannot be trusted as it is: max_cost_per_task cannot be "much"'),
    ],
)
def test_file_unfit_for_trust_is_refused(here: Here, tmp_path: Path, state: Path, make: object, said: str) -> None:
    assert callable(make)
    make(tmp_path / ".env")
    ended = here("trust", "--yes")
    assert (ended.code, ended.out, state.exists()) == (2, "", False)
    assert said in ended.err


def test_file_of_another_user_is_refused_with_a_hint(here: Here, tmp_path: Path) -> None:
    path = write(tmp_path / ".env", ENV)
    with suppress(PermissionError):  # only root can give a file away
        os.chown(path, 65534, -1)
    is_own = path.stat().st_uid == os.geteuid()
    ended = here("trust", "--yes")
    assert ended.code == (0 if is_own else 2)
    assert is_own or ended.err == (
        f'error: {path} cannot be trusted: it belongs to another user (uid 65534)\nhint: sudo chown "$(id -u)" {path}\n'
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trust", "nowhere"], "error: no such folder: nowhere\n"),
        (["trust", "list"], "error: no such folder: list\nhint: did you mean: agentctl trust --list\n"),
        (["trust", "-y"], "no project .env, .agentctl.toml, .mcp.json or agents in "),
        (
            ["trust", "--list", "--revoke"],
            "error: --list cannot be combined with DIR, --revoke or --yes\nhint: agentctl trust --list\n",
        ),
        (["trust", "--all"], "error: --all needs --revoke and takes no DIR\n"),
        (["trust", "--revoke", "--all", "x"], "error: --all needs --revoke and takes no DIR\n"),
        (["trust", "\0"], "error: no such folder: \\x00\n"),
    ],
)
def test_wrong_arguments_are_refused(here: Here, words: list[str], said: str) -> None:
    ended = here(*words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_a_file_without_our_settings_needs_no_trust(here: Here, tmp_path: Path, state: Path) -> None:
    path = write(tmp_path / ".env", "DATABASE_URL=x\n")
    ended = here("trust")
    assert (ended.code, ended.err) == (0, f"{path} has no settings of agentctl: nothing to trust\n")
    assert not state.exists()


def test_invalid_state_folder_ends_with_74(here: Here, tmp_path: Path, state: Path) -> None:
    write(tmp_path / ".env", ENV)
    state.write_text("a file stands in its place")
    ended = here("trust", "-y")
    assert (ended.code, "cannot be written: " in ended.err) == (74, True)


@pytest.mark.parametrize(
    ("typed", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 5), ("\n", 5), ("\x04", 5), ("what\nn\n", 5)]
)
def test_question_at_a_terminal_is_asked_once(agentctl: Commands, tmp_path: Path, typed: str, code: int) -> None:
    path = write(tmp_path / ".env", ENV)
    with at_a_terminal(agentctl, "trust") as at:
        shown = at.shown_until(b"[y/N] ").decode()
        assert "would set: OPENAI_API_KEY, OPENAI_BASE_URL" in shown
        assert "not-to-be-seen" not in shown
        first, _, rest = typed.partition("\n")
        at.types(first + ("\n" if "\n" in typed else ""))
        if rest:
            at.shown_until(b"[y/N] ")
            at.types(rest)
        ended, out, said = at.ended()
    assert (ended, out) == (code, b"")
    assert (f"trusted {path}" in said) is (code == 0)
    assert bool(agentctl("trust", "--list", "--json").document["trusted"]) is (code == 0)


def test_input_typed_before_the_question_is_not_an_answer(agentctl: Commands, tmp_path: Path) -> None:
    write(tmp_path / ".env", ENV)
    with at_a_terminal(agentctl, "trust", early="y\ny\n") as at:
        at.shown_until(b"[y/N] ")
        at.types("n\n")
        assert at.ended()[0] == 5
    assert agentctl("trust", "--list").out == "no trusted files\n"


def test_a_file_that_is_swapped_while_the_question_stands_is_not_trusted(agentctl: Commands, tmp_path: Path) -> None:
    path = write(tmp_path / ".env", "AGENTCTL_MAX_TURNS=60\n")
    with at_a_terminal(agentctl, "trust") as at:
        at.shown_until(b"[y/N] ")
        write(path, ENV)
        at.types("y\n")
        assert at.ended()[0] == 0
    (listed,) = agentctl("trust", "--list", "--json").document["trusted"]
    assert listed["state"] == "changed"
    assert "trusted project file" not in agentctl("config", "show").out


def test_an_interrupted_question_trusts_nothing(agentctl: Commands, tmp_path: Path, state: Path) -> None:
    write(tmp_path / ".env", ENV)
    with at_a_terminal(agentctl, "trust") as at:
        at.shown_until(b"[y/N] ")
        at.process.send_signal(signal.SIGINT)
        assert at.ended()[0] == 130
    assert not state.exists()


def test_run_without_a_project_file_loads_nothing_for_trust() -> None:
    names = {f"agentctl.{name}" for name in TRUST_MODULES}
    assert {name for name in names if find_spec(name) is None} == set()
    assert loaded_modules("run", "How much memory is used?") & names == set()
    assert loaded_modules("trust", "--list") & {*HEAVY_MODULES, "asyncio", "rich"} == set()
    assert loaded_modules("config", "get", "timeout") & {*HEAVY_MODULES, "asyncio", "rich"} == set()
