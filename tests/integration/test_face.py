"""The Python API: it has what it promises, and importing it loads little and does nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import agentctl

ROOT = Path(__file__).parents[2]
HEAVY = ("litellm", "aiodocker", "aiohttp", "psutil", "openai")


def loaded_after(code: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after ``code``."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return set(done.stderr.split())


def test_all_lists_what_can_be_imported() -> None:
    assert [name for name in agentctl.__all__ if getattr(agentctl, name, None) is None] == []
    assert sorted(agentctl.__all__) == agentctl.__all__ == dir(agentctl)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        agentctl.nonsense  # noqa: B018


def test_importing_the_package_loads_nothing_and_makes_nothing(tmp_path: Path) -> None:
    found = loaded_after("import agentctl")
    assert not found & {*HEAVY, "typer", "rich", "pydantic", "pydantic_settings", "anyio", "sqlite3"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["costs"], ["runs", "list"], ["config", "show"]])
def test_command_without_a_call_loads_no_model_and_no_engine(arguments: list[str]) -> None:
    found = loaded_after(f"from agentctl.cli.app import main\nmain({arguments!r})")
    assert "agentctl.cli.app" in found
    assert not found & {*HEAVY, "asyncio"}


def test_a_lookup_on_the_machine_loads_neither_model_nor_engine() -> None:
    found = loaded_after("from agentctl.cli.app import main\nmain(['run', '-q', 'How much disk is free?'])")
    assert "agentctl.tools.system" in found
    assert not found & {*HEAVY, "rich.live"}
