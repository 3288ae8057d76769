"""Count the tokens of a conversation, and cut it when it does not fit. Pure except for one loading thread.

Counting: ``tokens`` (``Measure``, one way to count), ``counter`` (a run's ``TokenCounter``: cheap first, a vocabulary
when a request fills half of the limit, calibrated by what the provider reports). Cutting: ``pruning.prune`` decides
whether to cut, ``cut`` chooses by ``relevance`` what to remove, ``digest`` writes lines about removed messages and
``kept_names`` finds the names in them, ``message_cache`` caches what was computed. Texts: ``truncation`` is the mark in
a cut result. Money: ``economics`` says whether a cut pays with prompt caches. ``window_check`` detects a server that
silently cut the prompt. ``manager`` is the public ``ContextManager``; ``formats`` and ``blocks`` read messages of
OpenAI, Anthropic, Mistral and Ollama for it.

Enter: ``pruning.prune``, ``manager.ContextManager``, ``tokens.Measure``, ``counter.TokenCounter``.
Always: a tool call and its answers stay together; the system messages, the task and the newest messages stay; the
    result fits, or ``ContextOverflow`` names the setting to raise; between two cuts each request begins with the
    previous one, so that prompt caches stay valid.
May import: core.
Never: calls a model, reads a price table, or cuts the task.
"""
