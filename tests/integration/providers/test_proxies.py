"""A run behind a real nginx, tinyproxy, mitmproxy or LiteLLM proxy: each failure on the way has its own error.

The bytes of the same proxies are in tests/unit/providers/test_refusals.py, for every run of the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import proxies
from tests.support.bill.parts import KEY, PAID, Here
from tests.support.certificates import make_certificate
from tests.support.machine import IS_STRICT
from tests.support.probe_host import server_without_tls
from tests.support.wire.server import Books, WireServer


@pytest.fixture(autouse=True)
def _programs(is_full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_full:
        pytest.skip("--full starts real proxies and web servers")
    if why := proxies.missing_program():
        (pytest.fail if IS_STRICT else pytest.skip)(f"this machine lacks {why}")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[WireServer]:
    """The model behind the proxies, which answers in one turn."""
    paid = PAID["openai"]
    with WireServer(lambda _: paid.answer("Fine."), rates=paid.rates, keys=[KEY]) as opened:
        yield opened


class Told(NamedTuple):
    """How a run ended: its code, the message with its hint, and how its attempts were concluded."""

    code: int
    words: str
    phases: list[str]


async def told(folder: Path, base_url: str, *, task: str = "Say hello.") -> Told:
    folder.mkdir(exist_ok=True)
    user = Here(folder / "user")
    environ = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": base_url,
        "LLM_MODEL": PAID["openai"].model,
        "AGENTCTL_AGENT": "system",
    }
    document = await user.run(environ, task=task, max_cost_per_task="5")
    error = document["error"] or {"message": document["answer"], "hint": ""}
    return Told(document["exit_code"], f"{error['message']} | {error['hint']}", user.book.phases)


def assert_nothing_came(books: Books) -> None:
    assert len(books.chat_requests) == 0


NGINX = {
    "a limit of 1 kB": ("client_max_body_size 1k; location / {{ proxy_pass {url}; }}", "/v1", 4, "rejects requests of"),
    "basic authorization": ('auth_basic "x"; auth_basic_user_file /dev/null;', "/v1", 77, "asks for a key or a passw"),
    "deny all": ("location / {{ deny all; }}", "/v1", 4, "rejected the request: 403 Forbidden"),
    "no such path": (
        "location /v1 {{ proxy_pass {url}; }} location / {{ return 404; }}",
        "/v2",
        69,
        "has nothing at this address",
    ),
    "only GET": ("location / {{ limit_except GET {{ deny all; }} }}", "/v1", 4, "rejected the request: 403 Forbidden"),
    "a bad request": ("location / {{ return 400; }}", "/v1", 4, "rejected the request: 400 Bad Request"),
}


@pytest.mark.parametrize("name", NGINX)
async def test_page_of_nginx_is_a_free_refusal_with_its_title(tmp_path: Path, server: WireServer, name: str) -> None:
    lines, path, code, words = NGINX[name]
    port = proxies.free_port()
    with proxies.nginx(tmp_path, f"listen 127.0.0.1:{port}; {lines.format(url=server.url)}", port=port):
        found = await told(tmp_path, f"http://127.0.0.1:{port}{path}")
    assert (found.code, found.phases) == (code, ["void"])
    assert words in found.words
    assert "context window" not in found.words
    assert "rejected the key" not in found.words
    assert "did you mean" not in found.words
    assert_nothing_came(server.books)


async def test_plain_request_to_a_port_with_tls_is_told_to_use_https(tmp_path: Path) -> None:
    port, own = proxies.free_port(), make_certificate(tmp_path, "own", "IP:127.0.0.1")
    lines = f"listen 127.0.0.1:{port} ssl; ssl_certificate {own.path}; ssl_certificate_key {own.key};"
    with proxies.nginx(tmp_path, lines, port=port):
        found = await told(tmp_path, f"http://127.0.0.1:{port}/v1")
    assert (found.code, found.phases) == (4, ["void"])
    assert "requires TLS" in found.words
    assert "use https://" in found.words


async def test_each_fault_of_tls_has_a_sentence_of_its_own(
    tmp_path: Path, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = make_certificate(tmp_path, "good", "IP:127.0.0.1")
    other = make_certificate(tmp_path, "other", "DNS:llm.invalid")
    expired = proxies.make_expired_certificate(tmp_path, "expired", "IP:127.0.0.1")
    ports = [proxies.free_port() for _ in range(4)]
    blocks = [
        f"listen 127.0.0.1:{port} ssl; ssl_certificate {one.path}; ssl_certificate_key {one.key}; "
        f"location / {{ proxy_pass {server.url}; }}"
        for port, one in zip(ports, (good, other, expired), strict=False)
    ]
    blocks.append(f"listen 127.0.0.1:{ports[3]};")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(b"".join(one.path.read_bytes() for one in (good, other, expired)))
    urls = [f"https://127.0.0.1:{port}/v1" for port in ports]
    with proxies.nginx(tmp_path, *blocks, port=ports[0]):
        unknown = await told(tmp_path / "1", urls[0])
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        wrong, old, plain = [await told(tmp_path / url[-7:-3], url) for url in urls[1:]]
        fine = await told(tmp_path / "2", urls[0])
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
        missing = await told(tmp_path / "3", urls[0])
        monkeypatch.setenv("SSL_CERT_FILE", str(good.key))
        no_pem = await told(tmp_path / "4", urls[0])
    assert "signed by an authority that is not trusted here: self-signed" in unknown.words
    assert "the certificate is not for 127.0.0.1" in wrong.words
    assert "the certificate of 127.0.0.1 has expired" in old.words
    assert "does not speak TLS | use http://" in plain.words
    assert [(one.code, one.phases) for one in (unknown, wrong, old, plain)] == [(4, ["void"])] * 4
    assert f"SSL_CERT_FILE names {tmp_path / 'missing.pem'}, which does not exist" in missing.words
    assert "holds no certificate in PEM format" in no_pem.words
    assert [(one.code, one.phases) for one in (missing, no_pem)] == [(2, ["void"])] * 2
    assert (fine.code, fine.phases, len(server.books.chat_requests)) == (0, ["settled"], 1)


async def test_each_fault_of_a_proxy_names_the_proxy(
    tmp_path: Path, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = f"http://{proxies.own_address()}:{server.url.rpartition(':')[2]}/v1"
    there = "https://llm.invalid/v1"
    found: dict[str, Told] = {}

    async def through(proxy: str, url: str, name: str) -> None:
        for variable in ("HTTPS_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(variable, proxy)
        found[name] = await told(tmp_path / name, url)

    (tmp_path / "filter").write_text(
        "\n".join(name.replace(".", "[.]") for name in ("llm.invalid", proxies.own_address()))
    )
    filtered = f'Filter "{tmp_path / "filter"}"\nConnectPort 443'
    with ExitStack() as started:
        folders = [tmp_path / name for name in ("locked", "filtered", "open")]
        for folder in folders:
            folder.mkdir()
        locked = started.enter_context(proxies.tinyproxy(folders[0], "BasicAuth me secret"))
        strict = started.enter_context(proxies.tinyproxy(folders[1], filtered))
        free = started.enter_context(proxies.tinyproxy(folders[2], "ConnectPort 443"))
        await through(f"http://{locked}", there, "407")
        await through(f"http://{locked}", here, "407 plain")
        await through(f"http://me:wrong@{locked}", there, "407 wrong")
        await through(f"http://{strict}", there, "403")
        await through(f"http://{strict}", here, "403 plain")
        await through(f"http://{free}", there, "no such host")
        plain = started.enter_context(server_without_tls()).replace("http://", "https://")
        await through(plain, there, "proxy without TLS")
        await through(f"http://127.0.0.1:{proxies.free_port()}", there, "dead")
        await through(f"socks5://{free}", there, "socks5")
        await through(f"socks4://{free}", there, "socks4")
    for name in ("407", "407 plain"):
        assert f"the proxy http://{locked} requires a user name and a password (407" in found[name].words
        assert f"http://USER:PASSWORD@{locked}" in found[name].words
    assert f"the proxy http://***@{locked} does not accept its user name and password" in found["407 wrong"].words
    assert f"the proxy http://{strict} does not let requests through to llm.invalid (403" in found["403"].words
    assert f"the proxy http://{strict}, or a server behind it, rejected the request: 403" in found["403 plain"].words
    assert f"the proxy http://{free} has no connection to llm.invalid (5" in found["no such host"].words
    assert f"the proxy {plain} does not speak TLS" in found["proxy without TLS"].words
    assert "nothing listens at the proxy http://127.0.0.1:" in found["dead"].words
    assert f"HTTPS_PROXY is socks5://{free}" in found["socks5"].words
    assert "pip install 'httpx[socks]'" in found["socks5"].words
    assert "does not support socks4:// proxies" in found["socks4"].words
    final = {name: (one.code, one.phases) for name, one in found.items() if name != "no such host"}
    doubtful = ("407 plain", "403 plain")  # whose words they are is not known: the address is none of a known provider
    assert final == {
        name: (2 if name.startswith("socks") else 4, ["doubt" if name in doubtful else "void"]) for name in final
    }
    assert found["no such host"].phases == ["void"] * 4, "another attempt may help"
    assert "rejected the key" not in " ".join(one.words for one in found.values())
    assert_nothing_came(server.books)


async def test_proxy_that_opens_tls_is_trusted_by_its_authority_only(
    tmp_path: Path, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_server = ("--map-remote", f"|https://llm.invalid|{server.url}")
    with proxies.mitmproxy(tmp_path, *to_server) as (proxy, authority):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        unknown = await told(tmp_path / "1", "https://llm.invalid/v1")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        fine = await told(tmp_path / "2", "https://llm.invalid/v1")
    assert (unknown.code, unknown.phases) == (4, ["void"])
    assert "signed by an authority that is not trusted here" in unknown.words
    assert f"(through the proxy http://{proxy})" in unknown.words
    assert "set SSL_CERT_FILE" in unknown.words
    assert (fine.code, fine.phases, len(server.books.chat_requests)) == (0, ["settled"], 1)


GATEWAY = """
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/*", api_base: "{url}/v1", api_key: "{key}"}}
general_settings: {{master_key: "sk-0123456789abcdef0123456789abcdef", custom_auth: own_auth.check}}
"""
OWN_AUTH = """
import litellm
from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth


async def check(request, api_key):
    if api_key == "{poor}":
        raise litellm.BudgetExceededError(current_cost=0.2, max_budget=0.1)
    if api_key != "{key}":
        raise HTTPException(401, "no such key")
    return UserAPIKeyAuth(api_key=api_key)
"""


async def test_spent_budget_of_a_litellm_proxy_is_quota_and_no_key_is_auth(
    tmp_path: Path, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, own_auth = GATEWAY.format(url=server.url, key=KEY), OWN_AUTH.format(poor="sk-poor", key=KEY)
    user = {"LLM_MODEL": PAID["openai"].model, "AGENTCTL_AGENT": "system"}
    found = {}
    with proxies.litellm_proxy(tmp_path, config, {"own_auth": own_auth}) as url:
        for key in ("sk-poor", "sk-none", KEY):
            here = Here(tmp_path / key)
            environ = {**user, "OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"{url}/v1"}
            document = await here.run(environ, task="Say hello.", max_cost_per_task="5")
            found[key] = document["exit_code"], (document["error"] or {}).get("kind"), here.book.phases
    assert found["sk-poor"] == (75, "quota", ["void"])
    assert found["sk-none"] == (77, "auth", ["void"])
    assert found[KEY] == (0, None, ["settled"])
