"""Models behind HTTP: one ``stream`` is one request, and its usage is read on the wire."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from agentctl.budget.breaker import ClampExceeded
from agentctl.budget.input_bound import plain_bound
from agentctl.budget.output_range import choose_output
from agentctl.core.errors import AgentctlError, UsageError
from agentctl.core.messages import Completion, Delta, KeepAlive, Reported, Request
from agentctl.core.pricing import ModelFacts, NativeFormat, Price
from agentctl.providers.answer_stream import AnswerStream, Attempts, ReasoningHabit, build_completion, is_complete
from agentctl.providers.catalog import Catalog, load_catalog
from agentctl.providers.chat_format import allows_cache_marks, count_names
from agentctl.providers.endpoints import (
    BASE_URLS,
    access_of,
    address_of,
    auth_headers,
    is_known,
    is_official,
    is_own_host,
    public_url,
)
from agentctl.providers.llm_provider import LLMProvider
from agentctl.providers.network import LIVE
from agentctl.providers.routes import ROUTES, Client, Outgoing, Route, Via, choose_client
from agentctl.providers.sampling import Sampling
from agentctl.providers.stream_readers import OpenAIReader
from agentctl.providers.tokenizers import published_vocabulary
from agentctl.providers.wires.exchange import ANSWER_FORMAT, BodyFacts, Refusals
from agentctl.settings import PriceLine, foreign_model_error
from agentctl.settings.merge import check_address_argument, check_key_argument
from agentctl.settings.names import KEY_NAMES
from agentctl.settings.provider_names import DEFAULT_MODELS, MAKERS, nearest_provider

if TYPE_CHECKING:
    import threading

    import httpx

    from agentctl.providers.error_documents import ErrorContext
    from agentctl.providers.http_gate import Attempt
    from agentctl.providers.lean_client import LeanAnswer, LeanClient
    from agentctl.providers.litellm_client import LiteLLMAnswer, LiteLLMClient
    from agentctl.settings.named_providers import NamedProvider

HANG_UP_S = 2.0
_SOMEWHERE = "https://provider.invalid"  # where litellm knows the address and we do not
_MOST_CHARACTERS_PER_TOKEN = 256


class RemoteProvider(LLMProvider):
    """One model of one provider. Connections stay open for the next turn until ``aclose``.

    ``base_url`` "": the provider's own address. ``prices`` take precedence over litellm's table. ``via`` is the client
    that sends the requests: "lean", "litellm", or "auto" for the lean one where it can; ``client`` is the one chosen.
    ``own`` is a provider of the user's own: its requests carry its own key or none, whatever keys the environment has.
    ``sampling`` decides the temperature of requests. ``network`` may be that of a cassette.
    ``unknown`` counts, by name, what the answers held and agentctl does not know: events, fields, reasons of an end.

    Raises:
        UsageError: an argument is invalid, the lean client was asked for and does not speak the provider's format, or
            only that client may be used and the provider's address is not known.
        AuthFailed: only the lean client may be used, and the provider's key is not known.
    """

    def __init__(
        self,
        provider: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        prices: Mapping[str, PriceLine] | None = None,
        own: NamedProvider | None = None,
        via: Via = "auto",
    ) -> None:
        self._own = own
        self.kind = provider if own is None else own.kind
        model = model or (DEFAULT_MODELS.get(provider) if own is None else own.model)
        if self.kind not in ROUTES:
            raise UsageError(
                f"{provider} is not supported: agentctl cannot enforce limits on its requests",
                hint=nearest_provider(provider, ROUTES) or f"known providers: {', '.join(sorted(ROUTES))}",
            )
        if model is None:
            raise UsageError(f"no model of {provider} was named", hint=f"--model {provider}/NAME")
        self.provider, self.model, self.sampling, self._refused = provider, model, Sampling(), Refusals()
        self._api_key, url = check_key_argument(provider, api_key), check_address_argument(self.kind, base_url)
        self._window: int | None = None if own is None else own.context_window
        self._base_url = (url or BASE_URLS.get(provider, "")).rstrip("/")
        self._found_url, self._habit, self._prices = "", ReasoningHabit(), prices or {}
        self.unknown: Counter[str] = Counter()
        usual = choose_client(self.kind, via)
        if usual == "lean" and own is None and (missing := access_of(provider, self._api_key, self._base_url).missing):
            if via == "lean" or not ROUTES[self.kind].prefix:
                raise missing
            usual = "litellm"
        self._via, self._usual_client = via, usual
        self.network = LIVE
        self._network: RunVar[httpx.AsyncBaseTransport] = RunVar(f"connections to {provider}")

    @cached_property
    def client(self) -> Client:
        """The client that sends the requests.

        >>> OpenAIProvider("gpt-4o", api_key="sk-example").client, OpenAIProvider("o3-pro", api_key="sk-example").client
        ('lean', 'litellm')
        """
        with suppress(AgentctlError):  # a model that cannot be called has no facts
            return "litellm" if self.facts.responses else self._usual_client
        return self._usual_client

    @property
    def _route(self) -> Route:
        route = ROUTES[self.kind]
        return route._replace(extra=MappingProxyType({})) if self._is_elsewhere else route

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog of models and prices (dollars per million tokens), read at first use.

        >>> OpenAIProvider("gpt-4o-mini", api_key="sk-example").catalog.price_of("openai", "no-such-model") is None
        True
        """
        return load_catalog(self._prices)

    @cached_property
    def facts(self) -> ModelFacts:
        """The provider's and the model's names, price and ceilings.

        Raises:
            UsageError: it does not chat, is another maker's at the provider's own address, or ``via`` cannot call it.
        """
        own, known = is_own_host(self._base_url), is_known(self.kind, self._base_url)
        if self._own is None and is_official(self.provider, self._base_url):
            owners = self.catalog.owners(self.model, MAKERS)
            if (foreign := foreign_model_error(self.provider, self.model, owners)) is not None:
                raise foreign
        facts = self.catalog.facts(self.provider, self.model, own_host=own, known_endpoint=known, kind=self.kind)
        choose_client(self.kind, self._via, facts)
        price, is_tier_sent = facts.price, "service_tier" in self._route.extra.keys() - self._refused.left_out
        if price is not None and not is_tier_sent:
            known_prices = self.catalog.prices_at(self.provider, self._base_url, self.kind)
            price = price.with_service_tiers(partial(known_prices, self.model))
        return replace(
            facts,
            price=price,
            own_host=own,
            answers_whole=not self._refused.streams,
            may_cut=self.kind == "ollama" or (self._is_elsewhere and self._route.reader is OpenAIReader),
            base_url=address_of(self.provider, self._base_url or self._found_url),
            context_window=self._window or facts.context_window,
            output_ceiling=(self._own and self._own.output_ceiling) or facts.output_ceiling,
            native_format=self._native_format if known else None,
        )

    @property
    def _native_format(self) -> NativeFormat | None:
        """How the provider holds this model to a JSON schema; None if it does not, or has refused to."""
        route = self._route
        if ANSWER_FORMAT in self._refused.left_out:
            return None
        has_it = not route.format_flag or self.catalog.has_flag(self.kind, self.model, route.format_flag)
        return route.native_format if has_it else None

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the address is a server of the user's choice."""
        return bool(self._base_url) and not is_official(self.kind, self._base_url)

    @property
    def vocabulary(self) -> str | None:
        """The name of the vocabulary by which this model counts its input; None if it is not known for certain.

        It is known only at OpenAI's own address: elsewhere a model of the same name may be a different one.

        >>> OpenAIProvider("gpt-4o", api_key="sk-example").vocabulary
        'o200k_base'
        """
        official = self.provider == "openai" and is_official(self.provider, self._base_url)
        return published_vocabulary(self.model) if official else None

    def price_of(self, model: str, /, *, tier: str = "") -> Price | None:
        """Return the price of another model of this provider, or of one in another service tier; None if unknown."""
        known = self.catalog.prices_at(self.provider, self._base_url, self.kind)
        for name in (model, model.removeprefix(f"{self.provider}/")):
            if (price := known(name, tier=tier)) is not None:
                return price
        return self._highest_price

    def near(self) -> str:
        """Return ``did you mean …?``, or where the priced ones are listed, if the model has no price."""
        if self.facts.price is not None:
            return ""
        if self._own is not None:
            return f"if it is free: agentctl config set providers.{self.provider}.price 0"
        return self.catalog.hint_at_priced(self.provider, self.model, own_host=is_own_host(self._base_url))

    @cached_property
    def _sender(self) -> LeanClient | LiteLLMClient:
        if self.client == "lean" and self._route.wire is not None:
            from agentctl.providers.lean_client import LeanClient  # noqa: PLC0415 - one of the two

            return LeanClient(self.provider, self._route, self._route.wire, self.kind, is_own=self._own is not None)
        from agentctl.providers.litellm_client import make_litellm_client  # noqa: PLC0415 - one of the two

        return make_litellm_client(self._route, self.facts, is_own=self._own is not None)

    async def prepare(self) -> None:
        """Wait until the client is loaded, and ask it for the address if none was given.

        Meanwhile a server of the user's choice is asked for the window of a model that the catalogue does not know.

        Raises:
            UsageError: the client cannot be loaded.
        """
        asking: threading.Thread | None = None
        if self._is_window_unknown:
            import threading  # noqa: PLC0415 - only for a server of the user's choice

            asking = threading.Thread(target=self._ask_window, name="the model's window", daemon=True)
            asking.start()
        await self._sender.prepare()
        if asking is not None:
            await anyio.to_thread.run_sync(asking.join, abandon_on_cancel=True)  # it ends within a second
            self.__dict__.pop("facts", None)
        if not self._base_url:
            with suppress(Exception):  # the first call reports what is wrong
                self._found_url = (await self._address())[1]
                self.__dict__.pop("facts", None)

    @property
    def _is_window_unknown(self) -> bool:
        return self._is_elsewhere and self.facts.context_window is None

    def _ask_window(self) -> None:
        from agentctl.providers.probe import served_window  # noqa: PLC0415 - only for a server of the user's choice

        ask = partial(served_window, self.kind, self._base_url, self._api_key, self.model)
        self._window = self.network.ask(f"window of {self.provider}/{self.model}", ask, missing=None)

    async def _failure(self, error: BaseException | None, attempt: Attempt) -> AgentctlError:
        """Return our error for a failed attempt, and remember what the server refuses."""
        from agentctl.providers.error_mapping import explain_error  # noqa: PLC0415 - only after a failure
        from agentctl.providers.parameter_refusals import after_refusal  # noqa: PLC0415

        found = await explain_error(error, attempt, self._error_context())
        self._refused, found = after_refusal(found, attempt, self._refused, wire=self._route.wire)
        self.__dict__.pop("facts", None)  # without a service tier any may be billed
        return self.sampling.after_failure(found, attempt, error)

    def stream(self, request: Request) -> AsyncIterator[Delta | Reported | Completion]:
        """Send one request and yield its answer, piece by piece; "" is a piece of a call or a thought.

        Raises:
            ProviderError: no answer; ``billed`` says whether it may have been billed.
            ClampExceeded: the answer exceeded its clamp.
        """
        attempts = Attempts()
        return AnswerStream(self._pieces(request, attempts), attempts, self._api_key or "")

    async def _pieces(self, request: Request, attempts: Attempts) -> AsyncGenerator[Delta | Reported | Completion]:
        """Yield what ``stream`` does; append the attempt to ``attempts`` before it is sent."""
        key, base_url = await self._address()
        from agentctl.providers.http_gate import RequestTerms  # noqa: PLC0415 - httpx comes with the client

        if self._refused.bounds_nothing:
            from agentctl.providers.parameter_refusals import cannot_be_limited  # noqa: PLC0415

            raise cannot_be_limited(self._refused)

        clamp = request.max_output_tokens or choose_output(self.facts).most
        sending = Outgoing(request, self._body_facts(request, clamp, base_url), key, base_url)
        auth = None if self._own is None else auth_headers(self.kind, key, base_url)
        terms = RequestTerms(clamp, plain_bound(request), base_url, sending.facts.asks_for_usage, auth, request.is_late)
        attempt = self._sender.attempt(terms)
        answer = self._habit.begin(request, is_official=not self._is_elsewhere, kind=self.kind)
        attempts.add(attempt)
        reader, blocks = attempt.reader, 0
        pieces: LeanAnswer | LiteLLMAnswer | None = None
        try:
            try:
                pieces = self._sender.send(sending, attempt, self._connections())
                async for piece in pieces:
                    text = answer.add(piece)
                    if reader.blocks > blocks and reader.reported is not None:
                        blocks = reader.blocks
                        yield Reported(reader.reported)
                    if answer.size > clamp * _MOST_CHARACTERS_PER_TOKEN:
                        raise ClampExceeded(f"{self.provider} exceeded max_tokens={clamp}; its answer was cut off")
                    if text is not None:
                        yield self._habit.delta(text, answer)
                    elif not piece.stop:
                        yield KeepAlive("")
                await attempt.finish()
            except Exception as error:
                if (recorded := getattr(attempt.broken, "outcome", None)) is not None:  # of a cassette
                    raise recorded from error
                failure = await self._failure(error, attempt)
                if reader.reported is not None:
                    yield Reported(reader.reported)
                raise failure from error
            if reader.error is not None or not is_complete(answer, attempt):
                failure = await self._failure(None, attempt)
                if reader.reported is not None:
                    yield Reported(reader.reported)
                raise failure
        finally:
            count_names(self.unknown, answer.unknown)
            with anyio.move_on_after(HANG_UP_S, shield=True):
                await attempt.hang_up()
                if pieces is not None:
                    await pieces.aclose()
        self._refused = self._refused.after_answer(is_reported=reader.reported is not None)
        self.__dict__.pop("facts", None)  # it may be asked for in one piece from here on
        for item in self._habit.finish(answer, build_completion(answer, reader, key or "")):
            yield item

    async def _address(self) -> tuple[str | None, str]:
        """Return the key and the address to use."""
        key, base_url = self._api_key, self._base_url
        if self._own or (base_url and (key is not None or self.provider in KEY_NAMES or self.provider == "ollama")):
            await self._sender.prepare()
            return key, base_url
        return await self._sender.address(self.model, key, base_url)

    def _body_facts(self, request: Request, clamp: int, base_url: str) -> BodyFacts:
        """Return the facts for the body of a request to an address."""
        marks = bool(request.tools) and request.writes
        sampling, out = self.sampling.options(self.facts, base_url), self._refused.left_out
        return BodyFacts(
            self.model,
            clamp,
            marks=marks and "cache_control" not in out and allows_cache_marks(self.kind, self.model, self.facts.price),
            asks_for_usage=self._route.asks_for_usage and out.isdisjoint(("stream", "stream_options")),
            temperature=sampling.get("temperature"),
            options=self._fields(),
            model_options=self._model_options(),
            refusals=self._refused,
        )

    def _fields(self) -> Mapping[str, object]:
        """Return the fields that the body of this provider's requests needs besides the usual ones."""
        if (price := self._highest_price) is None:
            return {}
        dearest = {"prompt": float(price.dearest_input), "completion": float(price.dearest_output)}
        return {"provider": {"max_price": dearest}}  # OpenRouter may choose among hosts up to this

    def _model_options(self) -> Mapping[str, object]:
        """Return the options of the model, where a wire has them apart."""
        return {}

    @property
    def _highest_price(self) -> Price | None:
        """The highest price at which any host may serve a request, None if requests do not limit it."""
        price = self.facts.price if self.provider == "openrouter" else None
        return None if price is None or price.is_free else price

    def _connections(self) -> httpx.AsyncBaseTransport:
        """Return the connections of this event loop."""
        try:
            return self._network.get()
        except LookupError:
            opened = self.network.connect(self._base_url or self._found_url or _SOMEWHERE)
            self._network.set(opened)
            return opened

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        with suppress(LookupError):
            await self._network.get().aclose()

    def _error_context(self) -> ErrorContext:
        from agentctl.providers.error_documents import ErrorContext  # noqa: PLC0415 - only after a failure
        from agentctl.providers.probe import other_models  # noqa: PLC0415

        ask = partial(other_models, self.provider, self.model, self._base_url, self._api_key, kind=self.kind)
        served = partial(self.network.ask, f"models beside {self.provider}/{self.model}", ask, missing="")
        return ErrorContext(
            self.provider,
            self.model,
            public_url(self._base_url) if self._base_url else "",
            key_name=KEY_NAMES.get(self.provider, "") if self._own is None else self._own.key_name,
            near=partial(self.catalog.near, self.provider, self.model),
            served=served if self._is_elsewhere or self.kind == "ollama" else str,
            key=self._api_key or "",
        )
