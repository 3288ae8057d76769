"""Choice of the provider when several are possible or none is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agentctl.core.errors import AuthFailed, UsageError
from agentctl.settings import DEFAULT_MODELS, KEY_NAMES, KNOWN_PROVIDERS, ProviderChoice, choose_provider, ollama_to_ask
from tests.support.desk import Desk

OPENAI = {"OPENAI_API_KEY": "sk-12345678"}
ANTHROPIC = {"ANTHROPIC_API_KEY": "sk-ant-12345678"}


def _choose(
    tmp_path: Path,
    environ: Mapping[str, str],
    models: tuple[str, ...] | None = None,
    **flags: object,
) -> ProviderChoice:
    return choose_provider(Desk(tmp_path).load(environ, flags=flags), ollama_models=models)


def test_a_fresh_machine_gets_builtin(tmp_path: Path) -> None:
    assert _choose(tmp_path, {}) == ProviderChoice("builtin", None, "no key")


def test_a_named_provider_wins_over_every_key(tmp_path: Path) -> None:
    choice = _choose(tmp_path, {**OPENAI, **ANTHROPIC}, llm_provider="anthropic")
    assert choice == ProviderChoice("anthropic", DEFAULT_MODELS["anthropic"], "flag", default_model=True)


def test_a_provider_named_by_the_environment_says_so(tmp_path: Path) -> None:
    environ = {**OPENAI, "LLM_PROVIDER": "openai", "LLM_MODEL": "gpt-4o"}
    assert _choose(tmp_path, environ) == ProviderChoice("openai", "gpt-4o", "environment LLM_PROVIDER")


def test_a_provider_from_a_file_says_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('llm_provider = "ollama"')
    assert choose_provider(desk.load()) == ProviderChoice(
        "ollama", "llama3.1:latest", "user config", default_model=True
    )
    desk.user_env("LLM_PROVIDER=builtin")
    assert choose_provider(desk.load()) == ProviderChoice("builtin", None, "user .env")


def test_model_with_provider_in_it_names_both(tmp_path: Path) -> None:
    assert _choose(tmp_path, OPENAI, llm_model="openai/gpt-4o") == ProviderChoice("openai", "gpt-4o", "flag")


@pytest.mark.parametrize("provider", sorted(KEY_NAMES))
def test_the_one_key_there_is_decides(tmp_path: Path, provider: str) -> None:
    name = KEY_NAMES[provider]
    choice = _choose(tmp_path, {name: "sk-12345678"}, models=("llama3.1:latest",))
    assert choice == ProviderChoice(provider, DEFAULT_MODELS[provider], f"key {name}", default_model=True)


def test_a_key_in_the_users_env_counts_and_names_the_model(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_env("OPENAI_API_KEY=sk-12345678\nLLM_MODEL=gpt-4o\n")
    assert choose_provider(desk.load()) == ProviderChoice("openai", "gpt-4o", "key OPENAI_API_KEY")
    assert choose_provider(desk.load({"CI": "1"})).provider == "openai"


def test_a_prefixed_key_is_named_as_it_was_written(tmp_path: Path) -> None:
    assert _choose(tmp_path, {"AGENTCTL_OPENAI_API_KEY": "sk-12345678"}).chosen_by == "key AGENTCTL_OPENAI_API_KEY"


def test_a_key_in_the_working_directory_does_not_count(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.project_env("OPENAI_API_KEY=sk-evil-evil\n")
    assert choose_provider(desk.load()).provider == "builtin"


def test_two_keys_without_a_choice_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        _choose(tmp_path, {**OPENAI, **ANTHROPIC})
    assert caught.value.message == "both OPENAI_API_KEY and ANTHROPIC_API_KEY are set; choose one with --provider"
    assert caught.value.hint == "add --provider openai to the run, or set it for good: export LLM_PROVIDER=openai"


@pytest.mark.parametrize(
    ("models", "choice"),
    [
        (("qwen3:4b",), ProviderChoice("ollama", "qwen3:4b", "Ollama on this host, its only model")),
        ((), ProviderChoice("builtin", None, "no key, no server")),
        (("a", "b"), ProviderChoice("builtin", None, "no key, and Ollama on this host has 2 models")),
    ],
)
def test_ollama_with_exactly_one_model_is_chosen(
    tmp_path: Path, models: tuple[str, ...], choice: ProviderChoice
) -> None:
    assert _choose(tmp_path, {}, models) == choice


def test_ollama_that_has_the_named_model_is_chosen(tmp_path: Path) -> None:
    found = ProviderChoice("ollama", "llama3.1:latest", "Ollama on this host has the model")
    assert _choose(tmp_path, {"LLM_MODEL": "llama3.1"}, ("other", "llama3.1:latest")) == found


def test_model_without_a_provider_is_a_usage_error(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for environ, models in (({}, None), ({}, ("llama3.1:latest",)), ({"CI": "1"}, ("gpt-4o",))):
        loaded = desk.load({"LLM_MODEL": "gpt-4o", **environ})
        with pytest.raises(UsageError) as caught:
            choose_provider(loaded, ollama_models=models)
        assert caught.value.message.startswith(
            "model gpt-4o (environment LLM_MODEL) is named without a provider, and no key implies one"
        )
        assert caught.value.hint == "add --provider NAME to the run; agentctl models gpt-4o   finds its name"


def test_ci_without_any_key_guesses_nothing(tmp_path: Path) -> None:
    with pytest.raises(AuthFailed) as caught:
        _choose(tmp_path, {"CI": "true"}, ("qwen3:4b",))
    assert caught.value.message == "CI is set and no key was found; looked for " + ", ".join(KEY_NAMES.values())
    assert caught.value.hint == (
        "set one of them, save a key (agentctl providers set-key NAME), or choose --provider builtin"
    )
    assert (caught.value.status, caught.value.billed) == ("auth", "no")


@pytest.mark.parametrize("environ", [{}, {"CI": "true"}, {"LLM_MODEL": "gpt-4o"}])
def test_a_key_variable_set_but_empty_guesses_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(AuthFailed) as caught:
        _choose(tmp_path, {"OPENAI_API_KEY": "", **environ}, ("qwen3:4b",))
    assert caught.value.message == "OPENAI_API_KEY is set but empty, and no other key was found"


def test_an_empty_key_variable_does_not_hide_another_key(tmp_path: Path) -> None:
    assert _choose(tmp_path, {"OPENAI_API_KEY": "", **ANTHROPIC}).provider == "anthropic"


@pytest.mark.parametrize("environ", [{"CI": "1"}, {"OPENAI_API_KEY": ""}, {"LLM_MODEL": "x"}, {**OPENAI, **ANTHROPIC}])
def test_builtin_by_name_always_works(tmp_path: Path, environ: dict[str, str]) -> None:
    assert _choose(tmp_path, environ, llm_provider="builtin") == ProviderChoice("builtin", None, "flag")


def test_named_provider_without_its_key_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with pytest.raises(AuthFailed) as caught:
        choose_provider(desk.load(flags={"llm_provider": "openai"}))
    assert caught.value.message == "provider openai (flag) needs a key, and OPENAI_API_KEY is not set"
    assert caught.value.hint == "agentctl providers set-key openai   (or set OPENAI_API_KEY)"

    with pytest.raises(AuthFailed, match="OPENAI_API_KEY is set but empty"):
        choose_provider(desk.load({"OPENAI_API_KEY": ""}, flags={"llm_provider": "openai"}))
    own_server = desk.load({"OPENAI_BASE_URL": "http://127.0.0.1:1234/v1"}, flags={"llm_provider": "openai"})
    assert choose_provider(own_server).provider == "openai"


def test_failure_for_a_missing_value_names_the_ignored_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.project_env("OPENAI_API_KEY=sk-evil-evil\n")
    cure = "./.env has OPENAI_API_KEY, but is not trusted: agentctl run --env-file .env   or for good: agentctl trust"
    for environ, flags in (({"CI": "1"}, {}), ({}, {"llm_provider": "openai"}), ({"OPENAI_API_KEY": ""}, {})):
        with pytest.raises(AuthFailed) as caught:
            choose_provider(desk.load(environ, flags=flags))
        assert caught.value.hint == cure
    with pytest.raises(UsageError) as refused:
        choose_provider(desk.load({"LLM_MODEL": "gpt-4o"}))
    assert refused.value.hint == cure


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "http://127.0.0.1:11434"),
        ({"OLLAMA_HOST": "0.0.0.0"}, "http://127.0.0.1:11434"),  # noqa: S104 - read, not bound
        ({"OLLAMA_HOST": "[::1]:99"}, "http://[::1]:99"),
        ({"OLLAMA_HOST": "localhost"}, "http://localhost:11434"),
        ({"OLLAMA_HOST": "box"}, None),
        ({"OLLAMA_HOST": "127.evil.example"}, None),
        ({"LLM_MODEL": "x"}, "http://127.0.0.1:11434"),
        ({"CI": "1"}, None),
        ({"OPENAI_API_KEY": ""}, None),
        (OPENAI, None),
        ({"LLM_PROVIDER": "builtin"}, None),
    ],
)
def test_ollama_is_asked_only_on_this_host_and_only_if_nothing_else_decides(
    tmp_path: Path, environ: dict[str, str], address: str | None
) -> None:
    assert ollama_to_ask(Desk(tmp_path).load(environ)) == address


def test_every_known_provider_has_a_pinned_model_but_builtin() -> None:
    assert set(KEY_NAMES) <= set(KNOWN_PROVIDERS)
    assert [name for name in KNOWN_PROVIDERS if DEFAULT_MODELS[name] is None] == ["builtin"]


def test_hint_on_an_empty_key_names_the_command_that_saves_one(tmp_path: Path) -> None:
    with pytest.raises(AuthFailed) as caught:
        choose_provider(Desk(tmp_path).load({"MISTRAL_API_KEY": ""}))
    assert caught.value.hint == "agentctl providers set-key mistral   (or choose --provider builtin)"
