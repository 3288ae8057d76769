"""Run one task: from its text to a `RunResult`.

`orchestrator` chooses an agent (`routing`), opens the run in ledger and journal, and starts the `loop`. In each turn
the loop prepares the `conversation` (cut where needed, with `summaries`), asks the model and runs its `tool_calls`.
`answer_gate` asks a model that goes in circles for its answer; `unseen` finds what an answer should have looked at.
`model_calls` is the one choke point for money: each request is reserved in the ledger (`reservation`), sent and read
(`streaming`), and settled (`settlement`, `attempt_charges`). `assemble` and `toolset` choose the concrete parts by
the settings; `hooks` runs the user's commands before a tool call and at the end; `plan` holds what a run may do.
`estimate` composes a first request without sending it; `provider_trial` tests a provider with three small paid calls.

Enter: `assemble.assemble`, then `orchestrator.Orchestrator.run`; `assemble.estimate_run` for an estimate.
Always: a request is reserved at its worst case before it is sent, and concluded exactly once. Every run ends with a
    `RunResult`. Each step is in the journal before the next one begins.
May import: every package below: permissions, tools, sandbox, providers, journal, ledger, protocols, budget, context,
    settings, core.
Never: prints, reads the environment, asks a model past `model_calls`, or runs a tool past `permissions`.
"""
