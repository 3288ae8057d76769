"""What is kept of a run beside its money: one file of events, and the results that were too long for a model.

``recorder`` numbers the events of a run and tells every observer before the next step. ``writer`` is the observer that
appends each one to ``<run_id>.jsonl``, ``reader`` lists runs and reads one back. ``artifacts`` keeps texts whole that a
model was shown in part. ``cost_history`` mirrors the last 1000 calls as JSON for whoever asks for such a file.

Enter: ``recorder.Recorder``, ``writer.Journal``, ``reader.list_runs``, ``reader.read_run``,
    ``artifacts.ArtifactFolder``.
Always: a record is on disk before the next step; secrets are taken out before anything is written; a file is made by
    the first record, for its owner only, and locked while its run lives.
May import: core, context, settings, budget, protocols, ledger.
Never: it is not asked how much was spent (the ledger is), and changes no line of a journal.
"""
