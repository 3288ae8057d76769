"""The values that every other package uses: messages, errors, events, prices, and pure rules about text and tools.

Values: ``messages`` (requests to a model and its answers), ``events`` (what happened in a run), ``results`` (how it
ended), ``limits`` (the ceilings of a run), ``errors`` (one tree; each class names its exit status). Money: ``pricing``
and ``substitutes``, in exact nano-dollars. Text: ``text`` (escapes, suggestions), ``lookalikes``, ``redaction`` with
``spellings`` and ``key_shapes``; ``ranking`` orders texts by a query, with ``synonyms``. Tool calls: ``tool_rules``
(the grammar of --allow, --ask and --deny), ``targets`` (all names of a call's target), ``autorun_files`` (files that
other programs run or obey). Answers by a schema: ``answer_schema``, over ``json_schema``, ``schema_validation``,
``schema_subsets`` and ``json_values``. Four modules have side effects: ``files`` writes files atomically and opens
locks, ``bounded_read`` reads descriptors to their end, ``background`` runs async code in a thread, ``late_modules``
imports a library without modules that it seldom needs.

Enter: ``errors.AgentctlError``, ``messages.Message``, ``events.Event``, ``limits.CostLimit``, ``pricing.charge_nano``,
``text.safe_text``, ``redaction.redact``, ``tool_rules.parse_rule``. Always: money is Decimal or whole nano-dollars,
rounded up once, and unknown is None; values are frozen; an error has a hint; a secret of eight characters or more is
found in each of its usual spellings. May import: nothing from agentctl. Never: reads a setting, a clock or the
environment, asks a user, or knows a provider, a tool or the ledger.
"""
