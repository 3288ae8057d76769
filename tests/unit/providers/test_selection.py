"""Provider selection by default: the Ollama on this host if it is unambiguous; it is asked only when needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.providers.selection import resolve_provider
from agentctl.settings import ProviderChoice, load_settings
from tests.support.probe_host import Host, page


def an_ollama(*names: str) -> Host:
    return Host({"/api/tags": page({"models": [{"name": name, "capabilities": ["tools"]} for name in names]})})


def chosen(folder: Path, environ: Mapping[str, str]) -> ProviderChoice:
    environ = {"AGENTCTL_CONFIG_DIR": str(folder), **environ}
    return resolve_provider(load_settings(flags={}, environ=environ, cwd=folder, remember=False), patience_s=10.0)


@pytest.mark.parametrize(
    ("names", "choice"),
    [
        (["qwen3:4b"], ProviderChoice("ollama", "qwen3:4b", "Ollama on this host, its only model")),
        (["a", "b"], ProviderChoice("builtin", None, "no key, and Ollama on this host has 2 models")),
        ([], ProviderChoice("builtin", None, "no key, and Ollama on this host has no model that can call tools")),
    ],
)
def test_an_ollama_with_exactly_one_model_is_chosen(tmp_path: Path, names: list[str], choice: ProviderChoice) -> None:
    with an_ollama(*names) as host:
        assert chosen(tmp_path, {"OLLAMA_HOST": host.url}) == choice
        assert host.lines == ["GET /api/tags"]


def test_an_ollama_that_has_the_named_model_is_chosen(tmp_path: Path) -> None:
    with an_ollama("llama3.1:latest", "qwen3:4b") as host:
        found = chosen(tmp_path, {"OLLAMA_HOST": host.url, "LLM_MODEL": "llama3.1"})
        assert found == ProviderChoice("ollama", "llama3.1:latest", "Ollama on this host has the model")
        with pytest.raises(UsageError):
            chosen(tmp_path, {"OLLAMA_HOST": host.url, "LLM_MODEL": "no-such-model"})


def test_unreachable_ollama_selects_builtin(tmp_path: Path) -> None:
    found = chosen(tmp_path, {"OLLAMA_HOST": "127.0.0.1:9"})
    assert found == ProviderChoice("builtin", None, "no key, no server")


@pytest.mark.parametrize("environ", [{"LLM_PROVIDER": "builtin"}, {"OPENAI_API_KEY": "sk-12345678"}])
def test_an_ollama_is_not_asked_where_something_else_decides(tmp_path: Path, environ: Mapping[str, str]) -> None:
    with an_ollama("qwen3:4b") as host:
        assert chosen(tmp_path, {"OLLAMA_HOST": host.url, **environ}).provider != "ollama"
        assert host.heard == []
