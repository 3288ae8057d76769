"""A client independent of the server's code: it speaks HTTP and reads the bytes on the wire."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import NamedTuple

from tests.support.wire.script import Format, Json
from tests.support.wire.server import WireServer

PATHS: dict[Format, str] = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
    "responses": "/v1/responses",
}
FORMATS: tuple[Format, ...] = ("openai", "anthropic", "ollama")
TOOLS = ("docker_ps", "docker_images")


class Got(NamedTuple):
    """A whole HTTP answer; ``complete`` if its body ended as HTTP says it should."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    complete: bool = True

    @property
    def json(self) -> Json:
        """The body as one document."""
        return dict(json.loads(self.raw))

    @property
    def events(self) -> list[Json]:
        """The body as a stream: of ``data:`` lines, or of lines; only what is whole."""
        whole = self.raw.decode(errors="replace").rpartition("\n")[0].splitlines()
        found = [line.removeprefix("data: ") for line in whole if line.startswith(("data: ", "{"))]
        return [json.loads(text) for text in found if text != "[DONE]"]


def body_for(form: Format, *, stream: bool = False, clamp: int | None = None, tools: tuple[str, ...] = ()) -> Json:
    """Return a request of this format as its real clients send it."""
    body: Json = {"model": "m", "messages": [{"role": "user", "content": "List all containers"}], "stream": stream}
    if form == "responses":
        body |= {"input": body.pop("messages"), **({} if clamp is None else {"max_output_tokens": clamp})}
    elif form == "openai":
        body |= {"stream_options": {"include_usage": True}} if stream else {}
        body |= {} if clamp is None else {"max_completion_tokens": clamp}
    elif form == "anthropic":
        body |= {"max_tokens": 4096 if clamp is None else clamp}
    else:
        body |= {} if clamp is None else {"options": {"num_predict": clamp}}
    schema: Json = {"type": "object", "properties": {}}
    if tools and form == "anthropic":
        body["tools"] = [{"name": name, "description": "", "input_schema": schema} for name in tools]
    elif tools and form == "responses":
        body["tools"] = [{"type": "function", "name": name, "parameters": schema} for name in tools]
    elif tools:
        body["tools"] = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in tools]
    return body


def headers_for(form: Format, key: str = "sk-good") -> dict[str, str]:
    """Return the headers of this format's clients."""
    if form == "anthropic":
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}
    return {"authorization": f"Bearer {key}"} if form in ("openai", "responses") else {}


def connect(server: WireServer) -> http.client.HTTPConnection:
    """Open a connection that stays open."""
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)


def send(
    line: http.client.HTTPConnection, method: str, path: str, body: object = None, headers: Mapping[str, str] = {}
) -> Got:
    """Ask on an open connection."""
    line.request(method, path, None if body is None else json.dumps(body).encode(), dict(headers))
    came = line.getresponse()
    named = {name.lower(): value for name, value in came.getheaders()}
    try:
        return Got(came.status, named, came.read())
    except http.client.IncompleteRead as exc:
        return Got(came.status, named, exc.partial, complete=False)


def ask(server: WireServer, form: Format, **more: object) -> Got:
    """Ask the model once, on a connection of its own."""
    line = connect(server)
    try:
        return send(line, "POST", PATHS[form], body_for(form, **more), headers_for(form))  # type: ignore[arg-type]
    finally:
        line.close()


def get(server: WireServer, path: str, headers: Mapping[str, str] = {}) -> Got:
    """Look something up."""
    line = connect(server)
    try:
        return send(line, "GET", path, None, headers)
    finally:
        line.close()


def begin(server: WireServer, form: Format) -> socket.socket:
    """Send a request for a stream and leave its answer unread."""
    raw = json.dumps(body_for(form, stream=True)).encode()
    named = "".join(f"{name}: {value}\r\n" for name, value in headers_for(form).items())
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    sock.sendall(f"POST {PATHS[form]} HTTP/1.1\r\nhost: x\r\n{named}content-length: {len(raw)}\r\n\r\n".encode() + raw)
    return sock
