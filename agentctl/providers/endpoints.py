"""The address of each provider: which one a request uses, which ones are its own, how screens name it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from agentctl.core.errors import AgentctlError, AuthFailed, UsageError
from agentctl.core.pricing import ModelFacts
from agentctl.settings import Settings
from agentctl.settings.host import is_loopback, other_provider_key, other_provider_url
from agentctl.settings.names import KEY_NAMES
from agentctl.settings.provider_names import other_key_name, other_url_name, title_of

#: The address of a provider unless a setting names another one; its paths are appended.
BASE_URLS: Mapping[str, str] = MappingProxyType(
    {
        "ollama": "http://127.0.0.1:11434",
        "openai": "https://api.openai.com/v1",
        "anthropic": "https://api.anthropic.com",
        "gemini": "https://generativelanguage.googleapis.com/v1beta",
        "mistral": "https://api.mistral.ai/v1",
        "groq": "https://api.groq.com/openai/v1",
        "deepseek": "https://api.deepseek.com",
        "openrouter": "https://openrouter.ai/api/v1",
    }
)

#: The addresses of further providers, where the lean client finds them; a test compares them with litellm's own.
HOSTED_URLS: Mapping[str, str] = MappingProxyType(
    {
        "baseten": "https://inference.baseten.co/v1",
        "cerebras": "https://api.cerebras.ai/v1",
        "codestral": "https://codestral.mistral.ai/v1",
        "cometapi": "https://api.cometapi.com/v1",
        "compactifai": "https://api.compactif.ai/v1",
        "dashscope": "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "deepinfra": "https://api.deepinfra.com/v1/openai",
        "edenai": "https://api.edenai.run/v3",
        "empower": "https://app.empower.dev/api/v1",
        "fireworks_ai": "https://api.fireworks.ai/inference/v1",
        "friendliai": "https://api.friendli.ai/serverless/v1",
        "galadriel": "https://api.galadriel.com/v1",
        "github": "https://models.inference.ai.azure.com",
        "hyperbolic": "https://api.hyperbolic.xyz/v1",
        "inception": "https://api.inceptionlabs.ai/v1",
        "lambda_ai": "https://api.lambda.ai/v1",
        "lemonade": "http://localhost:8000/api/v1",
        "llamafile": "http://127.0.0.1:8080/v1",
        "meta_llama": "https://api.llama.com/compat/v1",
        "minimax": "https://api.minimax.io/v1",
        "modelscope": "https://api-inference.modelscope.cn/v1",
        "moonshot": "https://api.moonshot.ai/v1",
        "nebius": "https://api.studio.nebius.ai/v1",
        "novita": "https://api.novita.ai/v3/openai",
        "nvidia_nim": "https://integrate.api.nvidia.com/v1",
        "ovhcloud": "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
        "sail": "https://api.sailresearch.com/v1",
        "tencent": "https://tokenhub-intl.tencentcloudmaas.com/v1",
        "together_ai": "https://api.together.ai/v1",
        "vercel_ai_gateway": "https://ai-gateway.vercel.sh/v1",
        "volcengine": "https://ark.cn-beijing.volces.com/api/v3",
        "wandb": "https://api.inference.wandb.ai/v1",
        "xai": "https://api.x.ai/v1",
        "zai": "https://api.z.ai/api/paas/v4",
    }
)

#: Providers on the user's own machine or network, which need no key.
KEYLESS = frozenset({"custom_openai", "hosted_vllm", "lemonade", "llamafile", "lm_studio", "ollama"})

_DEFAULT_PORTS: Mapping[str, int] = MappingProxyType({"http": 80, "https": 443})


def base_url_of(settings: Settings, provider: str) -> str:
    """Return the address for requests to ``provider``, without a trailing slash; "" if it has none.

    Anthropic's paths begin with /v1 themselves: one at the end of the user's address is removed.
    """
    if (own := settings.named(provider)) is not None:
        return own.base_url
    if provider == "ollama":
        return settings.ollama_host
    named: str | None = getattr(settings, f"{provider}_base_url", None)
    url = (named or BASE_URLS.get(provider, "")).rstrip("/")
    return url.removesuffix("/v1").rstrip("/") if provider == "anthropic" else url


def kind_of(settings: Settings, provider: str) -> str:
    """Return whose format a provider speaks: its own name, or the kind of one of the user's own."""
    own = settings.named(provider)
    return provider if own is None else own.kind


