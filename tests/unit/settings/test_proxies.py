"""A proxy is taken from the user's environment as other tools take it, and never for this host."""

from __future__ import annotations

import pytest

from agentctl.settings.host import proxy_for

API = "https://api.openai.com/v1"

CASES = {
    "none": ({}, API, None),
    "https": ({"HTTPS_PROXY": "http://proxy:3128"}, API, "http://proxy:3128"),
    "the small spelling first": ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, API, "http://b:2"),
    "without a scheme": ({"HTTPS_PROXY": "proxy:3128"}, API, "http://proxy:3128"),
    "for all": ({"ALL_PROXY": "http://proxy:3128"}, API, "http://proxy:3128"),
    "of another scheme": ({"HTTP_PROXY": "http://proxy:3128"}, API, None),
    "http": ({"http_proxy": "http://proxy:3128"}, "http://gateway.example/v1", "http://proxy:3128"),
    "exempt": ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com, api.openai.com"}, API, None),
    "in an exempt domain": ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".openai.com"}, API, None),
    "everything exempt": ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, API, None),
    "not in the domain": ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "ai.com"}, API, "http://p:1"),
    "empty": ({"HTTPS_PROXY": "  "}, API, None),
    "this host": ({"HTTP_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"}, "http://127.0.0.1:8000/v1", None),
    "localhost": ({"HTTP_PROXY": "http://p:1"}, "http://localhost:8000/v1", None),
}


@pytest.mark.parametrize("case", CASES)
def test_proxy_is_chosen_by_address_and_environment(case: str) -> None:
    environ, url, expected = CASES[case]
    assert proxy_for(url, environ) == expected
