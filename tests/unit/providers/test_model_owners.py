"""A model names its provider by the catalogue: with one key, with two, with a server of the user's own, with none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp

import pytest

from agentctl import CostTracker, DockerAgent, create_llm_provider
from agentctl.core.errors import AgentctlError, AuthFailed, UsageError
from agentctl.core.pricing import ModelFacts
from agentctl.providers.selection import catalogue_owners, resolve_provider
from agentctl.settings import Loaded, ProviderChoice, competing_keys, ollama_to_ask
from agentctl.settings.provider_names import MAKERS, maker_of
from tests.support.desk import Desk
from tests.support.probe_host import Host, page

OPENAI = {"OPENAI_API_KEY": "sk-12345678"}
ANTHROPIC = {"ANTHROPIC_API_KEY": "sk-ant-12345678"}
GROQ = {"GROQ_API_KEY": "gsk_12345678"}
SERVER = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
NOBODY = {"OLLAMA_HOST": "127.0.0.1:9"}
CLAUDE, GPT = "claude-sonnet-4-5", "gpt-4o"


def load(folder: Path, environ: Mapping[str, str], **flags: object) -> Loaded:
    return Desk(Path(mkdtemp(dir=folder))).load({**NOBODY, **environ}, flags=flags)


def choose(folder: Path, environ: Mapping[str, str], **flags: object) -> ProviderChoice:
    return resolve_provider(load(folder, environ, **flags), patience_s=10.0)


def facts_of(loaded: Loaded) -> ModelFacts:
    choice = resolve_provider(loaded)
    return create_llm_provider(choice.provider, choice.model, settings=loaded.settings).facts


def refusal(folder: Path, environ: Mapping[str, str], **flags: object) -> AgentctlError:
    with pytest.raises(AgentctlError) as caught:
        choose(folder, environ, **flags)
    return caught.value


@pytest.mark.parametrize("environ", [{}, OPENAI, GROQ, {"CI": "1"}, {**OPENAI, **GROQ}, {"OPENAI_API_KEY": ""}])
@pytest.mark.parametrize("model", [CLAUDE, "claude-haiku-4-5"])
def test_a_model_whose_maker_has_no_key_is_exit_77(tmp_path: Path, environ: Mapping[str, str], model: str) -> None:
    error = refusal(tmp_path, environ, llm_model=model)
    assert isinstance(error, AuthFailed)
    assert error.message == f"{model} is Anthropic's; no key for it: agentctl providers set-key anthropic"
    assert error.hint == "or set ANTHROPIC_API_KEY; agentctl models lists the models that you have a key for"


@pytest.mark.parametrize(
    ("environ", "model", "said"),
    [
        ({}, GPT, "gpt-4o is OpenAI's; no key for it: agentctl providers set-key openai"),
        (ANTHROPIC, GPT, "gpt-4o is OpenAI's; no key for it: agentctl providers set-key openai"),
        (
            {"OPENAI_API_KEY": ""},
            GPT,
            "gpt-4o is OpenAI's; OPENAI_API_KEY is set but empty: agentctl providers set-key openai",
        ),
        (OPENAI, "gemini-2.5-pro", "gemini-2.5-pro is Google's; no key for it: agentctl providers set-key gemini"),
        (OPENAI, "deepseek-chat", "deepseek-chat is DeepSeek's; no key for it: agentctl providers set-key deepseek"),
        (OPENAI, "sonnet", "sonnet is Anthropic's; no key for it: agentctl providers set-key anthropic"),
        (OPENAI, "grok-4.20", "grok-4.20 is xAI's; no key for it: set XAI_API_KEY"),
        (
            OPENAI,
            "claude-sonnet-99",
            "claude-sonnet-99 is Anthropic's; no key for it: agentctl providers set-key anthropic",
        ),
        (
            OPENAI,
            "gpt-oss-120b",
            "gpt-oss-120b is offered by cerebras, fireworks_ai and ovhcloud; no key for any of them",
        ),
    ],
)
def test_a_model_without_a_key_says_whose_it_is(
    tmp_path: Path, environ: Mapping[str, str], model: str, said: str
) -> None:
    error = refusal(tmp_path, environ, llm_model=model)
    assert (error.status, error.message) == ("auth", said)


@pytest.mark.parametrize(
    ("environ", "model", "choice"),
    [
        (OPENAI, GPT, ProviderChoice("openai", GPT, "key OPENAI_API_KEY")),
        (
            {**OPENAI, **ANTHROPIC},
            CLAUDE,
            ProviderChoice("anthropic", CLAUDE, "the model is Anthropic's, key ANTHROPIC_API_KEY"),
        ),
        ({**OPENAI, **ANTHROPIC}, GPT, ProviderChoice("openai", GPT, "the model is OpenAI's, key OPENAI_API_KEY")),
        (
            {**OPENAI, "XAI_API_KEY": "xai-12345678"},
            "grok-4.20",
            ProviderChoice("xai", "grok-4.20", "the model is xAI's, key XAI_API_KEY"),
        ),
        (GROQ, "llama-99b-preview", ProviderChoice("groq", "llama-99b-preview", "key GROQ_API_KEY")),
        (OPENAI, "my-finetune", ProviderChoice("openai", "my-finetune", "key OPENAI_API_KEY")),
        ({**OPENAI, **ANTHROPIC}, f"openai/{GPT}", ProviderChoice("openai", GPT, "flag")),
    ],
)
def test_a_model_decides_between_keys(
    tmp_path: Path, environ: Mapping[str, str], model: str, choice: ProviderChoice
) -> None:
    assert choose(tmp_path, environ, llm_model=model) == choice


def test_the_beginning_of_a_name_is_no_proof_beside_a_key_of_a_host_of_others_models(tmp_path: Path) -> None:
    said = "both OPENAI_API_KEY and GROQ_API_KEY are set; choose one with --provider"
    assert refusal(tmp_path, {**OPENAI, **GROQ}, llm_model="gpt-99").message == said


@pytest.mark.parametrize("model", [CLAUDE, GPT, "qwen3", "my-model"])
@pytest.mark.parametrize("environ", [SERVER, {**OPENAI, **SERVER}, {**SERVER, "CI": "1"}])
def test_a_server_of_the_users_own_takes_any_model(tmp_path: Path, environ: Mapping[str, str], model: str) -> None:
    by = "key OPENAI_API_KEY" if "OPENAI_API_KEY" in environ else "address OPENAI_BASE_URL"
    assert choose(tmp_path, environ, llm_model=model) == ProviderChoice("openai", model, by)


def test_a_key_for_the_maker_wins_over_a_server_of_another_format(tmp_path: Path) -> None:
    environ = {**OPENAI, **SERVER, **ANTHROPIC}
    assert choose(tmp_path, environ, llm_model=CLAUDE).provider == "anthropic"
    (tmp_path / "b").mkdir()
    assert choose(tmp_path / "b", environ, llm_model="my-model").provider == "openai"


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "https://eu.api.openai.com/v1"])
def test_the_makers_own_address_written_out_is_no_server_of_the_users_own(tmp_path: Path, url: str) -> None:
    error = refusal(tmp_path, {**OPENAI, "OPENAI_BASE_URL": url}, llm_model=CLAUDE)
    assert error.message.startswith("claude-sonnet-4-5 is Anthropic's; no key for it")


def test_an_ollama_that_has_the_model_answers_it_even_beside_a_key(tmp_path: Path) -> None:
    there = page({"models": [{"name": "qwen3:4b", "capabilities": ["tools"]}, {"name": "gpt-4o:latest"}]})
    with Host({"/api/tags": there}) as host:
        found = choose(tmp_path, {**OPENAI, "OLLAMA_HOST": host.url}, llm_model="qwen3:4b")
        assert found == ProviderChoice("ollama", "qwen3:4b", "Ollama on this host has the model")
        asked = len(host.heard)
        (tmp_path / "b").mkdir()
        assert choose(tmp_path / "b", {**OPENAI, "OLLAMA_HOST": host.url}, llm_model=GPT).provider == "openai"
        assert len(host.heard) == asked  # a key and the catalogue decide: nobody is asked


@pytest.mark.parametrize("name", ["config.toml", "environment"])
def test_a_model_in_a_stronger_place_overrules_the_provider_of_a_weaker_one(tmp_path: Path, name: str) -> None:
    desk = Desk(tmp_path)
    environ = {**NOBODY, **ANTHROPIC, **OPENAI}
    if name == "config.toml":
        desk.user_toml('llm_provider = "openai"\n')
    else:
        environ["LLM_PROVIDER"] = "openai"
    loaded = desk.load(environ, flags={"llm_model": CLAUDE})
    by = "the model is Anthropic's, key ANTHROPIC_API_KEY"
    assert resolve_provider(loaded) == ProviderChoice("anthropic", CLAUDE, by)
    assert resolve_provider(desk.load(environ, flags={"llm_model": "gpt-4o"})).provider == "openai"
    assert resolve_provider(desk.load(environ, flags={"llm_model": "my-finetune"})).provider == "openai"
    del environ["ANTHROPIC_API_KEY"]
    with pytest.raises(AuthFailed, match=r"claude-sonnet-4-5 is Anthropic's; no key for it"):
        resolve_provider(desk.load(environ, flags={"llm_model": CLAUDE}))


def test_a_model_in_a_weaker_place_than_the_provider_is_not_used_with_another_maker(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml(f'llm_model = "{CLAUDE}"\n')
    choice = resolve_provider(desk.load(OPENAI, flags={"llm_provider": "openai"}))
    assert (choice.provider, choice.model, choice.default_model) == ("openai", "gpt-4o-mini", True)
    assert choice.chosen_by.startswith("flag; claude-sonnet-4-5 (user config ")
    assert choice.chosen_by.endswith(") is another provider's and not used")
    assert resolve_provider(desk.load(ANTHROPIC, flags={"llm_provider": "anthropic"})).model == CLAUDE
    assert resolve_provider(desk.load({**OPENAI, **SERVER}, flags={"llm_provider": "openai"})).model == CLAUDE


@pytest.mark.parametrize("provider", ["ollama", "openrouter", "groq", "together_ai"])
def test_a_provider_of_others_models_in_a_file_is_not_overruled(tmp_path: Path, provider: str) -> None:
    desk = Desk(tmp_path)
    desk.user_toml(f'llm_provider = "{provider}"\n')
    keys = {**ANTHROPIC, **GROQ, "OPENROUTER_API_KEY": "sk-or-12345678"}
    assert resolve_provider(desk.load(keys, flags={"llm_model": CLAUDE})).provider == provider


@pytest.mark.parametrize("environ", [{}, OPENAI, {**OPENAI, **ANTHROPIC}])
def test_a_provider_and_a_model_of_another_maker_contradict(tmp_path: Path, environ: Mapping[str, str]) -> None:
    loaded = load(tmp_path, environ, llm_provider="openai", llm_model=CLAUDE)
    with pytest.raises(UsageError) as caught:
        facts_of(loaded)
    assert caught.value.message == "claude-sonnet-4-5 is Anthropic's, not OpenAI's"
    assert caught.value.hint == "use --provider anthropic --model claude-sonnet-4-5"


def test_a_provider_at_another_address_or_with_a_price_line_may_have_any_model(tmp_path: Path) -> None:
    loaded = load(tmp_path, {**OPENAI, **SERVER}, llm_provider="openai", llm_model=CLAUDE)
    assert facts_of(loaded).price is None
    (tmp_path / "b").mkdir()
    desk = Desk(tmp_path / "b")
    desk.user_toml(f'[prices."openai/{CLAUDE}"]\ninput = 1\noutput = 2\n')
    loaded = desk.load(OPENAI, flags={"llm_model": f"openai/{CLAUDE}"})
    assert facts_of(loaded).price is not None


def test_python_refuses_a_model_of_another_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("AGENTCTL_STATE_DIR", str(tmp_path / "state"))
    provider = create_llm_provider("openai", model=CLAUDE, api_key="sk-12345678")
    with pytest.raises(UsageError, match=r"claude-sonnet-4-5 is Anthropic's, not OpenAI's"):
        DockerAgent(llm_provider=provider, cost_tracker=CostTracker()).execute("List all containers")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-12345678")
    monkeypatch.setenv("LLM_MODEL", CLAUDE)
    with pytest.raises(AuthFailed, match=r"claude-sonnet-4-5 is Anthropic's; no key for it"):
        DockerAgent().execute("List all containers")


HEROKU, WANDB = {"HEROKU_API_KEY": "hr-12345678"}, {"WANDB_API_KEY": "wb-12345678"}
OPENROUTER = {"OPENROUTER_API_KEY": "sk-or-12345678"}
HEROKUS, OPEN = "claude-3-7-sonnet", "deepseek-ai/DeepSeek-V3.1"  # names that only a host of others' models lists


@pytest.mark.parametrize("environ", [ANTHROPIC, {**ANTHROPIC, **HEROKU}, {**ANTHROPIC, **OPENAI, **HEROKU}])
@pytest.mark.parametrize("model", [HEROKUS, "claude-3-5-sonnet-latest"])
def test_a_makers_name_that_only_another_host_lists_goes_to_the_maker(
    tmp_path: Path, environ: Mapping[str, str], model: str
) -> None:
    assert choose(tmp_path, environ, llm_model=model).provider == "anthropic"


@pytest.mark.parametrize("environ", [HEROKU, {**OPENAI, **HEROKU}])
def test_a_key_of_another_host_sends_no_makers_name_there_unasked(tmp_path: Path, environ: Mapping[str, str]) -> None:
    error = refusal(tmp_path, environ, llm_model=HEROKUS)
    assert error.message == f"{HEROKUS} is Anthropic's; no key for it: agentctl providers set-key anthropic"
    assert error.hint.startswith("or set ANTHROPIC_API_KEY; or add --provider heroku; ")
    named = load(tmp_path, environ, llm_provider="heroku", llm_model=HEROKUS)
    assert resolve_provider(named).provider == "heroku"


def test_a_key_for_other_uses_takes_no_run_from_a_host_of_others_models(tmp_path: Path) -> None:
    error = refusal(tmp_path, {**OPENROUTER, **WANDB}, llm_model=OPEN)
    assert error.status == "usage"
    assert error.message == f"{OPEN} is offered by wandb, and openrouter may have it, too; you have a key for each"
    assert error.hint == "add --provider openrouter to the run"
    by = "the model is offered by wandb, key WANDB_API_KEY"
    assert choose(tmp_path, {**OPENAI, **WANDB}, llm_model=OPEN) == ProviderChoice("wandb", OPEN, by)


@pytest.mark.parametrize("model", ["ft:gpt-4o:acme::7f3a", "ft:gpt-4o-2024-08-06:acme:x:7f3a"])
def test_a_model_fine_tuned_at_openai_is_openais(tmp_path: Path, model: str) -> None:
    assert choose(tmp_path, {**OPENAI, **ANTHROPIC}, llm_model=model).provider == "openai"
    assert refusal(tmp_path, ANTHROPIC, llm_model=model).message.startswith(f"{model} is OpenAI's; no key for it: ")


def test_a_makers_name_with_its_key_does_not_go_to_a_server_of_another_format(tmp_path: Path) -> None:
    server = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    assert choose(tmp_path, {**OPENAI, **server}, llm_model="gpt-99").provider == "openai"
    assert choose(tmp_path, server, llm_model="gpt-99").provider == "anthropic"
    error = refusal(tmp_path, {**OPENAI, **GROQ, **server}, llm_model="gpt-99")
    assert error.message.startswith("both OPENAI_API_KEY and GROQ_API_KEY are set")


def test_a_server_that_takes_any_model_is_what_decided_not_the_key(tmp_path: Path) -> None:
    choice = choose(tmp_path, {**OPENAI, **SERVER, **ANTHROPIC}, llm_model="qwen3")
    assert choice == ProviderChoice("openai", "qwen3", "address OPENAI_BASE_URL")


@pytest.mark.parametrize(
    ("environ", "model", "way"),
    [
        (OPENROUTER, "openai/gpt-4o", "--model openrouter/openai/gpt-4o"),
        (OPENROUTER, "gpt-4o", "--model openrouter/openai/gpt-4o"),
        (OPENROUTER, "anthropic/claude-sonnet-4.5", "--model openrouter/anthropic/claude-sonnet-4.5"),
        (OPENROUTER, CLAUDE, ""),  # OpenRouter spells it differently
        (GROQ, "openai/gpt-oss-120b", "--model groq/openai/gpt-oss-120b"),
        (GROQ, "openai/gpt-4o", ""),
    ],
)
def test_a_key_of_a_host_that_has_the_model_is_hinted_at(
    tmp_path: Path, environ: Mapping[str, str], model: str, way: str
) -> None:
    error = refusal(tmp_path, environ, llm_model=model)
    assert error.status == "auth"
    assert f"; or {way}" in error.hint if way else "--model" not in error.hint


def test_a_model_with_a_slash_beside_a_host_of_others_models_is_not_guessed(tmp_path: Path) -> None:
    environ = {**OPENAI, **OPENROUTER, "LLM_PROVIDER": "openrouter"}
    error = refusal(tmp_path, environ, llm_model="openai/gpt-4o")
    assert error.message == (
        "openai/gpt-4o (flag --model) may be OpenAI's, or the model of openrouter (environment LLM_PROVIDER)"
    )
    assert error.hint == "name it in full: --model openrouter/openai/gpt-4o, or --provider openai --model gpt-4o"
    pairs = [
        ({"llm_model": "openrouter/openai/gpt-4o"}, "openrouter", "openai/gpt-4o"),
        ({"llm_provider": "openai", "llm_model": "gpt-4o"}, "openai", "gpt-4o"),
        ({"llm_provider": "openrouter", "llm_model": "openai/gpt-4o"}, "openrouter", "openai/gpt-4o"),
        ({"llm_model": "x-ai/grok-4"}, "openrouter", "x-ai/grok-4"),
        ({"llm_model": "ollama/llama3.1"}, "ollama", "llama3.1"),
    ]
    for flags, provider, model in pairs:
        assert choose(tmp_path, environ, **flags)[:2] == (provider, model)
    desk = Desk(Path(mkdtemp(dir=tmp_path)))
    desk.user_toml('llm_provider = "openrouter"\n')
    environ = {**NOBODY, **OPENAI, **OPENROUTER, "LLM_MODEL": "openai/gpt-4o"}
    for provider in ("openai", "builtin", "openrouter"):
        assert resolve_provider(desk.load(environ, flags={"llm_provider": provider})).provider == provider
    assert choose(tmp_path, {**environ, "LLM_PROVIDER": "ollama"}, llm_model="openai/gpt-4o").provider == "openai"
    assert choose(tmp_path, {**environ, "LLM_PROVIDER": "openrouter"})[:2] == ("openrouter", "openai/gpt-4o")


def test_builtin_says_that_it_does_not_use_the_model_of_the_command_line(tmp_path: Path) -> None:
    choice = choose(tmp_path, {**OPENAI, "LLM_PROVIDER": "builtin"}, llm_model=GPT)
    assert choice.provider == "builtin"
    assert choice.chosen_by == "environment LLM_PROVIDER; it has no models, and gpt-4o (flag --model) is not used"
    assert choose(tmp_path, {"LLM_MODEL": GPT}, llm_provider="builtin").chosen_by == "flag"


def test_a_price_line_for_the_wrong_maker_does_not_move_the_model(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml(f'[prices."openai/{CLAUDE}"]\ninput = 3\noutput = 15\n')
    loaded = desk.load({**NOBODY, **OPENAI, **ANTHROPIC}, flags={"llm_model": CLAUDE})
    assert resolve_provider(loaded).provider == "anthropic"


def test_a_host_without_the_model_names_its_maker_beside_the_unknown_price() -> None:
    provider = create_llm_provider("groq", model=CLAUDE, api_key="gsk_12345678")
    assert provider.near() == "claude-sonnet-4-5 is Anthropic's: --provider anthropic."


def test_several_hosts_of_a_model_do_not_stop_the_list_of_providers(tmp_path: Path) -> None:
    keys = {**OPENAI, **WANDB, "TOGETHERAI_API_KEY": "tg-12345678"}
    loaded = load(tmp_path, keys, llm_model=OPEN)
    assert ollama_to_ask(loaded, catalogue_owners(loaded)) is None
    assert refusal(tmp_path, keys, llm_model=OPEN).status == "usage"


def test_nobody_is_asked_which_key_to_use_where_the_model_decides(tmp_path: Path) -> None:
    loaded = load(tmp_path, {**OPENAI, **ANTHROPIC}, llm_model=CLAUDE)
    assert competing_keys(loaded, catalogue_owners(loaded)) == {}
    assert competing_keys(loaded) == {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
    (tmp_path / "b").mkdir()
    unknown = load(tmp_path / "b", {**OPENAI, **ANTHROPIC}, llm_model="my-finetune")
    assert list(competing_keys(unknown, catalogue_owners(unknown))) == ["openai", "anthropic"]


def test_an_untrusted_file_with_the_key_is_named_as_the_cause(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.project_env("ANTHROPIC_API_KEY=sk-ant-12345678\n")
    with pytest.raises(AuthFailed) as caught:
        resolve_provider(desk.load({**NOBODY, **OPENAI}, flags={"llm_model": CLAUDE}))
    assert caught.value.hint.startswith("./.env has ANTHROPIC_API_KEY, but is not trusted: ")


def test_the_beginning_of_a_name_gives_its_maker_and_a_tag_does_not() -> None:
    assert [maker_of(name) for name in ("claude-x", "gpt-9", "GROK-9")] == ["anthropic", "openai", "xai"]
    assert [
        maker_of(name) for name in ("mistral:7b", "mistral", "x-claude", "a/gpt-9", "gpt-oss-9b", "gpt-9:1", "")
    ] == [None] * 7
    assert [maker for maker, beginnings in MAKERS.items() if maker_of(f"{beginnings[0]}-1") != maker] == []
