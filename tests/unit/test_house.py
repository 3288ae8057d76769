"""The floors of the packages: which package may import which, where libraries are used, and unique names."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.house import (
    FLOORS,
    HOUSE,
    arrows,
    circle,
    files,
    imports_of,
    module_of,
    package_of,
    public_classes,
    tree_of,
)  # fmt: skip

ONLY_IN = {
    "httpx": {"providers"},
    "openai": {"providers"},
    "rich": {"cli"},
    "typer": {"cli"},
    "jinja2": {"cli"},
    "psycopg": {"ledger"},
    "sqlite3": {"ledger"},
    "litellm": {"providers"},
    "tiktoken": {"providers"},
    "aiodocker": {"tools"},
    "opentelemetry": {"telemetry", "tools"},  # the SDK of MCP brings its API
    "requests": {"telemetry"},
    "mcp": {"tools", "cli"},
    "mcp_types": {"tools"},
    "httpx2": {"tools"},
    "psutil": {"tools"},
    "dotenv": {"settings"},
    "pydantic_settings": {"settings"},
    "tomlkit": {"settings"},
    "tree_sitter": {"permissions"},
    "tree_sitter_bash": {"permissions"},
}

#: Variables set before a foreign import: the lines outside of ``settings`` that touch the environment.
ENVIRONMENT_GUARDS = {
    "__main__.py": [
        'os.environ["PYDANTIC_DISABLE_PLUGINS"]',
        'os.environ["TERM"]',
        'if os.environ.get("NO_COLOR") or os.environ.get("FORCE_COLOR") in ("", "0"):',
        'os.environ.pop("FORCE_COLOR", None)',
    ],
    "providers/litellm_loader.py": [
        'os.environ["LITELLM_LOCAL_MODEL_COST_MAP"]',
        'os.environ["LITELLM_MODE"]',
        'os.environ["EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"]',
    ],
}


#: Class names that stand in two modules, and why.
CLASS_NAMES_THAT_RECUR = {
    "LLMProvider": "the protocol, and the base class that gives its convenience methods to users",
}

#: Module stems that stand in two packages, and why.
STEMS_THAT_RECUR = {
    "command": "the Typer commands of a folder of the command line",
    "document": "the JSON document of a command",
    "errors": "the errors of a package",
}

LONGEST_TEST_NAME = 80

#: An import of a test module, also in a program that a test starts.
TEST_IMPORT = re.compile(r"(?:from|import) (tests\.(?:unit|integration|bill)\b[\w.]*)")


def relative(path: Path) -> str:
    return str(path.relative_to(HOUSE))


def modules_of_tests(path: Path) -> set[str]:
    """Return the names below ``tests/unit``, ``tests/integration`` and ``tests/bill`` that a file imports."""
    text = path.read_text(encoding="utf-8")
    found = {f"from {name}" for name, _ in imports_of(path)} if "tests" in text else set()
    return {name for line in (*found, text) for name in TEST_IMPORT.findall(line)}


def is_own(path: Path, name: str) -> bool:
    """Return whether an imported name lies in the folder of the file, or in the conftest of a folder above it."""
    folder, parts = HOUSE.parent, name.split(".")
    while parts and (folder / parts[0]).is_dir():
        folder /= parts.pop(0)
    return folder == path.parent or (parts[:1] == ["conftest"] and folder in path.parents)


def test_the_root_holds_the_packages_of_the_table_and_nothing_else() -> None:
    found = {entry.name.removesuffix(".py") for entry in HOUSE.iterdir() if entry.suffix in {"", ".py"}}
    assert found - {"__pycache__"} == set(FLOORS)


def test_a_package_imports_only_from_the_floors_below_its_own() -> None:
    assert [arrow for arrow in arrows() if arrow.is_upward and arrow.target != "__init__"] == []


def test_only_the_command_line_reads_the_root_of_the_package() -> None:
    assert {arrow.source for arrow in arrows() if arrow.target == "__init__"} <= {"cli", "__main__"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circle() == ()


def test_a_library_is_imported_only_where_it_belongs() -> None:
    found = [
        (relative(path), name)
        for path in files()
        for name, _ in imports_of(path)
        if package_of(path) not in ONLY_IN.get(name.split(".")[0], {package_of(path)})
    ]
    assert found == []


def test_litellm_is_imported_in_one_module() -> None:
    found = {relative(path) for path in files() for name, _ in imports_of(path) if name.split(".")[0] == "litellm"}
    assert found == {"providers/litellm_loader.py"}


def test_the_environment_is_read_only_in_settings() -> None:
    for path in files():
        names = {ast.unparse(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
        if (allowed := ENVIRONMENT_GUARDS.get(relative(path))) is not None:
            used = [line.strip() for line in path.read_text().splitlines() if "os.environ" in line]
            assert [line.split(" = ")[0] for line in used] == allowed
        elif package_of(path) != "settings":
            assert not names & {"os.environ", "os.getenv", "os.putenv", "os.environb"}, path


def test_sql_stands_only_in_the_ledger() -> None:
    words = ("SELECT ", "INSERT INTO", "UPDATE ", "BEGIN IMMEDIATE", "PRAGMA ")
    found = [
        relative(path)
        for path in files()
        if package_of(path) != "ledger"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(words)
    ]
    assert found == []


def test_sql_has_no_numbered_placeholders() -> None:
    # From Python 3.14 on they are names, for which sqlite3 takes no sequence: :name, or a plain ?.
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in files()
        if package_of(path) == "ledger"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"[ (=]\?\d", node.value)
    ]
    assert found == []


def test_no_module_is_longer_than_400_lines() -> None:
    assert {relative(path) for path in files() if len(path.read_text().splitlines()) > 400} == set()


def test_a_public_class_name_stands_once() -> None:
    homes = defaultdict(set)
    for name, module in public_classes():
        homes[name].add(module)
    assert {name: homes[name] for name in homes if len(homes[name]) > 1 and name not in CLASS_NAMES_THAT_RECUR} == {}


def test_a_module_stem_stands_once() -> None:
    homes = defaultdict(set)
    for path in files():
        if path.stem not in {"__init__", "__main__"}:
            homes[path.stem].add(module_of(path))
    assert {stem: homes[stem] for stem in homes if len(homes[stem]) > 1 and stem not in STEMS_THAT_RECUR} == {}


@pytest.mark.parametrize("package", [name for name in FLOORS if (HOUSE / name).is_dir()])
def test_a_package_opens_with_its_purpose_its_entry_and_its_rules(package: str) -> None:
    docstring = ast.get_docstring(tree_of(HOUSE / package / "__init__.py")) or ""
    assert len(docstring.splitlines()) >= 8
    for word in ("Enter", "Always", "May import", "Never"):
        assert word in docstring, f"agentctl/{package}/__init__.py does not say {word}"


def test_names_of_tests_have_at_most_80_characters() -> None:
    found = [
        (str(path.relative_to(HOUSE.parent)), node.name)
        for path in sorted((HOUSE.parent / "tests").rglob("*.py"))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and len(node.name) > LONGEST_TEST_NAME
    ]
    assert found == []


def test_tests_of_two_folders_share_only_what_lives_in_support() -> None:
    found = [
        (str(path.relative_to(HOUSE.parent)), name)
        for path in sorted((HOUSE.parent / "tests").rglob("*.py"))
        for name in sorted(modules_of_tests(path))
        if not is_own(path, name)
    ]
    assert found == [], "move what is shared into a module of tests/support"
