"""How many tokens a conversation is, and what of it is sent when not all of it fits. Pure but for one loading thread.

Counting: ``tokens`` (``Measure``, one way to count), ``counter`` (a run's ``TokenCounter``: cheap first, a vocabulary
when a request fills half of the limit, calibrated by what the provider reports). Cutting: ``pruning.prune`` decides
whether, ``cut`` chooses by ``relevance`` what goes, ``digest`` writes lines about what is gone, ``message_cache``
remembers what was read. Texts: ``truncation`` is the mark in a result that lost a part. Money: ``economics`` says
whether a cut pays with prompt caches. ``window_check`` finds a server that cut the prompt in silence. ``manager`` and
``formats`` are the public ``ContextManager`` over messages of OpenAI, Anthropic and Ollama.

Enter: ``pruning.prune``, ``manager.ContextManager``, ``tokens.Measure``, ``counter.TokenCounter``.
Always: a tool call and its answers stay together; the system messages, the task and the newest messages stay; what is
    returned fits, or ``ContextOverflow`` names the setting to raise; between two cuts each request begins like the one
    before, so that prompt caches hold.
May import: core.
Never: it calls no model, reads no price table, and cuts nothing of the user's own words.
"""
