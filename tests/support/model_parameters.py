"""Write ``model_parameters.json`` from litellm's own answers; ``--check`` only compares.

Each family is a pattern of names. The script asks litellm for every chat model of the catalogue and for some invented
names, and refuses to write a family whose models do not answer alike.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import Any, NamedTuple

import anyio

from agentctl.providers import litellm_loader
from agentctl.providers.catalog import load_catalog
from agentctl.providers.wires.model_parameters import FILE

PROVIDERS = ("openai", "azure")
#: Families in the order in which they are looked up; models of no family take everything.
PATTERNS = (
    *("gpt-5-chat*", "gpt-5-search*", "gpt-5.1-chat*", "gpt-5.2-chat*", "gpt-5.3-chat*"),
    *("gpt-5.1*", "gpt-5.2*", "gpt-5.4*", "*gpt-5*", "gpt-6*", "o1-mini*", "o1-preview*", "o1*", "o3*", "o4-mini*"),
    "ft:o4-mini*",
)
#: Names that no catalogue has, and that must answer as their family does.
INVENTED = (
    *("gpt-5-x", "gpt-5.9-zeta", "gpt-6", "gpt-6-mini", "o1", "o1-mini", "o1-preview", "o1-pro", "o3-pro"),
    *("gpt-5-chat-latest", "gpt-5-codex", "gpt-4o-x", "gpt-oss-120b", "my-model", "ft:gpt-5-mini:org"),
)
_TRIED: dict[str, object] = {"temperature": 0.0, "top_p": 0.5, "service_tier": "default", "stop": ["x"]}


class Answer(NamedTuple):
    """What litellm says of a model."""

    clamp_name: str
    system_role: str
    refused: tuple[str, ...]


def chat_models_of_openai() -> tuple[str, ...]:
    """Return OpenAI's models without those that speak only the Responses format."""
    catalog = load_catalog()
    return tuple(name for name in catalog.models("openai") if catalog.facts("openai", name).responses != "only")


def names_of(provider: str) -> tuple[str, ...]:
    """Return the chat models that the script asks for; names with a region are of prices only."""
    own = () if provider == "openai" else load_catalog().models(provider)
    known = (*own, *chat_models_of_openai(), *INVENTED)
    return tuple(dict.fromkeys(name for name in known if "/" not in name))


def ask(litellm: Any, provider: str, model: str) -> Answer:  # noqa: ANN401 - litellm's
    """Return litellm's answer for one model."""
    from litellm.types.utils import LlmProviders
    from litellm.utils import ProviderConfigManager, get_optional_params

    def options(**asked: Any) -> dict[str, Any]:  # noqa: ANN401
        return dict(get_optional_params(model=model, custom_llm_provider=provider, **asked))

    def takes(name: str, value: object) -> bool:
        with suppress(litellm.UnsupportedParamsError):
            return name in options(**{name: value})
        return False

    clamp_name = next(name for name in ("max_tokens", "max_completion_tokens") if name in options(max_tokens=7))
    config = ProviderConfigManager.get_provider_chat_config(model, LlmProviders(provider))
    said = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    body = config.transform_request(model=model, messages=said, optional_params={}, litellm_params={}, headers={})
    refused = tuple(sorted(name for name, value in _TRIED.items() if not takes(name, value)))
    return Answer(clamp_name, body["messages"][0]["role"], refused)


def families(litellm: Any, provider: str) -> Iterator[dict[str, object]]:  # noqa: ANN401 - litellm's
    """Yield the rows of a provider.

    Raises:
        ValueError: two models of a family do not answer alike.
    """
    said: dict[str, dict[Answer, list[str]]] = {}
    for name in names_of(provider):
        pattern = next((one for one in (*PATTERNS, "*") if fnmatchcase(name, one)), "*")
        said.setdefault(pattern, {}).setdefault(ask(litellm, provider, name), []).append(name)
    for pattern in (one for one in (*PATTERNS, "*") if one in said):
        if len(said[pattern]) != 1:
            raise ValueError(f"{provider}: the models of {pattern} do not answer alike: {said[pattern]}")
        (answer,) = said[pattern]
        yield {"provider": provider, "models": [pattern], **answer._asdict()}


async def document() -> str:
    """Return the text of the file by the installed litellm."""
    litellm = await litellm_loader.wait_for_litellm()
    rows = [row for provider in PROVIDERS for row in families(litellm, provider)]
    return json.dumps({"litellm": version("litellm"), "families": rows}, indent=1) + "\n"


def main() -> int:
    """Write the file, or compare it."""
    text = anyio.run(document)
    if "--check" in sys.argv:
        same = FILE.read_text() == text
        print("the file is as litellm answers" if same else "litellm answers otherwise: write the file again")
        return 0 if same else 1
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
