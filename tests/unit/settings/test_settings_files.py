"""The files generated from the settings are up to date, and work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agentctl.cli.run.setting_flags import SETTING_FLAGS, SYNONYMS
from agentctl.settings.declaration import SECTIONS
from agentctl.settings.names import DECLARED, flag_name
from tests.support.command_parser import ROOT_COMMAND, parse_command
from tests.support.desk import Desk
from tests.support.settings_files import main, settings_files

WORDS: dict[str, Any] = {"switch": [], "yes_no": [], "choice": ["never"], "list": ["a"], "text": ["7"]}


def test_every_file_is_what_the_settings_say(capsys: pytest.CaptureFixture[str]) -> None:
    for path, text in settings_files().items():
        assert path.read_text(encoding="utf-8") == text, "python -m tests.support.settings_files"
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_file_that_differs_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import settings_files as module

    path = module.ROOT / ".env.example"
    monkeypatch.setattr(module, "settings_files", lambda: {path: "another text"})
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.startswith("differs: .env.example\n")


def test_every_setting_is_declared_whole() -> None:
    for field, declared in DECLARED.items():
        assert declared.section in SECTIONS, field
        assert declared.help
        assert not declared.help.endswith("."), field
        for variable in declared.variables:
            assert variable.startswith("AGENTCTL_") or variable in declared.documented, field
        assert set(declared.needed_by) <= {"run", "report", "policy", "prices", "model"} or declared.needed_by[
            0
        ].startswith("provider "), field


@pytest.mark.parametrize("field", SETTING_FLAGS)
def test_each_flag_sets_its_field(field: str) -> None:
    flag = DECLARED[field].flag
    assert flag is not None
    words = {
        "llm_client": ["litellm"],
        "approve": ["ask"],
        "sandbox": ["none"],
        "output": ["json"],
        "color": ["never"],
        "summaries": ["never"],
    }
    value = words.get(field, WORDS[flag.kind])
    spellings = [*flag.spellings, flag_name(field), *([flag.synonym] if flag.synonym else [])]
    for spelling in spellings:
        given = parse_command(["run", spelling, *value, "task"])
        typed = given[field]
        assert typed in (True, value, value[0] if value else True), (field, spelling)
        assert [name for name in SETTING_FLAGS if given[name] not in (None, [], ())] == [field]


def test_the_breaker_names_the_flags_that_the_settings_name() -> None:
    from agentctl.budget.breaker import _FLAGS

    named = {field: one.flag.synonym for field, one in DECLARED.items() if one.flag and one.flag.synonym}
    assert named == _FLAGS


def test_the_panels_of_the_help_follow_one_another() -> None:
    params = ROOT_COMMAND.commands["run"].params  # type: ignore[attr-defined]
    panels = [getattr(param, "rich_help_panel", None) for param in params]
    shown = [panel for panel in panels if panel]
    assert list(dict.fromkeys(shown)) == ["Common options", "Limits", "Context", "Permissions", "Input", "Output"]
    assert shown == sorted(shown, key=list(dict.fromkeys(shown)).index)
    assert all(other in {flag_name(field).lstrip("-") for field in DECLARED} | set(SYNONYMS) for other in SYNONYMS)


def test_config_toml_holds_each_setting_that_it_may_hold(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    text = next(text for path, text in settings_files().items() if path.parent.name == "configs")
    loaded = desk.load(config=desk.file("all.toml", text))
    assert loaded.settings == desk.load().settings
    for field, declared in DECLARED.items():
        assert bool(re.search(rf"^(?:# )?{field} = ", text, re.MULTILINE)) == (
            declared.in_toml and bool(declared.variables)
        ), field
