"""A server with a tokenizer, a template and habits of its own, which counts the true input of a request."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass

from hypothesis import strategies as st

from agentctl.core.messages import Request, ToolSpec

LEAF = {"type": "string", "description": "one of the names that docker ps shows"}
TREE = {"type": "object", "properties": {"name": {"$ref": "#/$defs/Leaf"}, "below": {"$ref": "#/$defs/Tree"}}}
TOOLS = (
    ToolSpec("plain", "Says how much.", {"type": "object", "properties": {"all": {"type": "boolean"}}}),
    ToolSpec("deep", "Walks.", {"$defs": {"Leaf": LEAF, "Tree": TREE}, "$ref": "#/$defs/Tree"}),
)


def size(text: str) -> int:
    """Return the bytes after NFKC, as some tokenizers see a text."""
    return len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass"))


def inline_references(schema: object, root: dict[str, object], depth: int = 2) -> object:
    """Write references out as a template may; a circular one is left where ``depth`` ends."""
    if isinstance(schema, dict):
        ref = schema.get("$ref")
        if isinstance(ref, str) and depth:
            found = root["$defs"][ref.rpartition("/")[2]]  # type: ignore[index]
            return inline_references(found, root, depth - 1)
        return {name: inline_references(value, root, depth) for name, value in schema.items()}
    return schema


@dataclass(frozen=True, slots=True)
class CountingServer:
    """Counts what a request is, in tokens; ``rate`` bytes make one of them, ``frame`` of them surround each message.

    ``preamble``: what it puts before tools, unseen. ``seam``: how much the end of a text may come out otherwise before
    another one. It keeps no state, and so no thoughts: what is not sent again is not in a prompt.
    """

    rate: int
    frame: int = 4
    preamble: int = 0
    seam: int = 0
    inlines: bool = True

    def tokens(self, text: str) -> int:
        return -(-size(text) // self.rate)

    def count(self, request: Request) -> int:
        """Return the true input of a request, in tokens."""
        total = self.preamble if request.tools else 0
        for tool in request.tools:
            schema = dict(tool.parameters)
            shown = inline_references(schema, schema) if self.inlines else schema
            total += self.frame + self.tokens(tool.name + tool.description + json.dumps(shown, separators=(",", ":")))
        for at, message in enumerate(request.messages):
            calls = [json.dumps(dict(call.arguments), ensure_ascii=False) + call.name for call in message.tool_calls]
            total += self.frame * (1 + len(calls)) + sum(map(self.tokens, (message.text, *calls)))
            total += (len(message.text) * 7 + at) % (self.seam + 1) if at == len(request.messages) - 1 else 0
        return total


servers = st.builds(
    CountingServer,
    rate=st.integers(1, 6),
    frame=st.integers(0, 12),
    preamble=st.integers(0, 530),
    seam=st.integers(0, 32),
    inlines=st.booleans(),
)

texts = (
    st.text(max_size=120) | st.text("ﷺ é日\ud83d a", max_size=60) | st.sampled_from(["\ufdfa" * 50, " " * 300, "{}"])
)
