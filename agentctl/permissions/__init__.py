"""Decide whether a tool call may run.

`decision` holds the user's rules (`Permissions`) and decides on one call: allow, ask or deny. `admission` guards the
tools of a run: it resolves the arguments, applies the decision and, if needed, asks a person. `preview` says what would
happen to a call by the settings alone. `shell_commands` parses a shell command and judges it by rules such as
`run_shell(git log *)`; `program_words` and `known_programs` say which words of a program need a person. `guards`
limits a model's tool calls: calls in a turn, size of arguments, repeated calls. `repeated_reads` recognizes a read
that is made again while the model has its result. `hook_rules` matches the user's hooks with calls, and refuses a hook
that a model could change.

Enter: `admission.Admission.admit` in a run, `preview.preview_call` for `policy check`, `decision.permissions_of` to get
    the rules from the settings.
Always: deny rules win over ask rules, ask rules over allow rules. A rule that names an unknown tool or argument is an
    error, never ignored. Without a user to ask, a question is a denial.
May import: tools, sandbox, protocols, settings, core.
Never: runs a tool, or asks a model.
"""
