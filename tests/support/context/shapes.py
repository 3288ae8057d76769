"""Conversations in the shapes that the providers' references allow, and that their users' logs have.

Each is a whole body's messages: an opening, the shape in question, and what must answer it.
"""

from __future__ import annotations

import json
from typing import Any

Body = list[dict[str, Any]]

USER: dict[str, Any] = {"role": "user", "content": "Why is web slow?"}
SYSTEM: dict[str, Any] = {"role": "system", "content": "Be brief."}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
DATA_URL = f"data:image/png;base64,{PIXEL}"
PDF_URL = f"data:application/pdf;base64,{PIXEL}"
ARGUMENTS = json.dumps({"name": "web"})


def said(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"role": "assistant", **more}


def call(number: int = 1, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"id": f"call_{number}", "type": "function", "function": {"name": "logs", "arguments": ARGUMENTS}, **more}


def answer(number: int = 1, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": "status 200", **more}


def blocks(*content: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def text(words: str, kind: str = "text", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": kind, "text": words, **more}


def use(number: int = 1, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "logs", "input": {"name": "web"}, **more}


def result(content: Any, number: int = 1, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": content, **more}


def image(**source: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": "image", "source": source or {"type": "base64", "media_type": "image/png", "data": PIXEL}}


def claude(*content: dict[str, Any]) -> Body:
    return [USER, blocks(*content, role="assistant"), {"role": "user", "content": "And now?"}]


def output(kind: str = "function_call_output", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": kind, "call_id": "call_1", "output": "status 200", **more}


REASONING: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Look at the logs."}],
    "encrypted_content": "gAAAAB",
}
FUNCTION_CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "logs", "arguments": ARGUMENTS}
SCREENSHOT = {"type": "computer_screenshot", "image_url": DATA_URL}

CHAT: dict[str, Body] = {
    "a refusal": [USER, said(content=None, refusal="I cannot.")],
    "a refusal in a part": [USER, said(content=[{"type": "refusal", "refusal": "I cannot."}])],
    "an answer that was spoken": [USER, said(content=None, audio={"id": "audio_1"}), USER],
    "an answer that was spoken, with its words": [
        USER,
        said(content=None, audio={"id": "audio_1", "data": PIXEL, "expires_at": 1, "transcript": "It is the disk."}),
    ],
    "everything that an SDK writes": [
        SYSTEM,
        USER,
        said(content="Fine.", refusal=None, annotations=[], audio=None, function_call=None, tool_calls=None),
    ],
    "a legacy call": [
        USER,
        said(content=None, function_call={"name": "logs", "arguments": ARGUMENTS}),
        {"role": "function", "name": "logs", "content": "status 200"},
    ],
    "a legacy call without an output": [
        USER,
        said(content="", function_call={"name": "logs", "arguments": "{"}),
        {"role": "function", "name": "logs", "content": None},
    ],
    "calls without content": [USER, {"role": "assistant", "tool_calls": [call(), call(2)]}, answer(2), answer()],
    "a custom call": [
        USER,
        said(content=None, tool_calls=[{"id": "call_1", "type": "custom", "custom": {"name": "sh", "input": "ls -l"}}]),
        answer(),
    ],
    "an answer in parts": [USER, said(content=None, tool_calls=[call()]), answer(content=[text("status 200")])],
    "a developer, in parts": [{"role": "developer", "content": [text("Be brief.")], "name": "ops"}, USER],
    "an image": [blocks(text("What is this?"), {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}})],
    "only an image": [blocks({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}})],
    "a recording": [blocks({"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}}, text("What?"))],
    "a file": [blocks({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF_URL}})],
    "a file by its id": [blocks({"type": "file", "file": {"file_id": "file-1"}}, text("Sum it up."))],
    "DeepSeek's thoughts": [USER, said(content="Fine.", reasoning_content="Hm, the disk."), USER],
    "thoughts and nothing else": [USER, said(content=None, reasoning_content="Hm, the disk."), USER],
    "vLLM's thoughts": [USER, said(content=None, reasoning="Hm.", tool_calls=[call()]), answer()],
    "OpenRouter's thoughts": [
        USER,
        said(
            content="",
            reasoning="Hm.",
            reasoning_details=[{"type": "reasoning.encrypted", "data": "c2lnbmVk", "format": "x", "index": 0}],
            tool_calls=[call(index=0)],
        ),
        answer(),
    ],
    "LiteLLM's thoughts": [
        USER,
        said(
            content="Fine.",
            reasoning_content="Hm.",
            thinking_blocks=[{"type": "thinking", "thinking": "Hm.", "signature": "sig"}],
            provider_specific_fields={"citations": None},
        ),
    ],
    "Gemini's signature on a call": [
        USER,
        said(content="", tool_calls=[call(extra_content={"google": {"thought_signature": "c2ln"}})]),
        answer(),
    ],
    "Mistral's thoughts": [
        USER,
        said(content=[{"type": "thinking", "thinking": [text("Hm, the disk.")], "closed": True}, text("Fine.")]),
    ],
    "Mistral's prefix and arguments": [
        USER,
        said(content="", tool_calls=[{"id": "call_1", "function": {"name": "logs", "arguments": {"name": "web"}}}]),
        answer(name="logs"),
        said(content="The", prefix=True),
    ],
    "Mistral's image, document and reference": [
        blocks(
            {"type": "image_url", "image_url": DATA_URL},
            {"type": "document_url", "document_url": "https://example.org/a.pdf", "document_name": "a.pdf"},
            {"type": "reference", "reference_ids": [1, 2]},
            text("Compare."),
        )
    ],
    "Ollama's images": [{**USER, "images": [PIXEL, PIXEL]}],
    "Ollama's thoughts and calls": [
        USER,
        said(content="", thinking="Hm.", tool_calls=[{"function": {"name": "logs", "arguments": {"name": "web"}}}]),
        {"role": "tool", "tool_name": "logs", "content": "status 200"},
    ],
    "Cohere's plan and documents": [
        USER,
        said(tool_plan="I read the logs.", tool_calls=[call()]),
        answer(content=[{"type": "document", "document": {"id": "1", "data": "status 200"}}]),
        said(content=[text("Fine.")], citations=[{"start": 0, "end": 4, "text": "Fine", "sources": []}]),
    ],
    "a log's own keys": [{**USER, "timestamp": 1.5, "id": "1"}, said(content="Fine.", cost={"usd": 0.1}, cached=False)],
    "a result of nothing": [USER, said(content=None, tool_calls=[call()]), answer(content=None)],
}

ANTHROPIC: dict[str, Body] = {
    "thoughts, open and hidden": claude(
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        text("Fine.", citations=None),
    ),
    "thoughts whose text is left out": claude({"type": "thinking", "thinking": "", "signature": "c2ln"}, text("Fine.")),
    "a call and its result": [
        USER,
        blocks(text("I look."), use(), role="assistant"),
        blocks(result("status 200", cache_control={"type": "ephemeral"})),
    ],
    "a result that is an error": [USER, blocks(use(), role="assistant"), blocks(result("none", is_error=True))],
    "a result of nothing": [USER, blocks(use(), role="assistant"), blocks(result(None))],
    "a result with an image": [
        USER,
        blocks(use(), use(2), role="assistant"),
        blocks(result([text("the screen:"), image()]), result([image()], 2), text("And?")),
    ],
    "a result with references to tools": [
        USER,
        blocks(use(), role="assistant"),
        blocks(result([{"type": "tool_reference", "tool_name": "logs"}])),
    ],
    "a result with a search result": [
        USER,
        blocks(use(), role="assistant"),
        blocks(result([{"type": "search_result", "source": "kb/1", "title": "Disks", "content": [text("full")]}])),
    ],
    "images of all sources": [
        blocks(image(), image(type="url", url="https://example.org/a.png"), image(type="file", file_id="f1"), text("?"))
    ],
    "a document": [
        blocks(
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PIXEL},
                "title": "Report",
                "context": "of March",
                "citations": {"enabled": True},
            },
            text("Sum it up."),
        )
    ],
    "a document that is text": [
        blocks({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "full"}}, text("?"))
    ],
    "a document of blocks": [
        blocks({"type": "document", "source": {"type": "content", "content": [text("full"), image()]}}, text("?"))
    ],
    "a search of the server's": claude(
        text("I search."),
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "disk full"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [
                {"type": "web_search_result", "url": "https://e.org", "title": "Disks", "encrypted_content": "c2Vh"}
            ],
        },
        text("It is full.", citations=[{"type": "web_search_result_location", "cited_text": "full", "url": "https://e.org"}]),
    ),
    "a search of the server's that failed": claude(
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
        },
    ),
    "a page that the server read": claude(
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_fetch", "input": {"url": "https://example.org"}},
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {
                "type": "web_fetch_result",
                "url": "https://example.org",
                "content": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "full"}},
            },
        },
    ),
    "code that the server ran": claude(
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "bash_code_execution", "input": {"command": "df"}},
        {
            "type": "bash_code_execution_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {"type": "bash_code_execution_result", "stdout": "98%", "return_code": 0, "content": []},
        },
    ),
    "tools that the server found": claude(
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_regex", "input": {"query": "log"}},
        {
            "type": "tool_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {
                "type": "tool_search_tool_search_result",
                "tool_references": [{"type": "tool_reference", "tool_name": "logs"}],
            },
        },
    ),
    "a call of an MCP server's tool": claude(
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "logs", "server_name": "ops", "input": {"name": "web"}},
        {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": [text("status 200")]},
    ),
    "a file for the container": [blocks({"type": "container_upload", "file_id": "file_1"}, text("Read it."))],
    "a compacted beginning": claude({"type": "compaction", "content": "So far: the disk."}, text("Fine.")),
}  # fmt: skip

