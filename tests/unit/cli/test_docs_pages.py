"""The generated parts of docs/ agree with the code."""

from __future__ import annotations

import re

import pytest

from agentctl.providers.builtin.match import LOOKUPS
from agentctl.settings.names import DECLARED
from tests.support.docs_pages import builtin_page, main, pages, settings_page


def test_every_generated_page_is_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text, "python -m tests.support.docs_pages"
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_page_that_differs_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import docs_pages as module

    path = module.DOCS / "settings.md"
    monkeypatch.setattr(module, "pages", lambda: {path: "another text"})
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.startswith("differs: docs/settings.md\n")


def test_the_settings_page_has_every_setting_once() -> None:
    named = re.findall(r"^- `([a-z_]+)`", settings_page(), re.MULTILINE)
    assert sorted(named) == sorted(DECLARED)


def test_the_builtin_page_has_every_lookup_and_every_question() -> None:
    text = " ".join(builtin_page().split())
    tables = [f"{lookup.examples}|{lookup.causes}" for lookup in LOOKUPS]
    questions = [" ".join(one.split()) for table in tables for one in table.split("|") if one.strip()]
    shown = [re.sub(r"\{(\w+)\}", lambda kind: kind[1].upper(), one) for one in questions]
    assert [one for one in shown if one not in text] == []
    assert len(shown) > 1500
    for lookup in LOOKUPS:
        assert f"## {lookup.about[0].upper()}{lookup.about[1:]} " in text