def auth_headers(kind: str, key: str | None, url: str = "") -> dict[str, str]:
    """Return the headers that carry a key in the format ``kind``; without a key, the password in ``url`` if any."""
    headers = {"anthropic-version": "2023-06-01"} if kind == "anthropic" else {}
    if key is None:
        parts = _parts(url)
        if parts.username:
            from base64 import b64encode  # noqa: PLC0415 - hardly any address has a password

            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers["Authorization"] = f"Basic {b64encode(pair).decode('ascii')}"
        return headers
    match kind:
        case "anthropic":
            return {**headers, "x-api-key": key}
        case "gemini":
            return {"x-goog-api-key": key}
        case _:
            return {"Authorization": f"Bearer {key}"}


class Access(NamedTuple):
    """The key and the address of a provider; ``missing`` is the error if one of them is not known, else None."""

    key: str | None
    base_url: str
    missing: AgentctlError | None = None


def access_of(provider: str, key: str | None, base_url: str) -> Access:
    """Return how the lean client reaches a provider; what was not given comes from its variables and our table."""
    if provider in KEY_NAMES or provider == "ollama":
        return Access(key, base_url)
    key = key or other_provider_key(provider)
    base_url = base_url or other_provider_url(provider) or HOSTED_URLS.get(provider, "")
    if not base_url:
        name = other_url_name(provider)
        said = f"the address of {title_of(provider)} is not known: {name} is not set in the environment"
        return Access(key, base_url, UsageError(said, hint=f"export {name}=URL"))
    if key or provider in KEYLESS or is_own_host(base_url):
        return Access(key, base_url)
    name = other_key_name(provider)
    said = f"provider {provider} needs a key, and {name} is not set in the environment"
    return Access(key, base_url, AuthFailed(said, hint=f"export {name}=KEY", billed="no"))


def reached_at(facts: ModelFacts) -> str:
    """Return the address at which the lean client reaches a model, "" if it is not known."""
    return facts.base_url or BASE_URLS.get(facts.provider, "") or access_of(facts.provider, None, "").base_url


def is_own_host(url: str) -> bool:
    """Return whether ``url`` is on this host, by the address alone: a name that resolves to it does not count."""
    return is_loopback(_parts(url).hostname or "")


def is_known(provider: str, url: str) -> bool:
    """Return whether ``url`` is a known endpoint: the provider's own, "" for that, or a server on this host.

    The error documents of a known endpoint are trusted when they say that nothing was billed.
    """
    return not url or is_own_host(url) or is_official(provider, url)


def is_official(provider: str, url: str) -> bool:
    """Return whether ``url`` is the provider's own: exactly its host over https, or Ollama on this host."""
    if provider == "ollama":
        return is_own_host(url)
    own = _parts(BASE_URLS.get(provider, "")).netloc
    found = _parts(url)
    return own != "" and found.scheme == "https" and found.netloc.lower() in (own, f"{own}:443")


def address_of(provider: str, url: str) -> str:
    """Return ``url`` as the ledger and the screens name it; "" for the provider's own address in any spelling.

    Scheme and host are in lower case. Credentials, query, fragment, the scheme's default port and a trailing slash are
    left out. A text that is not a valid address is never the provider's own.
    """
    if not url:
        return ""
    plain = public_url(url)
    own = public_url(BASE_URLS.get(provider, ""))
    if provider == "ollama":
        plain_parts, own_parts = _parts(plain), _parts(own)
        is_default = is_own_host(plain) and plain_parts.scheme == own_parts.scheme and not plain_parts.path
        return "" if is_default and plain_parts.port == own_parts.port else plain
    return "" if is_official(provider, plain) else plain


def public_url(url: str) -> str:
    """Return ``url`` in normal form, without credentials, query and fragment; "?" if it is not an address."""
    parts = _parts(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not parts.scheme:
        return "?"
    host = f"[{host}]" if ":" in host else host
    place = host if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


def _parts(url: str) -> SplitResult:
    """Split ``url``; one that clients read in two ways (a backslash before the host) has no host."""
    try:
        return urlsplit("" if "\\" in url else url)
    except ValueError:
        return SplitResult("", "", "", "", "")
