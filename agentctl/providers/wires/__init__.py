"""The wire formats that agentctl speaks itself: chat completions, Anthropic's messages, Ollama's chat.

One pure module a wire: ``body`` writes a request, ``piece`` reads one event of its answer. ``exchange`` has the values
that all of them take and give, ``server_sent_events`` turns the bytes of an answer into events. ``lean_client`` posts
what is written here and reads what comes back; a provider with another wire goes by litellm. OpenAI's Responses are
read here and posted by litellm: ``openai_responses`` has the fields of a request in place of its body.

Enter: ``openai_chat``, ``anthropic_messages`` and ``ollama_chat``, each with ``body`` and ``piece``;
``openai_responses`` with ``fields`` and ``AnswerItems``;
``server_sent_events.JsonEvents``.
Always: a request is serialised once; an event is parsed once; a name that is not known is counted, never an error.
May import: core, and chat_format and usage_fields of providers.
Never: open a connection, read a setting, decide about money.
"""
