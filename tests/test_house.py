"""The floors of the house: who may import whom, and which packages stay in which room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "agentctl"
FLOORS = {
    "errors": 1, "version": 1, "worker": 1,
    "messages": 2, "text": 2, "replacing": 2,
    "mark": 2.3, "tokens": 2.3, "units": 2.3, "calibration": 2.3, "measure": 2.4, "gauge": 2.5, "dialects": 2.6,
    "relevance": 2.5, "known": 2.6, "digest": 2.6, "reading": 2.7, "pruning": 2.8,  # on the way up to context
    "pricing": 3, "context": 3, "bound": 3, "rules": 3, "limits": 3,
    "context_manager": 3.5, "economy": 3.5, "window": 3.5,
    "wishes": 3.8, "attribution": 4, "budget": 4, "policy": 4, "permission": 4, "agents": 4, "trust": 4,
    "results": 4.5, "events": 5, "settings": 5, "routing": 5, "plan": 5,
    "protocols": 6, "briefing": 6, "breaker": 6, "expenses": 6,
    "closing": 4.5, "stream": 6.3, "settling": 6.6, "holding": 6.6,  # on the way up to calls, their only user
    "admission": 6.5, "portions": 6.5, "remaining": 6.5,  # in front of every tool: dispatch is the only one to use it
    "annex": 6.5,
    "calls": 7, "dispatch": 7, "recorder": 7,
    "summaries": 7.3, "conversation": 7.5,
    "loop": 8, "providers": 8, "sandbox": 8, "ledger": 8, "journal": 8, "ui": 8,
    "tools": 9, "tracker": 9, "history": 9, "learned": 6, "lending": 9,
    "orchestrator": 10, "checkup": 10, "prospect": 10, "examination": 10,
    "estimate": 10.5,
    "equipment": 10.5,
    "wiring": 11,
    "cli": 12, "docker_agent": 12,
    "__init__": 13, "__main__": 13,
}  # fmt: skip
ONLY_IN = {
    "httpx": {"providers"},
    "openai": {"providers"},
    "rich": {"ui", "cli"},
    "typer": {"cli"},
    "sqlite3": {"ledger"},
    "litellm": {"providers"},
    "tiktoken": {"providers"},
    "aiodocker": {"tools"},
    "psutil": {"tools"},
    "dotenv": {"settings"},
}
FILES = sorted(HOUSE.rglob("*.py"))


def room_of(path: Path) -> str:
    """Name the room: the file or folder right under the package."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Yield each imported module's dotted name, ``from a import b`` as ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_room_imports_only_from_the_floors_below_its_own(path: Path) -> None:
    room, tree = room_of(path), ast.parse(path.read_text())
    assert room in FLOORS, f"the table of floors does not name {room}"
    for name in imports_of(tree):
        top, _, rest = name.partition(".")
        if top == "agentctl":
            target = rest.split(".")[0]
            if target == room or (target not in FLOORS and room in {"cli", "__main__", "__init__"}):
                continue
            assert FLOORS[target] < FLOORS[room], f"{room} (floor {FLOORS[room]}) reaches for {target}"
        assert room in ONLY_IN.get(top, {room}), f"{top} is not for {room}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_the_environment_is_read_only_in_settings(path: Path) -> None:
    names = {ast.unparse(n) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
    guards = {  # the exceptions: what must be set before somebody else's import
        "__main__.py": ['os.environ["PYDANTIC_DISABLE_PLUGINS"]'],
        "providers/door.py": [
            'os.environ["LITELLM_LOCAL_MODEL_COST_MAP"]',
            'os.environ["LITELLM_MODE"]',
            'os.environ["EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"]',
        ],
    }
    allowed = guards.get(str(path.relative_to(HOUSE)))
    if allowed is not None:
        used = [line.strip() for line in path.read_text().splitlines() if "os.environ" in line]
        assert [line.split(" = ")[0] for line in used] == allowed
    elif room_of(path) != "settings":
        assert not names & {"os.environ", "os.getenv", "os.putenv", "os.environb"}


def test_litellm_comes_in_by_one_door() -> None:
    trees = {path: ast.parse(path.read_text()) for path in FILES}
    doors = {path.name for path, tree in trees.items() for name in imports_of(tree) if name.split(".")[0] == "litellm"}
    assert doors == {"door.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_sql_stands_only_in_the_ledger() -> None:
    words = ("SELECT ", "INSERT INTO", "UPDATE ", "BEGIN IMMEDIATE", "PRAGMA ")
    found = [
        path
        for path in FILES
        if room_of(path) != "ledger"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(words)
    ]
    assert found == []
