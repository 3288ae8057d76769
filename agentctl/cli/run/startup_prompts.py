"""Questions before a run: whether to trust the files of a project, and which provider to use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.cli.prompts import ask_yes_no, can_ask, choose_one
from agentctl.core.errors import AgentctlError
from agentctl.core.text import safe_text
from agentctl.providers.selection import catalogue_owners
from agentctl.settings import DEFAULT_MODELS, Loaded, Source, competing_keys
from agentctl.settings.project_files import MCP_FILE

if TYPE_CHECKING:
    from agentctl.settings.untrusted_files import TrustPrompt

Notify = Callable[[str], object]


def ask_open_questions(
    loaded: Loaded, *, again: Callable[[], Loaded], quiet: bool, own_config: bool, notify: Notify
) -> Loaded:
    """Ask the user open questions and return the settings with the answers; unchanged if asking is not possible.

    ``again`` reloads the settings. ``own_config`` says whether the user's config.toml applies to this run.

    Raises:
        StateError: the answer cannot be stored.
        UsageError: the settings are invalid with the trusted files.
    """
    if quiet or loaded.ci or not can_ask():
        return loaded
    if loaded.settings.approve == "ask" and loaded.offers:
        loaded = _ask_about_files(loaded, again)
    if competing_keys(loaded, catalogue_owners(loaded)):
        loaded = _ask_about_providers(loaded, own_config=own_config, notify=notify)
    return loaded


def _ask_about_files(loaded: Loaded, again: Callable[[], Loaded]) -> Loaded:
    from datetime import UTC, datetime

    from agentctl.settings.trust_store import TrustStore
    from agentctl.settings.untrusted_files import NoticeMemory

    state_dir = loaded.settings.state_dir
    asked = NoticeMemory(state_dir, "asked")
    fresh = [offer for offer in loaded.offers if not asked.knows(offer.file.digest)]
    granted = []
    for offer in fresh:
        if ask_yes_no(_question(offer)):
            granted.append(offer.file)
        else:
            asked.remember(offer.file.digest)
    if granted:
        TrustStore(state_dir).grant(granted, now=datetime.now(UTC))
        return again()
    seen = {offer.note for offer in fresh}
    return replace(loaded, notes=tuple(note for note in loaded.notes if note not in seen))


def _question(offer: TrustPrompt) -> str:
    why = "has changed since you trusted it" if offer.changed else "is not trusted"
    would = "add the MCP servers" if offer.file.path.name == MCP_FILE else "set"
    lines = [
        f"{offer.place} {why}. It would {would}: {', '.join(offer.names)}",
        *(f"  {said}" for said in offer.consequences),
    ]
    return "\n".join(
        (*lines, "Trust this content? y: use it now and from now on; n: ignore it and do not ask again for it")
    )


def _ask_about_providers(loaded: Loaded, *, own_config: bool, notify: Notify) -> Loaded:
    keys = competing_keys(loaded)
    width = max(map(len, keys))
    options = []
    for provider in keys:
        model = loaded.settings.llm_model or f"{DEFAULT_MODELS[provider]} (default)"
        options.append(f"{provider:<{width}}  {model}, key {keys[provider]}")
    notify(f"keys are set for {len(keys)} providers, and none is selected:")
    number = choose_one("Which provider?", options)
    if number is None:
        return loaded
    provider = tuple(keys)[number]
    if own_config and ask_yes_no("Save it as your default?"):
        _save(loaded, provider, notify)
    return replace(
        loaded,
        settings=loaded.settings.model_copy(update={"llm_provider": provider}),
        sources={**loaded.sources, "llm_provider": Source("your answer")},
    )


def _save(loaded: Loaded, provider: str, notify: Notify) -> None:
    """Save ``provider`` as the default; print a warning if that fails."""
    from agentctl.settings.config_file import save_value

    try:
        save_value(loaded.config_file, "llm_provider", (provider,))
        notify(safe_text(f"saved llm_provider = {provider} in {loaded.config_file}"))
    except AgentctlError as error:
        notify(safe_text(f"warning: llm_provider was not saved: {error.message}"))
