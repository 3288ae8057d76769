"""Keep the record of a run besides its costs: one file of events, and results that were too long for a model.

``recorder`` numbers the events of a run and passes them to every observer before the next step. ``writer`` is the
observer that appends each one to ``<run_id>.jsonl``, ``reader`` lists runs and reads one back. ``tail`` reads one as
it grows, ``decoder`` makes events of its records. ``artifacts`` saves whole texts of which a model was shown a part.
``cost_history`` mirrors the last 1000 calls in a JSON file, if one is configured.

Enter: ``recorder.Recorder``, ``writer.Journal``, ``reader.list_runs``, ``reader.read_run``,
``artifacts.ArtifactFolder``. Always: a record is on disk before the next step; secrets are redacted before anything is
written; the first record creates the file, for its owner only, and the file is locked while its run lives. May import:
core, context, settings, budget, protocols, ledger. Never: accounts for spending (the ledger does), or changes a line of
a journal.
"""
