"""Engines that are missing, hang or are something else: one error each, with a hint."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.tools.docker.client import Address, DockerEngine, EngineRefused, parse_address
from agentctl.tools.docker.containers import summary
from agentctl.tools.docker.stats import resource_use, tell_most
from agentctl.tools.toolbox import toolbox

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, Address("unix:///var/run/docker.sock", path="/var/run/docker.sock")),
        ("  ", Address("unix:///var/run/docker.sock", path="/var/run/docker.sock")),
        ("unix:///run/x.sock", Address("unix:///run/x.sock", path="/run/x.sock", named_by="DOCKER_HOST")),
        ("tcp://10.0.0.1:2375", Address("tcp://10.0.0.1:2375", url="http://10.0.0.1:2375", named_by="DOCKER_HOST")),
        ("tcp://engine", Address("tcp://engine", url="http://engine:2375", named_by="DOCKER_HOST")),
        ("http://[::1]:99/", Address("http://[::1]:99/", url="http://[::1]:99", named_by="DOCKER_HOST")),
    ],
)
def test_an_address_is_understood(given: str | None, meant: Address) -> None:
    assert parse_address(given) == meant


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("/var/run/docker.sock", "export DOCKER_HOST=unix:///var/run/docker.sock"),
        ("localhost:2375", "export DOCKER_HOST=tcp://localhost:2375"),
        ("unix://run/docker.sock", "export DOCKER_HOST=unix:///run/docker.sock"),
        ("unix://", "export DOCKER_HOST=unix:///var/run/docker.sock"),
        ("nonsense", "export DOCKER_HOST=unix:///var/run/docker.sock"),
        ("tcp://", "export DOCKER_HOST=tcp://127.0.0.1:2375"),
        ("tcp://host:port", "export DOCKER_HOST=tcp://127.0.0.1:2375"),
        ("tcp://host:99999", "export DOCKER_HOST=tcp://127.0.0.1:2375"),
        ("tcp://user:pw@host:1", "export DOCKER_HOST=tcp://127.0.0.1:2375"),
        ("https://host:2376", "export DOCKER_HOST=unix:///var/run/docker.sock"),
    ],
)
def test_a_wrong_address_names_the_setting_and_a_line_to_paste(given: str, hint: str) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        parse_address(given)
    assert caught.value.message.startswith("DOCKER_HOST is ")
    assert given in caught.value.message
    assert caught.value.hint == hint


def test_an_ssh_address_is_not_supported_yet_and_a_tunnel_is() -> None:
    with pytest.raises(EngineUnavailable, match="engines over ssh are not supported yet") as caught:
        parse_address("ssh://me@box", "context remote")
    assert "ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock me@box" in caught.value.hint
    assert "context remote is ssh://me@box" in caught.value.message


@given(st.text())
def test_any_text_is_an_address_or_a_clear_error(text: str) -> None:
    try:
        address = parse_address(text)
    except EngineUnavailable:
        return
    assert (address.path is None) != (address.url is None)


async def _error_of(host: str, tool: str = "docker_ps", **arguments: object) -> EngineUnavailable:
    async with toolbox(workspace=Path("/"), docker_host=host) as box:
        with pytest.raises(EngineUnavailable) as caught:
            await box.get(tool)(arguments)
        return caught.value


async def test_a_missing_socket_means_that_no_engine_runs(tmp_path: Path) -> None:
    error = await _error_of(f"unix://{tmp_path}/none.sock")
    where = f"unix://{tmp_path}/none.sock (from DOCKER_HOST)"
    assert error.message == f"No container engine is running: {where} does not exist."
    assert "unset DOCKER_HOST" in error.hint
    assert "sudo systemctl start docker" in error.hint
    assert error.status == "unavailable"
    assert error.kind == "engine"


async def test_socket_without_a_listener_means_that_no_engine_runs(tmp_path: Path) -> None:
    listener = await anyio.create_unix_listener(tmp_path / "old.sock")
    await listener.aclose()
    error = await _error_of(f"unix://{tmp_path}/old.sock")
    assert error.message.startswith("No container engine is running: nothing answers at unix://")


async def test_file_that_is_not_a_socket_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = await _error_of(f"unix://{tmp_path}/file")
    assert error.message.startswith("No container engine is running: nothing answers at unix://")


async def test_closed_port_is_reported_with_the_address_and_its_source() -> None:
    error = await _error_of("tcp://127.0.0.1:1")
    assert error.message == (
        "No container engine can be reached at tcp://127.0.0.1:1 (from DOCKER_HOST): nothing listens there."
    )


async def test_unknown_host_is_reported() -> None:
    error = await _error_of("tcp://no-such-machine.invalid:2375")
    assert "no-such-machine.invalid" in error.message
    assert "unset DOCKER_HOST" in error.hint


Serve = Callable[[SocketStream, bytes], Awaitable[None]]


@asynccontextmanager
async def _server(serve: Serve) -> AsyncIterator[str]:
    async def handle(stream: SocketStream) -> None:
        async with stream:
            try:
                while request := await stream.receive():
                    await serve(stream, request)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - a socket's, not Django's
        yield f"tcp://127.0.0.1:{port}"
        group.cancel_scope.cancel()


def _http(body: bytes, status: str = "200 OK", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


VERSION = _http(b'{"ApiVersion": "1.41"}')


def _answers(*, version: bytes = VERSION, other: bytes = b"") -> Serve:
    async def serve(stream: SocketStream, request: bytes) -> None:
        await stream.send(version if b" /version " in request else other)

    return serve


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (_answers(version=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "does not answer like a container engine"),
        (_answers(version=_http(b"<html>hello</html>")), "does not answer like a container engine: no version"),
        (_answers(version=_http(b"[]")), "does not answer like a container engine: no version"),
        (_answers(version=_http(b'{"message": "broken"}', "500 Oh")), "refused with 500: broken."),
        (_answers(version=_http(b"", "302 Found", "Location: http://127.0.0.1:1/")), "refused with 302"),
        (
            _answers(version=_http(b"Client sent an HTTP request to an HTTPS server.\n", "400 Bad Request")),
            "speaks TLS, which is not supported yet",
        ),
        (_answers(other=_http(b"{not json")), "does not answer like a container engine: not JSON"),
        (_answers(other=_http(b'{"a": 1}')), "returned an unexpected answer"),
        (_answers(other=_http(b"null")), "returned an unexpected answer"),
        (_answers(other=b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"), "does not answer like a container"),
    ],
)
async def test_server_that_is_not_an_engine_is_reported_as_such(serve: Serve, said: str) -> None:
    async with _server(serve) as host:
        error = await _error_of(host)
    assert said in error.message
    assert f"{host} (from DOCKER_HOST)" in error.message or "unexpected" in error.message


async def test_response_that_breaks_off_is_reported() -> None:
    async def serve(stream: SocketStream, request: bytes) -> None:
        if b" /version " in request:
            await stream.send(VERSION)
        else:
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[")
            await stream.aclose()

    async with _server(serve) as host:
        error = await _error_of(host)
    assert "closed the connection in mid-answer" in error.message


async def test_an_answer_without_an_end_is_given_up() -> None:
    async def serve(stream: SocketStream, request: bytes) -> None:
        if b" /version " in request:
            await stream.send(VERSION)
            return
        await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[")
        while True:
            await stream.send(b" " * 1024 * 1024)

    async with _server(serve) as host:
        error = await _error_of(host)
    assert "more than 32 MB" in error.message


async def test_silent_engine_is_given_up_after_the_read_timeout() -> None:
    async def serve(stream: SocketStream, request: bytes) -> None:
        await anyio.sleep_forever()

    async with _server(serve) as host:
        engine = DockerEngine(host, patience=0.2)
        with pytest.raises(EngineUnavailable, match=r"did not answer within 0\.2 s"):
            await engine.get("containers/json")
        await engine.aclose()


async def test_change_without_a_response_is_uncertain_and_never_sent_twice() -> None:
    heard: list[bytes] = []

    async def silent(stream: SocketStream, request: bytes) -> None:
        if b" /version " in request:
            await stream.send(VERSION)
        else:
            heard.append(request)
            await anyio.sleep_forever()

    async def hangs_up(stream: SocketStream, request: bytes) -> None:
        if b" /version " in request:
            await stream.send(VERSION)
        else:
            heard.append(request)
            await stream.aclose()

    for serve, said in ((silent, r"did not answer within 0\.3 s"), (hangs_up, "closed the connection in mid-answer")):
        async with _server(serve) as host:
            engine = DockerEngine(host)
            with pytest.raises(EngineUnavailable, match=said) as caught:
                await engine.change("POST", "containers/x/stop", patience=0.3, t="1")
            await engine.aclose()
        assert "Whether the change was made is not known" in caught.value.message
    assert [request.split(b" HTTP")[0] for request in heard] == [b"POST /v1.41/containers/x/stop?t=1"] * 2


async def test_a_refused_change_carries_the_engines_reason() -> None:
    async with _server(_answers(other=_http(b'{"message": "name is  taken\\n"}', "409 Conflict"))) as host:
        engine = DockerEngine(host)
        with pytest.raises(EngineRefused, match="refused with 409: name is taken") as caught:
            await engine.change("POST", "containers/create", body={"Image": "x"})
        await engine.aclose()
    assert (caught.value.code, caught.value.reason) == (409, "name is taken")


async def test_progress_may_exceed_the_read_timeout_but_silence_may_not() -> None:
    answered: list[int] = []

    async def serve(stream: SocketStream, request: bytes) -> None:
        if b" /version " in request:
            await stream.send(VERSION)
            return
        await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(8):
            await stream.send(b".")
            answered.append(1)
            await anyio.sleep(0.2)
        await anyio.sleep_forever()

    async def listen(engine: DockerEngine) -> None:
        async with engine.request("POST", "images/create", {}, patience=1, silence_only=True) as answer:
            assert [piece async for piece in answer.pieces]

    async with _server(serve) as host:
        engine = DockerEngine(host)
        with pytest.raises(EngineUnavailable, match="did not answer within 1 s"):
            await listen(engine)
        await engine.aclose()
    assert len(answered) == 8


async def test_a_call_that_is_cancelled_leaves_nothing_open() -> None:
    async def serve(stream: SocketStream, request: bytes) -> None:
        if b" /version " in request:
            await stream.send(VERSION)
        else:
            await anyio.sleep_forever()

    async with _server(serve) as host:
        with anyio.move_on_after(0.3) as limit:
            async with toolbox(workspace=Path("/"), docker_host=host) as box:
                await box.get("docker_ps")({})
    assert limit.cancelled_caught
    gc.collect()  # an open session would complain now


async def test_odd_but_valid_answers_are_shown_as_far_as_they_go() -> None:
    odd = b'[{"Id": 7, "Names": null, "State": "running", "Ports": {}, "Created": "x"}, 3, '
    odd += b'{"Names": ["/\\u001b[2Jevil\\n"]}]'
    async with _server(_answers(other=_http(odd))) as host, toolbox(workspace=Path("/"), docker_host=host) as box:
        text = await box.get("docker_ps")({"all": True})
    assert len(text.splitlines()) == 3
    assert "\x1b" not in text
    assert "\\x1b[2Jevil\\n" in text


def _labelled(name: str, identity: str, service: str, state: str = "running") -> dict[str, object]:
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": service}
    return {"Id": identity, "Names": [f"/{name}"], "State": state, "Labels": labels}


async def test_beginning_of_another_containers_id_does_not_hide_a_service() -> None:
    service, other = "d" * 64, "db" + "0" * 62
    listed = [_labelled("shop_db_1", service, "db"), {"Id": other, "Names": ["/stranger"], "State": "running"}]

    async def serve(stream: SocketStream, request: bytes) -> None:
        path = request.split()[1].decode()
        if "/version" in path:
            return await stream.send(VERSION)
        if "containers/json" in path:
            return await stream.send(_http(json.dumps(listed).encode()))
        return await stream.send(_http(json.dumps({"Id": other, "Name": "/stranger"}).encode()))

    async with _server(serve) as host, toolbox(workspace=Path("/"), docker_host=host) as box:
        with pytest.raises(ToolError) as caught:
            await box.get("docker_stop").prepare({"name": "db"})
    assert caught.value.message == (
        "db may be one of 2 containers: shop_db_1 (shop, running), stranger (its id begins so)"
    )


async def test_state_that_is_not_known_is_shown_as_one_that_runs() -> None:
    listed = [{"Id": "a", "Names": ["/web"], "State": "stopping"}, {"Id": "b", "Names": ["/db"], "State": "stopped"}]
    answers = _answers(other=_http(json.dumps(listed).encode()))
    async with _server(answers) as host, toolbox(workspace=Path("/"), docker_host=host) as box:
        running = await box.get("docker_ps")({})
        exited = await box.get("docker_ps")({"state": "exited"})
    assert "web " in running
    assert running.endswith("1 container is not running: db (docker ps -a shows them).")
    assert exited.splitlines()[1].startswith("db ")


async def test_invalid_log_stream_is_reported() -> None:
    async def serve(stream: SocketStream, request: bytes) -> None:
        if b" /version " in request:
            await stream.send(VERSION)
        elif b"/logs" in request:
            await stream.send(_http(b"plain text that is no frame"))
        else:
            await stream.send(_http(b'{"Id": "abc", "Name": "/web", "Config": {}}'))

    async with _server(serve) as host:
        error = await _error_of(host, "docker_logs", name="web")
    assert error.message == "The container engine's log stream is malformed."


@given(JSON)
def test_statistics_of_any_shape_are_shown_without_a_crash(answer: object) -> None:
    doc = answer if isinstance(answer, dict) else {"cpu_stats": answer, "memory_stats": answer, "networks": answer}
    assert len(resource_use(doc)) == 8
    assert tell_most([("a", doc), ("b", doc)]) is not None


def test_line_under_statistics_names_what_uses_most_whatever_the_units() -> None:
    small, large = {"memory_stats": {"usage": 464 * 1024}}, {"memory_stats": {"usage": 48 * 1024**2}}
    busy = {
        "cpu_stats": {"cpu_usage": {"total_usage": 30}, "system_cpu_usage": 200, "online_cpus": 1},
        "precpu_stats": {"cpu_usage": {"total_usage": 0}, "system_cpu_usage": 100},
    }
    assert tell_most([("web", small), ("cache", large)]) == "\nmost memory: cache (48.0 MB)"
    both = tell_most([("web", {**small, **busy}), ("cache", large)])
    assert both == "\nmost memory: cache (48.0 MB); most CPU: web (30.0 %)"
    assert tell_most([("web", small)]) == tell_most([("a", {}), ("b", {})]) == ""


@given(JSON)
def test_a_container_of_any_shape_is_summed_up_without_a_crash(answer: object) -> None:
    from datetime import UTC, datetime

    names = ("State", "Config", "HostConfig", "NetworkSettings", "Mounts", "Created", "Name", "Args")
    assert summary(dict.fromkeys(names, answer), datetime(2026, 1, 1, tzinfo=UTC))
