"""Every setting, from wherever it may come, with its origin: the one room that reads the environment."""

from __future__ import annotations

from agentctl.settings.load import SettingsCheck, check_settings, load_settings
from agentctl.settings.model import Loaded, Settings
from agentctl.settings.names import (
    DEFAULT_MODELS,
    DOCUMENTED_NAMES,
    ENV_NAMES,
    KEY_NAMES,
    KNOWN_PROVIDERS,
    OTHER_PROVIDERS,
    TABLE_FIELDS,
    TOML_FIELDS,
)
from agentctl.settings.prices import PriceLine
from agentctl.settings.provider_choice import ProviderChoice, choose_provider, competing_keys, ollama_to_ask
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
    "PriceLine",
    "ProviderChoice",
    "Settings",
    "SettingsCheck",
    "Source",
    "check_settings",
    "choose_provider",
    "competing_keys",
    "load_settings",
    "ollama_to_ask",
]
