"""``agentctl providers list`` and ``set-key``: list providers and prices, save API keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Json, Output, wants_json
from agentctl.cli.providers.live_test import try_providers

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.settings.named_providers import NamedProvider

SCHEMA = "agentctl.providers/1"
NO_KEYS_HERE = "keys are not accepted on the command line; type the key when prompted, or pipe it to stdin"


def list_(output: Output = None, json: Json = False) -> None:
    """List the providers with key, model, price and address; * marks the one that a run would use.

    Examples:
        agentctl providers list
        agentctl providers list --json
    """
    from datetime import UTC, datetime

    from agentctl.cli.documents import error_info
    from agentctl.cli.error_output import print_error, print_stderr
    from agentctl.cli.providers.listing import as_document, as_table, provider_rows
    from agentctl.core.errors import AgentctlError
    from agentctl.core.text import safe_text
    from agentctl.providers.catalog import load_catalog
    from agentctl.providers.selection import catalogue_owners
    from agentctl.settings import choose_provider, load_settings, ollama_to_ask

    as_json = wants_json(output, json=json)
    loaded = load_settings(flags={}, remember=False, needs=())
    owners_of = catalogue_owners(loaded)
    choice = nobody = None
    try:
        choice = choose_provider(loaded, owners_of=owners_of)
    except AgentctlError as error:
        nobody = error
    rows = provider_rows(loaded, choice, load_catalog(loaded.settings.price_lines), today=datetime.now(UTC).date())
    unasked = ollama_to_ask(loaded, owners_of)
    refused = "" if nobody is None or as_json else nobody.message
    again = [f"warning: {problem}" for problem in loaded.set_aside if problem.text in refused]  # the error says it
    for note in (*(note for note in loaded.notes if note not in again), *(row.problem for row in rows if row.problem)):
        print_stderr(safe_text(note))
    if as_json:
        chosen = choice and {"provider": choice.provider, "model": choice.model, "chosen_by": choice.chosen_by}
        said: Document = {
            "providers": [as_document(row) for row in rows],
            "chosen": chosen,
            "nobody_because": error_info(nobody)[0]._asdict() if nobody else None,
            "ollama_models": None if unasked is None else "not asked",
        }
        _print(said)
        return
    from agentctl.cli.ui.columns import stdout_page

    page = stdout_page()
    print(as_table(rows, page))
    table = next((row.price_from for row in rows if row.price_from.startswith("litellm ")), "")
    prices = f"prices in dollars per million tokens{f'; {table}' if table else ''}; yours: [prices] in config.toml"
    print("\n" + page.prose(prices))
    if nobody is not None:
        print_error(f"a run would not start: {nobody.message}", nobody.hint)
    elif choice is not None:
        asked = "; Ollama was not asked for its models, a run asks" if unasked is not None else ""
        print(page.prose(f"* a run would use {choice.provider} ({choice.chosen_by}){asked}"))


def set_key(
    provider: Annotated[str, typer.Argument(metavar="NAME", help="Provider of the key.")],
    surplus: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    remove: Annotated[bool, typer.Option("--unset", "--remove", help="Remove the key.")] = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Save the API key of a provider in your .env; prompts without echo, or reads stdin.

    Examples:
        agentctl providers set-key openai  # asks for the key
        agentctl providers set-key openai < key.txt
        agentctl providers set-key openai --unset
    """
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.settings import load_settings
    from agentctl.settings.key_file import environment_key, mask_key, own_env_file, save_key
    from agentctl.settings.names import KEY_NAMES
    from agentctl.settings.provider_names import BUILT_IN_NAMES

    as_json = wants_json(output, json=json)
    if surplus:
        raise UsageError(NO_KEYS_HERE, hint="revoke this key and create a new one: it may be in your shell history")
    word = provider.strip().lower()
    is_built_in = word in BUILT_IN_NAMES or word in KEY_NAMES
    own = {} if is_built_in else load_settings(flags={}, remember=False, needs=("report",)).settings.providers
    name = word if word in own else _provider_with_key(provider, tuple(own))
    variable, key = own[name].key_name if name in own else KEY_NAMES[name], None
    if name in own:
        _refuse_shared_key(own[name])
    if not remove:
        from agentctl.cli.prompts import read_secret
        from agentctl.settings.parsers import secret

        try:
            key = secret(read_secret(f"{name} key", notify=print_stderr))
        except ValueError as error:
            raise UsageError(f"not a valid key for {name} (allowed: {error}); nothing was changed") from None
    path = own_env_file()
    named = variable if name in own else ""
    done = save_key(path, name, key, variable=named)
    text = None if key is None else key.get_secret_value()
    if text is not None:
        said = f"saved {variable} {mask_key(text)} in {path}"
    else:
        said = f"removed {variable} from {path}" if done else f"{variable} is not set in {path}"
    print_stderr(safe_text(said))
    found = environment_key(name, text, variable=named)
    warning = ""
    if found.wins:
        held = "another value" if text is not None else "a value"
        warning = f"{found.wins} in the environment has {held}, which takes precedence: unset {found.wins}"
    elif found.empty and text is not None:
        warning = f"{found.empty} is set but empty in the environment; the saved key is used anyway"
    if warning:
        print_stderr(f"warning: {warning}")
    if as_json:
        shown = None if text is None else mask_key(text)
        fields = {"provider": name, "name": variable, "masked": shown, "path": str(path), "changed": done}
        _print({**fields, "warning": warning or None})


COMMANDS: dict[str, Callable[..., None]] = {"list": list_, "test": try_providers, "set-key": set_key}


def _refuse_shared_key(own: NamedProvider) -> None:
    """Refuse to store the key of one of the user's own providers that is another provider's.

    Raises:
        UsageError: its table names the variable of a built-in provider's key.
    """
    from agentctl.core.errors import UsageError
    from agentctl.settings.named_providers import key_owner

    if owner := key_owner(own.key_name):
        raise UsageError(
            f"{own.name} uses {own.key_name}, the key of {owner}", hint=f"agentctl providers set-key {owner}"
        )


def _provider_with_key(word: str, own: tuple[str, ...] = ()) -> str:
    """Return the provider that ``word`` names.

    Raises:
        UsageError: the provider is unknown or needs no key; a word that looks like a key is not repeated.
    """
    import re

    from agentctl.core.errors import UsageError
    from agentctl.settings.names import KEY_NAMES
    from agentctl.settings.provider_names import KNOWN_PROVIDERS, OTHER_PROVIDERS, nearest_provider

    name = word.strip().lower()
    if name in KEY_NAMES:
        return name
    if name in KNOWN_PROVIDERS:
        raise UsageError(f"{name} needs no key", hint=f"agentctl run --provider {name} TASK")
    if name in OTHER_PROVIDERS:
        raise UsageError(
            f"agentctl does not store keys for {name}", hint=f"set {name.upper()}_API_KEY in the environment"
        )
    known = f"providers with a key: {', '.join((*own, *KEY_NAMES))}"
    near = nearest_provider(name.removesuffix("_api_key"), (*own, *KEY_NAMES))
    if len(word) > 24 or not re.fullmatch(r"[A-Za-z][A-Za-z_-]*", word):
        raise UsageError(f"not the name of a provider, and {NO_KEYS_HERE}", hint=known)
    raise UsageError(f'unknown provider "{word}"', hint=near or known)


def _print(document: Document) -> None:
    from agentctl.cli.documents import print_document

    print_document(SCHEMA, document)
