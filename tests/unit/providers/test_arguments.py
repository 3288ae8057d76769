"""Key and address given to a provider in Python: refused in the words of the command line, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider, create_llm_provider
from agentctl.providers.llm_provider import LLMProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.settings import Settings
from tests.support.desk import Desk

MAKE: dict[str, Callable[..., LLMProvider]] = {
    "create_llm_provider": lambda **given: create_llm_provider("openai", "gpt-4o", settings=Settings(), **given),
    "OpenAIProvider": lambda **given: OpenAIProvider("gpt-4o", **given),
    "RemoteProvider": lambda **given: RemoteProvider("openai", "gpt-4o", **given),
}


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("key", ["sk-…", "sk x", "sk-a\nX-Evil: 1", "sk-\x7f", "sk-é"])
def test_key_that_no_header_can_carry_is_refused_as_on_the_command_line(tmp_path: Path, make: str, key: str) -> None:
    typed = Desk(tmp_path).check({"OPENAI_API_KEY": key}).problems
    with pytest.raises(UsageError) as caught:
        MAKE[make](api_key=key)
    assert [caught.value.message.replace("(argument api_key)", "(environment OPENAI_API_KEY)")] == list(typed)
    assert key not in caught.value.message


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize(
    "url", ["nowhere", "ftp://host/v1", "http://host:0/v1", "http://a b/v1", "https://host/v1?x=1"]
)
def test_address_that_is_none_is_refused_as_on_the_command_line(tmp_path: Path, make: str, url: str) -> None:
    typed = Desk(tmp_path).check({"OPENAI_BASE_URL": url}).problems
    with pytest.raises(UsageError) as caught:
        MAKE[make](api_key="sk-right", base_url=url)
    assert [caught.value.message.replace("(argument base_url)", "(environment OPENAI_BASE_URL)")] == list(typed)


def test_blanks_around_a_key_are_not_part_of_it() -> None:
    same = OpenAIProvider("gpt-4o", api_key=" sk-right\n")
    assert same._error_context().key == "sk-right"


def test_each_provider_names_its_own_argument() -> None:
    with pytest.raises(UsageError, match=r"anthropic_api_key \(argument api_key\) cannot be used"):
        AnthropicProvider("claude-haiku-4-5", api_key="sk-ant-…")
    with pytest.raises(UsageError, match=r'ollama_host cannot be "a b" \(argument base_url\)'):
        OllamaProvider("llama3.1", base_url="a b")
    assert OllamaProvider("llama3.1", base_url="box").facts.base_url == "http://box:11434"


def test_password_of_a_wrong_address_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        OpenAIProvider("gpt-4o", api_key="sk-right", base_url="ftp://me:hidden@host/v1")
    assert "hidden" not in caught.value.message
