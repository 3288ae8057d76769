"""The words that every other package speaks: values, errors, events, prices, and the pure rules about text and tools.

Values: ``messages`` (what is said to a model and what comes back), ``events`` (what happened in a run), ``results``
(how it ended), ``limits`` (the ceilings of a run), ``errors`` (one tree; each names its exit status). Money:
``pricing`` and ``substitutes``, in exact nano-dollars. Text: ``text`` (escapes, near names), ``lookalikes``,
``redaction`` with ``spellings`` and ``key_shapes``. Tool calls: ``tool_rules`` (the grammar of --allow, --ask and
--deny), ``targets`` (all names of what a call is about), ``autorun_files`` (files that other programs run or obey). Two
modules act: ``files`` writes whole files and opens locks, ``background`` runs something async to its end in a thread.

Enter: ``errors.AgentctlError``, ``messages.Message``, ``events.Event``, ``limits.CostLimit``, ``pricing.charge_nano``,
    ``text.safe_text``, ``redaction.redact``, ``tool_rules.parse_rule``.
Always: money is Decimal or whole nano-dollars, rounded up once, and unknown is None; values are frozen; an error says
    what to do; a secret of eight characters or more is found in each of its usual spellings.
May import: nothing of agentctl.
Never: it reads no setting, no clock and no environment, asks nobody, and knows no provider, no tool and no ledger.
"""
