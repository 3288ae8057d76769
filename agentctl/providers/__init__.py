"""Providers: the models that answer, each behind the protocol ``LLMProvider``.

``llm_provider`` has the base class, which adds, for Python users, simple calls to ``facts`` and ``stream``;
``factory`` makes a provider from its name. A model behind HTTP is a ``remote`` provider; ``routes`` says how each is
reached and by which client. ``lean_client`` speaks the formats of ``wires`` itself, over httpx; ``litellm_client``
leaves that to litellm, which ``litellm_loader`` imports. ``chat_format`` has the messages of both, and the answer that
the pieces make. ``http_gate`` lets one checked request through to the ``connections``, ``stream_readers`` and
``usage_fields`` read the usage of the answer, which ``answer_stream`` hands to a run, and ``error_mapping`` translates
what failed (``error_documents`` reads a server's words, ``connection_errors`` says why there was no server);
``content_coding`` decompresses, ``parameter_refusals`` learns what a server does not take. ``sampling`` decides the
temperature. ``catalog`` knows the facts and prices of
models (``price_table``, ``price_file``, prices.toml), ``tokenizers`` how they count, ``endpoints`` where they are.
``selection`` asks an Ollama on this host for its models over ``loopback_http``, which is quick to load; ``probe``
checks for free whether any provider is there, over ``probe_http``, which loads httpx. ``builtin`` answers without a
model; ``scripted`` plays a test's script.

To add a provider: a server that speaks OpenAI's format needs only a base URL. Another one needs its name, default model
and key variable in ``settings.names``, its address in ``endpoints``, a ``Route`` in ``routes``, a module in ``wires``
and a ``UsageReader`` in ``stream_readers`` if it has a format of its own, and prices in ``prices.toml`` if litellm has
none.

Enter: ``factory.create_llm_provider`` (a name to a provider), ``selection.resolve_provider`` (settings to a name),
``catalog.load_catalog``, ``tokenizers.counter_for``, ``probe.probe_provider``.
Always: one ``stream`` is one HTTP request, within the bound for which the ledger holds money; the usage of an answer is
read on the wire, never from litellm; an unknown price is None, never 0.
May import: core, context, settings, budget, protocols.
Never: import litellm outside of ``litellm_loader``, load it for ``builtin`` or the lean client, send an attempt again
by the other client, retry, read the environment, write to the ledger or the journal.
"""
