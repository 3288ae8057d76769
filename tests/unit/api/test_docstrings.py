"""Every public name has an example, and every example runs offline in its own folder."""

from __future__ import annotations

import doctest
import inspect
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest

import agentctl


def members(name: str) -> Iterator[tuple[str, str]]:
    """Yield what a public name offers, itself first, with its docstring; one that is inherited may stand in."""
    public = getattr(agentctl, name)
    yield name, inspect.cleandoc(public.__doc__ or "")
    if not inspect.isclass(public):
        return
    house = [kind for kind in public.__mro__ if kind.__module__.startswith("agentctl")]
    for member in sorted({member for kind in house for member in vars(kind) if not member.startswith("_")}):
        found = [vars(kind)[member] for kind in house if member in vars(kind)]
        if inspect.isroutine(found[0]) or isinstance(found[0], (property, cached_property)):
            said = [inspect.cleandoc(one.__doc__ or "") for one in found]
            yield f"{name}.{member}", next((text for text in said if ">>>" in text), said[0])


EVERYTHING = [pytest.param(name, text, id=name) for public in agentctl.__all__ for name, text in members(public)]


@pytest.mark.parametrize(("name", "text"), EVERYTHING)
def test_every_public_name_has_an_example_that_runs(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = {public: getattr(agentctl, public) for public in agentctl.__all__}
    example = doctest.DocTestParser().get_doctest(text, known, name, None, None)
    assert example.examples, f"{name} has no example"
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ended = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(example, out=said.append)
    assert ended.failed == 0, "".join(said)


def test_exceptions_are_documented_where_they_are_raised() -> None:
    """Public methods that call, run or read have a ``Raises`` section."""
    texts = {parameter.values[0]: str(parameter.values[1]) for parameter in EVERYTHING}
    asking = [
        *("CostLimit", "CostTracker", "CostTracker.hourly_cost", "CostTracker.summary", "DockerAgent"),
        *("DockerAgent.execute", "DockerAgent.execute_async", "LLMProvider.ainvoke", "LLMProvider.invoke"),
        *("LLMProvider.stream", "LLMProvider.facts", "create_llm_provider", "run_shell_async", "write_file_async"),
    ]
    assert [name for name in asking if "Raises:" not in texts[name]] == []
