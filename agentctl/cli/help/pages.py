"""Find the pages of ``docs/``, which are the topics of ``agentctl help``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: Topics with another name than their page, in the order of the list; every other page is a topic by its file name.
_PAGES = {
    "setup": "providers",
    "budget": "budget",
    "permission": "permissions-and-sandbox",
    "context": "context",
    "formatting": "formatting",
    "environment": "settings",
    "exit-codes": "exit-codes",
    "builtin": "builtin",
}

#: What users of other tools call a topic.
TOPIC_MEANINGS: Mapping[str, str] = {
    **dict.fromkeys(("install", "installation", "start", "quickstart", "quick-start", "tutorial"), "getting-started"),
    **dict.fromkeys(("key", "keys", "api-key", "auth", "login", "openai", "anthropic", "ollama", "server"), "setup"),
    **dict.fromkeys(("cost", "limits", "limit", "price", "prices", "spending", "money"), "budget"),
    **dict.fromkeys(("permissions", "sandbox", "approval", "approve", "rules", "security", "network"), "permission"),
    **dict.fromkeys(("env", "variables", "settings", "configuration", "dotenv"), "environment"),
    **dict.fromkeys(("exit", "exit-code", "exitcodes", "codes", "errors", "status"), "exit-codes"),
    **dict.fromkeys(("color", "colour", "colors", "output", "stdout"), "formatting"),
    **dict.fromkeys(("jq", "jsonl", "events", "structured", "structured-output"), "json"),
    **dict.fromkeys(("github", "gitlab", "actions", "pipeline", "scripts"), "ci"),
    **dict.fromkeys(("api", "library", "sdk"), "python"),
    **dict.fromkeys(("faq", "problems", "debug"), "troubleshooting"),
    **dict.fromkeys(("otel", "opentelemetry", "traces", "tracing", "spans", "metrics", "otlp"), "telemetry"),
    **dict.fromkeys(("continue", "fork", "defer", "pause"), "resume"),
    **dict.fromkeys(("cassette", "replay", "recording", "offline", "vcr"), "cassettes"),
    **dict.fromkeys(
        ("record", "journal", "history", "list", "watch", "diff", "compare", "prune", "transcript"), "runs"
    ),
    **dict.fromkeys(("tokens", "window", "pruning", "compaction"), "context"),
    **dict.fromkeys(("agent", "subagents", "subagent", "personas", "modes", "routing", "param", "params"), "agents"),
    **dict.fromkeys(("notes", "skills", "skill", "memory", "instructions"), "agents"),
    **dict.fromkeys(("servers", "mcp-servers", "mcp-config", "mcp.json", "plugins"), "mcp"),
    **dict.fromkeys(("client", "via", "lean", "litellm", "transport"), "clients"),
    **dict.fromkeys(("image", "container", "docker", "dockerfile", "kubernetes", "k8s", "cronjob"), "containers"),
}


def docs_folder() -> Path:
    """Return the folder of the pages: in the package if installed from a wheel, else next to it in the checkout."""
    package = Path(__file__).parents[2]
    installed = package / "docs"
    return installed if installed.is_dir() else package.parent / "docs"


def topics() -> dict[str, Path]:
    """Return the page of each topic, in the order of the list."""
    pages = {path.stem: path for path in sorted(docs_folder().glob("*.md"))}
    named = {topic: pages.pop(page) for topic, page in _PAGES.items() if page in pages}
    return {**named, **pages}


def find_page(name: str) -> Path | None:
    """Return the page with this file name, without its suffix, or None."""
    return next((path for path in topics().values() if path.stem == name), None)


def page_text(page: Path) -> str:
    """Return the Markdown of a page."""
    return page.read_text(encoding="utf-8")


def page_title(page: Path) -> str:
    """Return the heading of a page, its first line."""
    with page.open(encoding="utf-8") as lines:
        return lines.readline().lstrip("#").strip()
