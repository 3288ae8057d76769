"""The look for an Ollama on this host before a run, and its bounded delay."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

import pytest

from agentctl.providers.selection import MOST_SHOWN, ollama_models
from tests.support.probe_host import LONG_S, Heard, Host, Pages, page
from tests.support.wire.server import WireServer

PATIENT = 10.0  # the machine may be busy; what is tested is not how quick it is
TOOLS = ["completion", "tools"]


def tags(*models: Mapping[str, object]) -> bytes:
    return page({"models": list(models)})


def shows(said: Mapping[str, object]) -> Pages:
    """Return an answer to /api/show for each model."""

    def show(client: socket.socket, heard: Heard) -> None:
        client.sendall(page(said[json.loads(heard.body)["model"]]))

    return {"/api/show": show}


def test_unreachable_ollama_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert ollama_models(f"http://127.0.0.1:{port}") is None


def test_models_that_can_call_tools_are_listed_in_order() -> None:
    listed = tags(
        {"name": "qwen3:4b", "capabilities": TOOLS},
        {"name": "nomic-embed-text:latest", "capabilities": ["embedding"]},
        {"name": "llama3.1:latest", "capabilities": TOOLS},
    )
    with Host({"/api/tags": listed}) as host:
        assert ollama_models(host.url, patience_s=PATIENT) == ("llama3.1:latest", "qwen3:4b")
        assert host.lines == ["GET /api/tags"]


def test_a_model_that_does_not_say_it_in_the_list_is_asked() -> None:
    listed = tags({"name": "b"}, {"name": "a"}, {"name": "c", "capabilities": ["completion"]})
    said = {"a": {"capabilities": ["completion"]}, "b": {"capabilities": TOOLS}}
    with Host({"/api/tags": listed, **shows(said)}) as host:
        assert ollama_models(host.url, patience_s=PATIENT) == ("b",)
        assert sorted(host.lines) == ["GET /api/tags", "POST /api/show", "POST /api/show"]


def test_an_old_server_that_says_nothing_of_any_model_has_them_all() -> None:
    with Host({"/api/tags": tags({"name": "b"}, {"name": "a"}), **shows({"a": {}, "b": {}})}) as host:
        assert ollama_models(host.url, patience_s=PATIENT) == ("a", "b")


def test_a_model_that_says_nothing_beside_one_that_does_is_left_out() -> None:
    listed = tags({"name": "a"}, {"name": "b", "capabilities": TOOLS})
    with Host({"/api/tags": listed, **shows({"a": {}})}) as host:
        assert ollama_models(host.url, patience_s=PATIENT) == ("b",)


def test_a_model_of_a_cloud_is_left_out_and_not_asked() -> None:
    listed = tags({"name": "gpt-oss:120b-cloud", "remote_host": "https://ollama.com:443"})
    with Host({"/api/tags": listed}) as host:
        assert ollama_models(host.url, patience_s=PATIENT) == ()
        assert host.lines == ["GET /api/tags"]


def test_at_most_thirty_models_are_asked_and_all_at_once() -> None:
    names = [f"m{number:03}" for number in range(MOST_SHOWN + 5)]
    listed = tags(*({"name": name} for name in reversed(names)))
    with Host({"/api/tags": listed, **shows({name: {"capabilities": TOOLS} for name in names})}) as host:
        assert set(ollama_models(host.url, patience_s=PATIENT) or ()) <= set(names[:MOST_SHOWN])
        assert {json.loads(heard.body)["model"] for heard in host.heard[1:]} <= set(names[:MOST_SHOWN])


def test_the_wire_servers_ollama_is_understood() -> None:
    with WireServer(models=["qwen3:4b"]) as server:
        assert ollama_models(server.url, patience_s=PATIENT) == ("qwen3:4b",)
    with WireServer(models=["qwen3:4b"], capabilities=("completion",)) as server:
        assert ollama_models(server.url, patience_s=PATIENT) == ()


@pytest.mark.parametrize(
    "answer",
    [
        page(b"Ollama is running"),
        page({"models": "many"}),
        page([]),
        page(b"[" * 100_000),
        page({"error": "no"}, "500 Internal Server Error"),
        page({}, "404 Not Found"),
        page({"models": []}, "307 Temporary Redirect", "Location: /elsewhere"),
        page(json.dumps({"models": [], "more": "x" * 2**20}).encode()),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{",
        b"",
    ],
)
def test_server_that_is_not_ollama_is_none(answer: bytes) -> None:
    with Host({"/api/tags": answer, "/elsewhere": tags()}) as host:
        assert ollama_models(host.url, patience_s=PATIENT) is None
        assert host.lines == ["GET /api/tags"]


def test_a_server_is_found_by_the_name_of_this_host() -> None:
    with Host({"/api/tags": tags()}) as host:
        assert ollama_models(f"http://localhost:{host.port}", patience_s=PATIENT) == ()


def test_a_password_in_the_address_is_sent() -> None:
    with Host({"/api/tags": tags()}) as host:
        assert ollama_models(host.url.replace("//", "//me:hidden%21@"), patience_s=PATIENT) == ()
        assert host.heard[0].headers["authorization"] == "Basic bWU6aGlkZGVuIQ=="


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://127.0.0.1:y", "http://[x", "x", ""])
def test_invalid_address_is_none(url: str) -> None:
    assert ollama_models(url) is None


@pytest.mark.parametrize("name", ["127.1", ""])
def test_no_other_host_is_asked(name: str) -> None:
    with Host({"/api/tags": tags()}) as host:
        assert ollama_models(f"http://{name}:{host.port}", patience_s=PATIENT) is None
        assert host.heard == []


def test_invalid_model_names_are_left_out() -> None:
    odd = ({"name": name, "capabilities": TOOLS} for name in ("a\x1b[2Jb", "two words", "", 7, "x" * 201, "good:1"))
    with Host({"/api/tags": tags(*odd)}) as host:
        assert ollama_models(host.url, patience_s=PATIENT) == ("good:1",)


def test_silent_server_is_given_up() -> None:
    with Host() as host:
        host.pages["/api/tags"] = host.silence
        assert ollama_models(host.url) is None
        assert host.left.wait(LONG_S)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\nX: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{"]
)
def test_endless_response_is_given_up(data: bytes) -> None:
    with Host() as host:
        host.pages["/api/tags"] = host.drip(data)
        assert ollama_models(host.url) is None
        assert host.left.wait(LONG_S)


@pytest.mark.slow
def test_models_that_never_report_their_capabilities_delay_nothing() -> None:
    with Host({"/api/tags": tags({"name": "a"}, {"name": "b", "capabilities": TOOLS})}) as host:
        host.pages["/api/show"] = host.silence
        assert ollama_models(host.url, patience_s=PATIENT) == ("b",)
        assert host.left.wait(LONG_S)
