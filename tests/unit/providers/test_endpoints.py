"""The address of each provider, and which addresses are official."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from agentctl.providers.endpoints import BASE_URLS, address_of, base_url_of, is_official, is_own_host
from agentctl.settings import KNOWN_PROVIDERS, load_settings


@pytest.mark.parametrize(
    ("provider", "environ", "url"),
    [
        ("openai", {}, "https://api.openai.com/v1"),
        ("openai", {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1/"}, "http://127.0.0.1:8000/v1"),
        ("openai", {"OPENAI_API_BASE": "http://box:1234"}, "http://box:1234"),
        ("anthropic", {}, "https://api.anthropic.com"),
        ("anthropic", {"ANTHROPIC_BASE_URL": "https://proxy.example/v1/"}, "https://proxy.example"),
        ("anthropic", {"ANTHROPIC_BASE_URL": "https://proxy.example/claude"}, "https://proxy.example/claude"),
        ("ollama", {}, "http://127.0.0.1:11434"),
        ("ollama", {"OLLAMA_HOST": "box"}, "http://box:11434"),
        ("groq", {"OPENAI_BASE_URL": "http://box:1234"}, "https://api.groq.com/openai/v1"),
        ("builtin", {}, ""),
        ("cohere", {}, ""),
    ],
)
def test_a_request_goes_to_the_users_address_or_to_the_providers_own(
    provider: str, environ: Mapping[str, str], url: str
) -> None:
    assert base_url_of(load_settings(flags={}, environ=environ, remember=False).settings, provider) == url


def test_every_known_provider_but_builtin_has_an_address() -> None:
    assert set(BASE_URLS) == set(KNOWN_PROVIDERS) - {"builtin"}
    assert all(is_official(provider, url) for provider, url in BASE_URLS.items())


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:99/x", True),
        ("http://LOCALHOST:1", True),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://127.0.0.1@evil.example", False),
        ("http://evil.example\\@127.0.0.1/", False),
        ("http://192.168.1.7:11434", False),
        ("http://0.0.0.0:11434", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_own_host_is_recognized_by_the_address_alone(url: str, own: bool) -> None:
    assert (is_own_host(url), is_official("ollama", url)) == (own, own)


@pytest.mark.parametrize(
    ("url", "official"),
    [
        ("https://api.openai.com/v1", True),
        ("https://API.OpenAI.com:443/v1", True),
        ("https://api.openai.com", True),
        ("http://api.openai.com/v1", False),
        ("https://api.openai.com:8443/v1", False),
        ("https://api.openai.com.evil.example/v1", False),
        ("https://api.openai.com@evil.example/v1", False),
        ("https://evil.example\\@api.openai.com/v1", False),
        ("https://api.anthropic.com", False),
        ("", False),
    ],
)
def test_an_address_is_the_providers_own_only_by_host_and_tls(url: str, official: bool) -> None:
    assert is_official("openai", url) is official


def test_provider_without_an_address_has_no_official_one() -> None:
    assert not is_official("builtin", "")
    assert not is_official("cohere", "https://api.cohere.com")


@pytest.mark.parametrize(
    ("provider", "url", "address"),
    [
        ("openai", "", ""),
        ("openai", "https://api.openai.com/v1", ""),
        ("openai", "https://API.OpenAI.com:443/v1/", ""),
        ("openai", "https://me:secret@api.openai.com/v1", ""),
        ("openai", "http://api.openai.com/v1", "http://api.openai.com/v1"),
        ("openai", "https://api.openai.com@evil.example/v1", "https://evil.example/v1"),
        ("openai", "HTTP://Box:80/v1/", "http://box/v1"),
        ("openai", "https://box:443", "https://box"),
        ("openai", "http://box:443/v1", "http://box:443/v1"),
        ("openai", "http://box/team-a/v1//", "http://box/team-a/v1"),
        ("openai", "http://me:secret@box:4000/v1?key=secret#secret", "http://box:4000/v1"),
        ("openai", "http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("openai", "http://evil.example\\@api.openai.com/v1", "?"),
        ("openai", "http://[::1", "?"),
        ("openai", "http://box:99999/v1", "?"),
        ("openai", "box:4000/v1", "?"),
        ("anthropic", "https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("ollama", "http://127.0.0.1:11434", ""),
        ("ollama", "http://localhost:11434/", ""),
        ("ollama", "http://127.0.0.1:11435", "http://127.0.0.1:11435"),
        ("ollama", "http://box:11434", "http://box:11434"),
        ("cohere", "https://api.cohere.com", "https://api.cohere.com"),
    ],
)
def test_address_is_normalised_without_credentials_and_none_for_the_official_one(
    provider: str, url: str, address: str
) -> None:
    assert address_of(provider, url) == address


def test_every_official_address_is_the_providers_own() -> None:
    assert {address_of(provider, url) for provider, url in BASE_URLS.items()} == {""}
