"""Providers of the user's own: what their tables may say, their keys, and who may define them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core.errors import AgentctlError, AuthFailed, UsageError
from agentctl.settings import choose_provider
from agentctl.settings.config_file import save_provider, save_value
from agentctl.settings.key_file import environment_key, save_key
from agentctl.settings.parsers import secret
from agentctl.settings.provider_lines import ProviderPath, parse_provider_path, provider_value
from agentctl.settings.trust_store import TrustStore
from tests.support.desk import Desk

LAB = '[providers.lab]\nkind = "openai"\nbase_url = "http://10.0.0.5:8080/v1/"\nprice = 0\nmodel = "qwen"\n'
KEY = "sk-lab-0123456789abcdef"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.user_toml(LAB)
    return desk


def test_a_table_defines_a_provider_with_all_of_its_parts(desk: Desk) -> None:
    desk.user_toml(
        LAB + 'timeout = "2h"\nllm_timeout = "5m"\ncontext_window = 8192\noutput_ceiling = 2048\n'
        'api_key_env = "MY_KEY"\n[providers.far-2]\nkind = "anthropic"\nbase_url = "https://gw.example.com/v1"\n'
        "price = { input = 0.15, output = 0.6 }\n[providers.own]\nkind = 'ollama'\nbase_url = 'gpu-box:11434'\n"
    )
    found = desk.load({"MY_KEY": KEY}).settings.providers
    lab, far, own = found["lab"], found["far-2"], found["own"]
    assert (lab.kind, lab.base_url, lab.model, lab.timeout, lab.llm_timeout) == (
        "openai", "http://10.0.0.5:8080/v1", "qwen", 7200.0, 300.0,
    )  # fmt: skip
    assert (lab.price.input, lab.price.output, lab.context_window, lab.output_ceiling) == (0, 0, 8192, 2048)
    assert (lab.key.get_secret_value(), lab.key_variable, lab.needs_key) == (KEY, "MY_KEY", True)
    assert (far.base_url, far.price.output, far.key_name) == (
        "https://gw.example.com", Decimal("0.6"), "FAR_2_API_KEY",
    )  # fmt: skip
    assert (own.base_url, own.price) == ("http://gpu-box:11434", None)


WRONG = {
    "a built-in name": ('[providers.openai]\nbase_url = "http://h/v1"', "openai is a built-in provider", "my-openai"),
    "a name that only litellm has": ('[providers.azure]\nbase_url = "http://h"', "azure is a built-in provider", ""),
    "capitals": ('[providers.Lab]\nbase_url = "http://h/v1"', "cannot be a provider's name", 'did you mean "lab"?'),
    "an underscore": ('[providers.my_lab]\nbase_url = "http://h"', "cannot be a provider's name", '"my-lab"'),
    "a digit first": ('[providers.4090]\nbase_url = "http://h"', "cannot be a provider's name", ""),
    "no address": ("[providers.x]\nprice = 0", "providers.x has no base_url", "config set providers.x.base_url"),
    "no http": ('[providers.x]\nbase_url = "ftp://h"', 'base_url cannot be "ftp://h"', ""),
    "another kind": ('[providers.x]\nbase_url = "http://h"\nkind = "vllm"', 'kind cannot be "vllm"', ""),
    "a typing error": ('[providers.x]\nbase_ulr = "http://h"', "unknown setting providers.x.base_ulr", '"base_url"'),
    "another word": ('[providers.x]\nurl = "http://h"', "unknown setting providers.x.url", '"base_url"'),
    "a key": ('[providers.x]\nbase_url = "http://h"\napi_key = "sk-secret-1"', "keys do not belong", "set-key x"),
    "a key as variable": ('[providers.x]\nbase_url = "http://h"\napi_key_env = "sk-secret-1"', "environment", ""),
    "a price in dollars": ('[providers.x]\nbase_url = "http://h"\nprice = 3', 'price cannot be "3"', "price input=USD"),
    "half a price": ('[providers.x]\nbase_url = "http://h"\nprice = {input = 1}', "price has no output", "output"),
    "a price per token": (
        '[providers.x]\nbase_url = "http://h"\nprice = {input = 0.0000015, output = 1}', "price.input cannot", "1.5",
    ),
    "a setting below the header": (
        '[providers.x]\nbase_url = "http://h"\nmax_turns = 3', "unknown setting providers.x.max_turns", "above",
    ),
    "no table": ("[providers]\nx = 3", "providers.x is not a table", ""),
    "a wrong time": ('[providers.x]\nbase_url = "http://h"\ntimeout = 0', "providers.x.timeout cannot be", ""),
    "a key that litellm reads": ('[providers.google]\nbase_url = "http://h"', "is the key of gemini", "api_key_env"),
    "a key with our prefix": (
        '[providers.agentctl-openai]\nbase_url = "http://h"', "is the key of openai", "api_key_env",
    ),
    "the key of another": ('[providers.togetherai]\nbase_url = "http://h"', "is the key of together_ai", "api_key_env"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_is_named_with_its_line_and_a_hint(desk: Desk, name: str) -> None:
    text, said, hint = WRONG[name]
    desk.user_toml(text + "\n")
    (problem,) = desk.check().problems
    assert said in problem
    assert hint in problem
    assert "config.toml line " in problem
    assert "sk-secret" not in problem
    assert "move timeout" not in problem, "it belongs there"


def test_a_wrong_table_stops_only_runs_of_that_provider(desk: Desk) -> None:
    desk.user_toml(LAB + '[providers.bad]\nkind = "openai"\n')
    assert choose_provider(desk.load(flags={"llm_provider": "lab"}), owners_of=lambda _: ()).provider == "lab"
    with pytest.raises(UsageError, match=r"providers\.bad has no base_url"):
        choose_provider(desk.load(flags={"llm_provider": "bad"}), owners_of=lambda _: ())
    assert choose_provider(desk.load(flags={"llm_provider": "builtin"})).provider == "builtin"


def test_a_built_in_name_stops_every_run_of_a_model(desk: Desk) -> None:
    desk.user_toml(LAB + '[providers.openai]\nbase_url = "http://h/v1"\n')
    with pytest.raises(UsageError, match="openai is a built-in provider"):
        desk.load(flags={"llm_provider": "lab"}).refuse_wrong("provider lab", "model")


@pytest.mark.parametrize(
    ("environ", "flags", "pair"),
    [
        ({"LLM_PROVIDER": "lab"}, {}, ("lab", "qwen")),
        ({"LLM_PROVIDER": "LAB"}, {"llm_model": "other"}, ("lab", "other")),
        ({}, {"llm_model": "lab/org/name"}, ("lab", "org/name")),
        ({"LLM_MODEL": "lab/a"}, {"llm_provider": "lab"}, ("lab", "a")),
        ({"OPENAI_API_KEY": "sk-openai-012345678"}, {"llm_model": "lab/gpt-4o"}, ("lab", "gpt-4o")),
        ({}, {"llm_provider": "lab", "llm_model": "openai/gpt-oss"}, ("lab", "openai/gpt-oss")),
    ],
)
def test_a_name_chooses_the_provider_and_its_model(
    desk: Desk, environ: dict[str, str], flags: dict[str, object], pair: tuple[str, str]
) -> None:
    loaded = desk.load(environ, flags=flags)
    assert loaded.notes == ()
    assert choose_provider(loaded, owners_of=lambda _: ())[:2] == pair


def test_no_provider_of_the_users_own_is_chosen_by_itself(desk: Desk) -> None:
    assert choose_provider(desk.load({"LAB_API_KEY": KEY})).provider == "builtin"


def test_a_misspelled_name_gets_the_nearest_one(desk: Desk) -> None:
    refused = desk.refusal(flags={"llm_provider": "labb"})
    assert 'did you mean "lab"?' in refused.message
    assert "one of lab, builtin" in refused.message


def test_two_providers_at_once_are_refused(desk: Desk) -> None:
    refused = desk.refusal(flags={"llm_provider": "openai", "llm_model": "lab/qwen"})
    assert refused.message.startswith("two providers are named at once: openai (flag")


def test_a_slashed_model_beside_an_own_provider_is_ambiguous(desk: Desk) -> None:
    refused = desk.refusal({"LLM_PROVIDER": "lab"}, flags={"llm_model": "openai/gpt-oss-20b"})
    assert "may be OpenAI's, or the model of lab" in refused.message
    assert "--model lab/openai/gpt-oss-20b" in refused.hint


@pytest.mark.parametrize("model", ["lab", "LAB", "lab/"])
def test_the_name_of_a_provider_as_the_model_is_answered_with_its_flag(desk: Desk, model: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_provider(desk.load(flags={"llm_model": model}))
    assert caught.value.hint.startswith("add --provider lab to the run")


def test_a_name_that_a_server_made_up_cannot_run_a_command_when_the_hint_is_pasted(desk: Desk) -> None:
    desk.user_toml(LAB.replace('model = "qwen"\n', ""))
    with pytest.raises(UsageError) as caught:
        choose_provider(desk.load(flags={"llm_provider": "lab"}), served=("$(id)", "b"))
    assert "add --model lab/'$(id)'" in caught.value.hint
    assert "providers.lab.model '$(id)'" in caught.value.hint


def test_without_a_model_the_only_one_that_the_server_lists_is_used(desk: Desk) -> None:
    desk.user_toml(LAB.replace('model = "qwen"\n', ""))
    loaded = desk.load(flags={"llm_provider": "lab"})
    assert choose_provider(loaded, served=("only",)) == ("lab", "only", "flag; its only model", True)
    with pytest.raises(UsageError, match="has no default model") as caught:
        choose_provider(loaded, served=("a", "b"))
    assert "it has: a, b" in caught.value.hint
    assert "--model lab/a" in caught.value.hint


def test_a_key_comes_from_the_environment_or_the_users_env_and_is_redacted(desk: Desk) -> None:
    desk.user_env(f"LAB_API_KEY={KEY}\n")
    loaded = desk.load()
    assert (loaded.notes, loaded.settings.key_of("lab")) == ((), secret(KEY))
    assert KEY in loaded.secrets
    assert KEY not in repr(loaded)
    stronger = desk.load({"AGENTCTL_LAB_API_KEY": "sk-env-0123456789"})
    assert (stronger.notes, stronger.settings.providers["lab"].key_source) == (
        (), "environment AGENTCTL_LAB_API_KEY",
    )  # fmt: skip


def test_no_key_of_another_provider_is_taken(desk: Desk) -> None:
    loaded = desk.load({"OPENAI_API_KEY": "sk-openai-012345678", "AGENTCTL_OPENAI_API_KEY": "sk-openai-012345678"})
    assert loaded.settings.key_of("lab") is None


@pytest.mark.parametrize(
    ("line", "environ", "said"),
    [
        ('api_key_env = "MY_KEY"', {}, "needs a key, and MY_KEY is not set"),
        ('api_key_env = "MY_KEY"', {"MY_KEY": " "}, "needs a key, and MY_KEY is set but empty"),
        ("", {"LAB_API_KEY": ""}, "needs a key, and LAB_API_KEY is set but empty"),
    ],
)
def test_a_missing_key_that_the_table_names_ends_the_run(
    desk: Desk, line: str, environ: dict[str, str], said: str
) -> None:
    desk.user_toml(LAB + line + "\n")
    with pytest.raises(AuthFailed, match=said) as caught:
        choose_provider(desk.load(environ, flags={"llm_provider": "lab"}))
    assert caught.value.hint.startswith("agentctl providers set-key lab")


def test_an_unusable_key_stops_runs_of_that_provider_without_being_shown(desk: Desk) -> None:
    loaded = desk.load({"LAB_API_KEY": "sk with blanks", "LLM_PROVIDER": "lab"})
    with pytest.raises(AgentctlError, match="LAB_API_KEY") as caught:
        choose_provider(loaded)
    assert "sk with" not in caught.value.message


@pytest.mark.parametrize("trusted", [False, True])
def test_no_file_of_a_project_defines_a_provider(desk: Desk, trusted: bool) -> None:
    desk.user_toml("")
    desk.project_toml(LAB)
    if trusted:
        trust(desk, ".agentctl.toml")
    loaded = desk.load()
    assert dict(loaded.settings.providers) == {}
    (note,) = loaded.notes
    said = (
        "./.agentctl.toml has providers, which no project file can set" if trusted else "so this was ignored: providers"
    )
    assert said in note
    assert not loaded.offers
    assert "--config" not in note, "no command to paste hands the run to that server"
    assert trusted or note.endswith(
        "To use it: copy the lines to your own config.toml, if you trust that server with your tasks and files"
    )
    assert desk.refusal(flags={"llm_provider": "lab"}).message.startswith('llm_provider cannot be "lab"')


def test_a_project_file_cannot_redirect_a_provider_of_the_user(desk: Desk) -> None:
    desk.project_toml(LAB.replace("10.0.0.5", "evil.example.com"))
    assert desk.load().settings.providers["lab"].base_url == "http://10.0.0.5:8080/v1"
    trust(desk, ".agentctl.toml")
    assert desk.load().settings.providers["lab"].base_url == "http://10.0.0.5:8080/v1"


def test_a_trusted_project_file_may_name_a_provider_of_the_user(desk: Desk) -> None:
    desk.project_toml('llm_provider = "lab"\n')
    assert desk.load().offers, "it can be trusted"
    trust(desk, ".agentctl.toml")
    loaded = desk.load()
    assert (loaded.notes, loaded.settings.llm_provider) == ((), "lab")


def test_another_config_file_defines_other_providers(desk: Desk) -> None:
    desk.file("other.toml", LAB.replace("lab", "box"))
    assert set(desk.load(config="other.toml").settings.providers) == {"box"}


def test_its_time_outs_apply_unless_a_stronger_source_or_a_project_sets_them(desk: Desk) -> None:
    desk.user_toml('timeout = "20m"\n' + LAB + 'timeout = "2h"\nllm_timeout = "5m"\n')

    def limits(name: str, **environ: str) -> tuple[float, float]:
        settings = desk.load(environ).for_provider(name).settings
        return settings.timeout, settings.llm_timeout

    assert limits("lab") == (7200.0, 300.0)
    assert limits("openai") == (1200.0, 60.0)
    assert limits("lab", AGENTCTL_LLM_TIMEOUT="10s") == (7200.0, 10.0)
    desk.project_toml('timeout = "1m"\n')
    assert limits("lab") == (60.0, 300.0)


def test_its_price_is_that_of_all_its_models(desk: Desk) -> None:
    desk.user_toml(LAB + '[prices]\n"lab/dear" = { input = 1, output = 2 }\n')
    lines = desk.load().settings.price_lines
    assert set(lines) == {"lab/*", "lab/dear"}
    assert lines["lab/*"].input == 0
    assert set(desk.load().settings.prices) == {"lab/dear"}


def test_its_parts_are_set_one_by_one_and_read_back(desk: Desk) -> None:
    file = desk.user_toml("# mine\nmax_turns = 5\n\n[prices]\n")

    def put(name: str, *words: str) -> tuple[bool, int]:
        changed, missing = save_provider(file, path_of(name), words)
        return changed, len(missing)

    assert put("providers.lab.price", "0") == (True, 1)
    assert put("providers.lab.base_url", "http://10.0.0.5:8080/v1") == (True, 0)
    assert put("providers.lab.base_url", "http://10.0.0.5:8080/v1") == (False, 0)
    assert put("providers.lab.context_window", "8192") == (True, 0)
    assert put("providers.lab.llm_timeout", "5m") == (True, 0)
    assert put("providers.lab.price", "input=0.15", "output=0.60") == (True, 0)
    assert put("providers.lab.price.output", "0.7") == (True, 0)
    assert file.read_text().startswith("# mine\nmax_turns = 5\n\n[prices]\n")
    settings = desk.load().settings
    lab = settings.providers["lab"]
    assert (lab.price.output, lab.context_window, lab.llm_timeout) == (Decimal("0.7"), 8192, 300.0)
    values = {"base_url": "http://10.0.0.5:8080/v1", "kind": "openai", "llm_timeout": "300", "model": ""}
    for part, value in values.items():
        assert provider_value(settings.providers, path_of(f"providers.lab.{part}")) == value
    assert put("providers.lab.llm_timeout") == (True, 0)
    assert put("providers.lab") == (True, 0)
    assert dict(desk.load().settings.providers) == {}


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("providers.lab.kind", ("vllm",), 'did you mean "openai"?; nothing was changed'),
        ("providers.lab.modle", ("x",), "providers.lab has no modle"),
        ("providers.openai.base_url", ("http://h",), "openai is a built-in provider"),
        ("providers.lab", ("x",), "providers.lab is a table"),
        ("providers.lab.model", ("a", "b"), "takes one value"),
        ("providers.lab.api_key", ("sk-secret-1",), "keys do not belong in config.toml"),
        ("providers.lab.api_key_env", ("sk-secret-1",), "nothing was changed"),
        ("providers.", ("x",), "does not name a provider"),
    ],
)
def test_a_wrong_change_leaves_the_file_as_it_was(desk: Desk, name: str, words: tuple[str, ...], said: str) -> None:
    file = desk.user_toml(LAB)
    with pytest.raises(UsageError) as caught:
        save_provider(file, path_of(name), words)
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert "sk-secret" not in f"{caught.value.message} {caught.value.hint}"
    assert file.read_text() == LAB


def test_config_set_takes_the_name_of_an_own_provider(desk: Desk) -> None:
    file = desk.user_toml(LAB)
    assert save_value(file, "llm_provider", ["lab"])
    assert desk.load().settings.llm_provider == "lab"
    with pytest.raises(UsageError, match='did you mean "lab"'):
        save_value(file, "llm_provider", ["labb"])


def test_its_key_is_saved_in_the_users_env_and_removed(desk: Desk) -> None:
    file = desk.user_env("# keys\nOPENAI_API_KEY=sk-openai-012345678\n")
    assert save_key(file, "lab", secret(KEY), variable="LAB_API_KEY")
    assert file.read_text() == f"# keys\nOPENAI_API_KEY=sk-openai-012345678\nLAB_API_KEY={KEY}\n"
    assert desk.load().settings.key_of("lab") == secret(KEY)
    assert environment_key("lab", KEY, {"LAB_API_KEY": "sk-other"}, variable="LAB_API_KEY").wins == "LAB_API_KEY"
    assert environment_key("lab", KEY, {"LAB_API_KEY": ""}, variable="LAB_API_KEY").empty == "LAB_API_KEY"
    assert save_key(file, "lab", None, variable="LAB_API_KEY")
    assert file.read_text() == "# keys\nOPENAI_API_KEY=sk-openai-012345678\n"


def path_of(name: str) -> ProviderPath:
    found = parse_provider_path(name)
    assert found is not None
    return found


def trust(desk: Desk, name: str) -> None:
    from agentctl.settings.untrusted_files import read_project_file

    file = read_project_file(desk.cwd / name)
    assert file is not None
    TrustStore(desk.state).grant([file], now=datetime(2026, 11, 29, tzinfo=UTC))
