"""What a CI system gets of a run, beside its exit code and its output: annotations, outputs, a summary, reports.

`reports` is created when a run of the command line begins, if a CI system is there or a report was asked for, and
is told how the run ended. `log_commands` writes the commands that a CI system reads from a step's log, and breaks
what looks like one. `report_files` adds to files that other runs write, too; `step_outputs` are GitHub's outputs and
GitLab's dotenv report, `step_summary` is the Markdown of GitHub's summary, `junit` the XML that every system reads.

Enter: `reports.open_reports`.
Always: one annotation per run, the last line on stderr; every text of a run is redacted and made safe, and cannot be
    read as a command, close a fence, or end a value. What cannot be written is one warning.
May import: `cli`, `cli.ui`, `settings`, `core`.
Never: changes an exit code or stdout; loads for a run that no CI system sees and that no report was asked of.
"""
