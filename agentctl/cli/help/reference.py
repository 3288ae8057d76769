"""``agentctl help environment``, made from the settings' own tables."""

from __future__ import annotations

from collections.abc import Iterator

from agentctl.settings import ENV_NAMES, Loaded, Settings, Source
from agentctl.settings.names import PREFIX, SECRET_FIELDS
from agentctl.settings.show import ALSO_READ, MEANINGS
from agentctl.settings.show_ import explain

_ENVIRONMENT = """\
Flags are stronger than the environment; then come --env-file, the user's .env, config.toml, the defaults. Where a name
stands without the prefix AGENTCTL_ it also works with it, and then wins. An empty value counts as not set, but an empty
key is remembered: nothing falls through to another provider. What holds now, and where it came from:

  agentctl config show
"""


def environment_text() -> str:
    """Return the topic's text."""
    return "\n".join((_ENVIRONMENT, *_variables(), "", "Heeded too:", "", *_others()))


def _variables() -> Iterator[str]:
    defaults = {row.name: row.value for row in explain(_untouched())}
    names = {field: _documented(known) for field, known in ENV_NAMES.items()}
    width = max(map(len, names.values()))
    for field, name in names.items():
        default = "" if field in SECRET_FIELDS or not defaults[field] else f" [{defaults[field]}]"
        yield f"{name.ljust(width)}  {MEANINGS[field]}{default}"


def _untouched() -> Loaded:
    """Return the settings at their defaults, whatever is set around us."""
    fields = Settings.model_fields
    return Loaded(settings=Settings.model_construct(), sources=dict.fromkeys(fields, Source("default")))


def _documented(known: tuple[str, ...]) -> str:
    plain = [name for name in known if not name.startswith(PREFIX)]
    return ", ".join(plain or known)


def _others() -> Iterator[str]:
    width = max(map(len, ALSO_READ))
    return (f"{name.ljust(width)}  {meaning}" for name, meaning in ALSO_READ.items())