RESPONSES: dict[str, Body] = {
    "messages": [
        {"type": "message", "role": "user", "content": [text("Why?", "input_text")]},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [text("Fine.", "output_text", annotations=[], logprobs=[])],
        },
        {"role": "developer", "content": "Be brief."},
    ],
    "a refusal": [USER, {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
    "a thought and a call": [USER, REASONING, FUNCTION_CALL, output()],
    "two calls at once": [
        USER,
        REASONING,
        {"type": "message", "role": "assistant", "content": [text("I look.", "output_text")]},
        FUNCTION_CALL,
        {**FUNCTION_CALL, "id": "fc_2", "call_id": "call_2"},
        {**output(), "call_id": "call_2"},
        output(),
    ],
    "an output in parts": [
        USER,
        FUNCTION_CALL,
        output(output=[text("status 200", "input_text"), {"type": "input_image", "image_url": DATA_URL}]),
    ],
    "an image and a file": [
        blocks(
            text("Compare.", "input_text"),
            {"type": "input_image", "image_url": DATA_URL, "detail": "auto"},
            {"type": "input_image", "file_id": "file-1"},
            {"type": "input_file", "filename": "a.pdf", "file_data": PDF_URL},
        )
    ],
    "a custom call": [
        USER,
        {"type": "custom_tool_call", "call_id": "call_1", "name": "sh", "input": "ls -l"},
        output("custom_tool_call_output"),
    ],
    "a computer's call": [
        USER,
        {
            "type": "computer_call",
            "id": "cu_1",
            "call_id": "call_1",
            "action": {"type": "type", "text": "df -h"},
            "pending_safety_checks": [],
            "status": "completed",
        },
        output("computer_call_output", output=SCREENSHOT),
    ],
    "a local shell's call": [
        USER,
        {
            "type": "local_shell_call",
            "id": "lsh_1",
            "call_id": "call_1",
            "action": {"type": "exec", "command": ["df", "-h"], "env": {}},
            "status": "completed",
        },
        {"type": "local_shell_call_output", "id": "lsh_1", "output": "98%"},
    ],
    "a shell's call": [
        USER,
        {"type": "shell_call", "call_id": "call_1", "action": {"commands": ["df -h"]}},
        output("shell_call_output", output=[{"stdout": "98%", "outcome": {"type": "exit", "exit_code": 0}}]),
    ],
    "a patch": [
        USER,
        {"type": "apply_patch_call", "call_id": "call_1", "operation": {"type": "update_file", "diff": "+x"}},
        output("apply_patch_call_output", status="completed"),
    ],
    "searches of the server's": [
        USER,
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "disk"}},
        {"type": "file_search_call", "id": "fs_1", "queries": ["disk"], "results": [{"text": "full", "score": 0.5}]},
        {"type": "message", "role": "assistant", "content": [text("It is full.", "output_text")]},
    ],
    "code and an image of the server's": [
        USER,
        {
            "type": "code_interpreter_call",
            "id": "ci_1",
            "code": "print(1)",
            "outputs": [{"type": "logs", "logs": "1"}, {"type": "image", "url": DATA_URL}],
        },
        {"type": "image_generation_call", "id": "ig_1", "result": PIXEL, "status": "completed"},
    ],
    "an MCP server's call that was approved": [
        USER,
        {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "ops", "tools": [{"name": "logs"}]},
        {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "ops", "name": "logs", "arguments": ARGUMENTS},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
        {"type": "mcp_call", "id": "mcp_1", "server_label": "ops", "name": "logs", "arguments": "{}", "output": "200"},
    ],
    "tools that were searched for": [
        USER,
        {"type": "tool_search_call", "call_id": None, "arguments": {"query": "log"}, "execution": "server"},
        {"type": "tool_search_output", "call_id": None, "tools": [{"type": "function", "name": "logs"}]},
    ],
    "a compacted beginning": [{"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAAB"}, USER],
}  # fmt: skip

ALL: dict[str, Body] = {
    f"{name}: {shape}": body
    for name, shapes in (("chat", CHAT), ("anthropic", ANTHROPIC), ("responses", RESPONSES))
    for shape, body in shapes.items()
}
