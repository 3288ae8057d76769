"""Choose how a run counts the tokens of its model: roughly, calibrated by earlier runs, or by its own vocabulary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.pricing import ModelFacts
from agentctl.protocols import LLMProvider
from agentctl.settings import Loaded

if TYPE_CHECKING:
    from agentctl.context.counter import Load, TokenCounter


def measure_of(loaded: Loaded, facts: ModelFacts) -> Measure:
    """Return how a model's tokens are counted, calibrated by earlier runs."""
    if not facts.metered:
        return PLAIN
    from agentctl.providers.tokenizers import measure_for  # noqa: PLC0415
    from agentctl.runner.learned_counts import LearnedCounts  # noqa: PLC0415 - not for builtin

    known = LearnedCounts(loaded.settings.cache_dir).known(facts.provider, facts.model)
    return measure_for(facts.provider, facts.model, known=known)


def counter_of(
    loaded: Loaded, facts: ModelFacts
) -> tuple[TokenCounter | None, tuple[Callable[[], Awaitable[object]], ...]]:
    """Return a run's token counter, and the function that stores at its end what it has learned."""
    if not facts.metered:
        return None, ()
    from agentctl.providers.tokenizers import counter_for  # noqa: PLC0415
    from agentctl.runner.learned_counts import LearnedCounts  # noqa: PLC0415 - not for builtin

    learned, provider, model = LearnedCounts(loaded.settings.cache_dir), facts.provider, facts.model
    counter = counter_for(provider, model, known=learned.known(provider, model))
    if counter is None:
        return None, ()
    return counter, (lambda: learned.remember(provider, model, counter.new_calibrations),)


def vocabulary_loader(provider: LLMProvider) -> Load | None:
    """Return the loader of the vocabulary of a provider's model, None if it is not known for certain."""
    name = getattr(provider, "vocabulary", None)
    if not isinstance(name, str):
        return None

    def load() -> Callable[[str], int] | None:
        from agentctl.providers.tokenizers import load_vocabulary  # noqa: PLC0415 - only where a bound by bytes is in the way

        found = load_vocabulary(name)
        return None if found is None else found.at_most

    return load
