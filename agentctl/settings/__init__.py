"""Collect the settings from every source, each with its origin.

`model` declares each setting once (`declaration`); `names` and the files of `tests/support/settings_files.py` follow
from it. `load` reads flags, the environment, .env files, config.toml and project files through the sources of
pydantic-settings (`sources`), takes the strongest value of each setting and checks it by itself (`merge`). A wrong
value stops the commands that need it; for the others it is a warning (`loaded`). An untrusted file of the working
directory can only tighten (`project_files`, `untrusted_files`, `trust_store`). `provider_choice` chooses the provider;
`named_providers` reads those of the user's own, `named_choice` finds their keys and models. `hook_tables` reads the
hooks; a project's file adds to the user's. `mcp_servers` loads the MCP servers: `mcp_entries` and `mcp_options` read an
entry, `mcp_variables` replaces `${VAR}` in it, `mcp_project` judges a project's file, `mcp_file` changes the user's.
`config_file` and `key_file` write the user's own files; `show` lists every value. `labels` and `lineage` say which
repository, CI job and parent run a run belongs to.

To add a setting: declare it in `model.Settings`, run `python -m tests.support.settings_files`, and use it. If an
untrusted project file may tighten it: `untrusted_files.LOWERABLE`.

Enter: `load.load_settings` for a run, `load.check_settings` for `config check`, `provider_choice.choose_provider`.
Always: all problems are reported at once, each with name, value and place. A key is never printed. No command that
needs a limit or a permission gets its default in place of a wrong value. May import: core. Never: puts anything into
the environment, or lets a file of the working directory loosen a limit before it is trusted. Nothing outside of this
package reads the environment.
"""

from __future__ import annotations

import agentctl.settings.library  # noqa: F401 - before anything imports pydantic-settings
from agentctl.settings.load import SettingsCheck, check_settings, load_settings
from agentctl.settings.loaded import Loaded
from agentctl.settings.model import Settings
from agentctl.settings.names import DOCUMENTED_NAMES, ENV_NAMES, KEY_NAMES, TABLE_FIELDS, TOML_FIELDS
from agentctl.settings.prices import PriceLine
from agentctl.settings.provider_choice import (
    OwnersOf,
    ProviderChoice,
    choose_provider,
    competing_keys,
    ollama_to_ask,
)
from agentctl.settings.provider_names import DEFAULT_MODELS, KNOWN_PROVIDERS, OTHER_PROVIDERS, foreign_model_error
from agentctl.settings.sources import Source

__all__ = [
    "DEFAULT_MODELS",
    "DOCUMENTED_NAMES",
    "ENV_NAMES",
    "KEY_NAMES",
    "KNOWN_PROVIDERS",
    "OTHER_PROVIDERS",
    "TABLE_FIELDS",
    "TOML_FIELDS",
    "Loaded",
    "OwnersOf",
    "PriceLine",
    "ProviderChoice",
    "Settings",
    "SettingsCheck",
    "Source",
    "check_settings",
    "choose_provider",
    "competing_keys",
    "foreign_model_error",
    "load_settings",
    "ollama_to_ask",
]
