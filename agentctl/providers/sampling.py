"""The temperature of a provider's requests: which one is sent to which model, and what a refusal of it changes.

Without a setting a server on this host gets 0, as its own default (0.8 in llama.cpp and Ollama) makes the choice of a
tool random. A provider elsewhere gets none, and neither does a model that thinks: its kind refuses the parameter, or
repeats itself at 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from agentctl.core.errors import AgentctlError, ParameterRefused, Rejected, UsageError
from agentctl.core.pricing import ModelFacts
from agentctl.core.text import safe_text
from agentctl.providers.catalog import is_in_a_cloud
from agentctl.providers.endpoints import is_own_host
from agentctl.settings import parsers

if TYPE_CHECKING:
    from agentctl.providers.http_gate import Attempt

Temperature = Decimal | float | Literal["auto", "none"]

#: Models that take no temperature but their own, by the last part of their names.
_REFUSING = re.compile(r"o[1-9](?:$|[-:.@])|gpt-5(?!.*chat)|codex|computer-use|claude-opus-4[-.][7-9]", re.IGNORECASE)
#: Models that think before they answer; the makers of most ask for another temperature than 0.
_THINKING = re.compile(
    r"think|reason|qwq|(?:^|[-_.])r1(?:$|[-_.:])|qwen-?3(?!.*(?:instruct|coder))|gpt-oss|magistral|marco-o1|exaone-deep"
    r"|cogito|deepcoder|deepscaler|nemotron|glm-(?:4\.[5-9]|z1|[5-9])|minimax-m|seed-oss|smollm3|deepseek-(?:r|v3\.[1-9])",
    re.IGNORECASE,
)
_MOST_READ = 65_536
_REFUSAL = re.compile(
    r"unsupported|not (?:be )?(?:support|permitt|allow|accept|available|recogni|a valid)|does not support|deprecat"
    r"|only the default|may only be|must be (?:1|unset|omitted)|only temperature|unknown|unexpected|unrecogni"
    r"|extra (?:inputs|fields)|cannot be (?:set|used|specified)",
    re.IGNORECASE,
)


class Sampling:
    """Decides the temperature of one model's requests; once it is refused, no more is sent.

    ``temperature`` is from 0 to 2; "auto": 0 for a server on this host, else none; "none": never any.

    ``thinks`` is set where the server says that the model thinks.

    Raises:
        UsageError: it is none of these.
    """

    def __init__(self, temperature: object = "auto") -> None:
        self.thinks = False
        try:
            self.temperature: Decimal | Literal["auto", "none"] = parsers.temperature(temperature)
        except ValueError as wrong:
            said = f'temperature cannot be "{safe_text(str(temperature))[:80]}"; allowed: {wrong}'
            raise UsageError(said) from None
        self._is_sent = False

    def options(self, facts: ModelFacts, url: str) -> Mapping[str, float]:
        """Return what a request to the model at ``url`` has of it: ``temperature``, or nothing."""
        chosen = self._choose(facts, url)
        self._is_sent = chosen is not None
        return {} if chosen is None else {"temperature": chosen}

    def _choose(self, facts: ModelFacts, url: str) -> float | None:
        wanted, model = self.temperature, _last_part(facts.model)
        if wanted == "none" or _REFUSING.match(model):
            return None
        if wanted != "auto":
            return float(wanted)
        here = is_own_host(url) and not is_in_a_cloud(model.lower())
        return 0.0 if here and not (self.thinks or facts.reasoning or _THINKING.search(model)) else None

    def note(self, model: str | None) -> str:
        """Return a sentence if the user set a temperature that the model never gets, else ""."""
        if isinstance(self.temperature, str) or not _REFUSING.match(_last_part(model)):
            return ""
        return f"{model} takes no temperature: {self.temperature:f} is not sent (--temperature none says so)"

    def after_failure(self, error: AgentctlError, attempt: Attempt, cause: BaseException | None) -> AgentctlError:
        """Return the error of a failed attempt; if its temperature was refused, one that is retried without it."""
        said = attempt.body[:_MOST_READ].decode("utf-8", "replace") if attempt.sent else str(cause)
        if not (self._is_sent and isinstance(error, Rejected) and "temperature" in said.lower()):
            return error
        if not _REFUSAL.search(said):
            error.hint = "set a temperature that it takes, or send none: --temperature none"
            return error
        self.temperature = "none"
        return ParameterRefused(
            f"{error.message}; sending no temperature from here on",
            hint="send none from the start: --temperature none",
            billed=error.billed,
            retry_after=0.0,
            unsent=error.unsent,
        )


def _last_part(model: str | None) -> str:
    return (model or "").rpartition("/")[2]
