"""The provider that needs no model: a task's words in, one read-only tool call out, or a refusal.

``lookup`` says what a row of the table is; the four ``*_lookups`` modules are the table. ``lexicon`` holds the words,
``parse`` reads a task as words with meanings, ``match`` finds the lookup that they ask for, ``change_requests`` tells
whether they ask for a change instead, and ``provider`` puts this behind the protocol.

Enter: ``provider.BuiltinProvider`` (a provider), ``provider.choose_lookup`` (a task to a lookup).
Always: the same task gives the same call; a word that nobody understands means no call; every lookup only reads.
May import: core, the provider's base class.
Never: load litellm or another model's library, touch the network, change anything, guess.
"""
