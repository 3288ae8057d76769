"""The floors of the packages, and the imports of ``agentctl`` as read from its source.

``python -m tests.support.house`` prints each package with its floor, files, lines and the packages that it imports.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

HOUSE = Path(__file__).parents[2] / "agentctl"

#: A package imports only from floors below its own.
FLOORS: Mapping[str, int] = MappingProxyType(
    {
        "core": 1,
        "context": 2,
        "settings": 2,
        "budget": 3,
        "protocols": 4,
        "ledger": 5,
        "journal": 6,
        "telemetry": 7,
        "sandbox": 7,
        "providers": 7,
        "tools": 8,
        "permissions": 9,
        "runner": 10,
        "api": 11,
        "cli": 11,
        "__init__": 12,
        "__main__": 12,
    }
)


class Import(NamedTuple):
    """An import statement's target in full (``from a import b`` is ``a.b``), and whether it runs with the module."""

    name: str
    at_start: bool


class Arrow(NamedTuple):
    """One package of ours imports from another, in so many statements."""

    source: str
    target: str
    imports: int

    @property
    def is_upward(self) -> bool:
        """Whether the target does not stand on a floor below the source's."""
        return FLOORS[self.target] >= FLOORS[self.source]


def files() -> tuple[Path, ...]:
    """Return every Python file of the package, in order."""
    return tuple(sorted(HOUSE.rglob("*.py")))


def package_of(path: Path) -> str:
    """Return the name right under ``agentctl/`` that a file belongs to: a package, or a file at the root."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    """Return the dotted name of a file's module."""
    return ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> tuple[Import, ...]:
    """Return every import of a file: those of functions and of ``if TYPE_CHECKING`` too."""
    return tuple(_imports(tree_of(path), at_start=True))


def _imports(node: ast.AST, *, at_start: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, at_start) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (Import(f"{child.module}.{alias.name}", at_start) for alias in child.names)
        else:
            runs = not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not (
                isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            )
            yield from _imports(child, at_start=at_start and runs)


def target_of(name: str) -> str | None:
    """Return which package of ours an imported name belongs to; None: it is not ours. The root itself is __init__."""
    top, _, rest = name.partition(".")
    if top != "agentctl":
        return None
    package = rest.split(".")[0]
    return package if package in FLOORS else "__init__"


def arrows() -> tuple[Arrow, ...]:
    """Return the imports between packages."""
    found: Counter[tuple[str, str]] = Counter()
    for path in files():
        source = package_of(path)
        for name, _ in imports_of(path):
            target = target_of(name)
            if target is not None and target != source:
                found[source, target] += 1
    return tuple(Arrow(source, target, count) for (source, target), count in sorted(found.items()))


def circle() -> tuple[str, ...]:
    """Return the modules of one circle of imports that run with their modules, or nothing."""
    modules = {module_of(path): path for path in files()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> tuple[str, ...]:
        if module in way:
            return (*way[way.index(module) :], module)
        if module in done:
            return ()
        for name, at_start in imports_of(modules[module]):
            target = name if name in modules else name.rpartition(".")[0]
            if at_start and target in modules and target != module and (found := visit(target, (*way, module))):
                return found
        done.add(module)
        return ()

    return next((found for module in modules if (found := visit(module, ()))), ())


def public_classes() -> Iterator[tuple[str, str]]:
    """Yield the name and the module of each public class at the top of a module."""
    for path in files():
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, module_of(path)


def _print_table() -> None:
    below: dict[str, list[str]] = {name: [] for name in FLOORS}
    upward = []
    for arrow in arrows():
        below[arrow.source].append(f"{arrow.target} {arrow.imports}")
        upward += [f"{arrow.source} -> {arrow.target}"] if arrow.is_upward else []
    print(f"{'floor':>5}  {'package':12}{'files':>6}{'lines':>8}  imports (statements)")
    for name, floor in sorted(FLOORS.items(), key=lambda item: (-item[1], item[0])):
        own = [path for path in files() if package_of(path) == name]
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in own)
        print(f"{floor:>5}  {name:12}{len(own):>6}{lines:>8}  {', '.join(below[name])}")
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files())
    print(f"{len(files())} files, {lines} lines, {len(arrows())} arrows between packages, {len(upward)} upward")
    print(f"circle: {' -> '.join(circle()) or 'none'}")


if __name__ == "__main__":
    _print_table()
