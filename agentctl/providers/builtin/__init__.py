"""Answer without a model: turn a task's words into one read-only tool call, or refuse.

``lookup`` says what a row of the table is; the five ``*_lookups`` modules are the table. ``lexicon`` holds the words,
``parse`` reads a task as words with meanings, ``match`` finds the lookup that they ask for, ``change_requests`` tells
whether they ask for a change instead, and ``provider`` puts this behind the protocol.

Enter: ``provider.BuiltinProvider`` (a provider), ``provider.choose_lookup`` (a task to a lookup).
Always: the same task gives the same call; a task with an unknown word gives no call; every lookup only reads.
May import: core, the provider's base class.
Never: loads litellm or another model's library, uses the network, changes anything, or guesses.
"""
