"""Stand-ins of modules: what an import gets in the block and after it, and when the module is loaded."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from agentctl.core.late_modules import late_modules

LIBRARY = """
import later_a
from later_b import shout
def a(): return later_a.VALUE
def b(text): return shout(text, mark="!")
"""
LATE = {"later_a": (), "later_b": ("shout",)}
NAMES = {"later_a", "later_b"}


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that imports two modules, one of them for a function."""
    (tmp_path / "late_library.py").write_text(LIBRARY)
    (tmp_path / "later_a.py").write_text("VALUE = 7")
    (tmp_path / "later_b.py").write_text("OTHER = 9\ndef shout(text, mark): return text.upper() + mark")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("late_library", *NAMES):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_late_module_is_loaded_when_an_attribute_of_it_is_read() -> None:
    with late_modules(LATE):
        module = import_module("late_library")
    assert NAMES & {*sys.modules} == set()
    assert module.a() == 7
    assert NAMES & {*sys.modules} == {"later_a"}


def test_a_late_module_is_loaded_when_its_function_is_called() -> None:
    with late_modules(LATE):
        module = import_module("late_library")
    assert module.b("hey") == "HEY!"
    assert NAMES & {*sys.modules} == {"later_b"}


def test_an_import_after_the_block_gets_the_real_module() -> None:
    with late_modules(LATE):
        module = import_module("late_library")
    real = import_module("later_a")
    assert (type(real).__name__, module.later_a.VALUE) == ("module", 7)
    assert sys.modules["later_a"] is real


def test_the_import_of_another_name_from_a_late_module_loads_it() -> None:
    with late_modules(LATE):
        other = __import__("later_b", fromlist=["OTHER"]).OTHER
    assert (other, type(sys.modules["later_b"]).__name__) == (9, "module")


def test_a_function_of_a_late_module_can_be_called_in_the_block() -> None:
    with late_modules(LATE):
        assert import_module("late_library").b("hey") == "HEY!"
    assert type(sys.modules["later_b"]).__name__ == "module"


def test_a_module_that_is_loaded_stays_as_it_is() -> None:
    real = import_module("later_a")
    with late_modules(LATE):
        assert import_module("later_a") is real
    assert sys.modules["later_a"] is real


def test_a_failed_import_leaves_no_stand_in() -> None:
    with pytest.raises(ImportError), late_modules(LATE):
        import_module("no_such_library")
    assert NAMES & {*sys.modules} == set()
