"""The rules of the budget as pure functions: what a call may cost, and what it did cost.

``output_range`` says how many output tokens to ask for, ``input_bound`` how many input tokens a request can be at most.
``rules.judge`` holds both against the limits: a grant, a wait or a refusal. ``conclusions`` are the ways in which an
attempt can end, and the charge for a usage report. ``breaker`` turns a refusal into an error with both numbers and a
hint. ``last_answer`` sizes the reserve for a last answer, writes its request, and tells the model what is left.

Words: a *hold* is the worst case of a request, reserved before it is sent; a *charge* is what it cost; *void* means
certainly not billed; *in doubt* means sent, at unknown cost, and counts as the whole hold. The *clamp* is the maximum
of output tokens in a request; an *overrun* is a usage report above the hold. A *ceiling* is the number of a limit.

Enter: ``rules.judge``, ``input_bound.bound``, ``output_range.choose_output``, ``conclusions.dearest_charge``,
    ``breaker.refusal_error``, ``last_answer.LastAnswerPlanner``.
Always: a bound is never below what the provider can charge; an unknown price under a dollar limit refuses; amounts in
    doubt count as spent; a model that broke its clamp is held at its own ceiling.
May import: core, context.
Never: reads a clock, a file or the ledger, or holds money itself: amounts come in and go out.
"""
