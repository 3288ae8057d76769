"""Where a ledger on PostgreSQL differs from a SQLite file: the tests that are of a file only, each with the reason.

A name is that of a test, or of a whole module. All other tests of the ledger run over both.
"""

from __future__ import annotations

from collections.abc import Mapping

_FILE = "a missing, foreign, read-only or damaged file; a server is asked, and has its own checks"
_LOCKS = "lock files and the write queue; a server has leases and row locks"
_CLOCK = "wall clock, boot clock and boot id; a server has one clock, which never goes back"
_WORDS = "its own statements are SQLite's"
_OLDER = "a file of an older schema is read as it is; a server is migrated by hand first"

DIFFERENCES: Mapping[str, str] = {
    "test_file": _FILE,
    "test_schema": _OLDER,
    "test_inspection": _FILE,
    "test_network_disk": _FILE,
    "test_clock_corners": _CLOCK,
    "test_a_clock_set_forward_or_back_frees_nothing": _CLOCK,
    "test_the_bounds_are_wall_time_also_after_the_clock_was_set_back": _CLOCK,
    "test_clocks_that_do_not_quite_agree_change_nothing_that_happened": _CLOCK,
    "test_machine": _LOCKS,
    "test_histories": _LOCKS,
    "test_windows": _FILE,
    "test_spool": "files that cannot be written; the conclusions in them are the same",
    "test_ledger_is_private_to_the_user_and_keeps_every_step": _FILE,
    "test_missing_ledger_is_an_empty_report_and_makes_no_file": _FILE,
    "test_missing_ledger_is_an_empty_report_of_the_window_asked_for": _FILE,
    "test_check_without_a_ledger_makes_none": _FILE,
    "test_check_writes_nothing_even_after_an_owner_died": _LOCKS,
    "test_read_only_ledger_is_checked": _FILE,
    "test_foreign_and_damaged_files_are_refused_with_a_hint": _FILE,
    "test_an_index_that_has_lost_its_rows_is_damage": _FILE,
    "test_a_ledger_of_the_schema_before_is_checked_before_and_after_its_migration": _OLDER,
    "test_a_writer_queues_before_it_begins": _LOCKS,
    "test_a_commit_is_on_disk_and_the_write_lock_is_taken_before_anything_is_read": _LOCKS,
    "test_closing_voids_what_was_held_and_doubts_what_was_sent": _LOCKS,
    "test_process_wrongly_declared_dead_sends_nothing_unheld_and_its_usage_counts": _LOCKS,
    "test_a_dead_process_is_not_waited_for_in_the_queue": _LOCKS,
    "test_ancestor_of_unknown_state_blocks_sending_and_is_not_declared_dead": _LOCKS,
    "test_processes_that_make_the_ledger_at_once_do_not_take_it_for_anothers": _FILE,
    "test_the_lock_files_of_the_dead_are_removed_by_the_next_to_come": _LOCKS,
    "test_ledger_that_cannot_be_written_at_the_end_still_releases_its_lock": _LOCKS,
    "test_disk_without_space_for_the_queue_has_the_hint_of_a_full_disk": _FILE,
    "test_foreign_entry_among_the_lock_files_stops_no_run": _LOCKS,
    "test_report_does_not_make_a_writer_wait": _FILE,
    "test_locked_ledger_is_never_read_without_its_log": _FILE,
    "test_report_of_a_window_does_not_read_the_whole_ledger": "the plan of SQLite",
    "test_reprice_writes_nothing_and_is_empty_without_a_ledger": _FILE,
    "test_the_ledger_keeps_a_hash_of_a_capability_and_nothing_else_of_it": _FILE,
    "test_single_run_is_its_own_tree_and_an_unknown_run_has_none": _FILE,
    "test_a_trigger_that_is_gone_is_seen_by_the_sub_totals_it_no_longer_keeps": _WORDS,
    "test_sums_of_a_filled_ledger_are_right": _WORDS,
    "test_an_unknown_lease_has_no_book_unless_it_is_said_to_be_unused": _FILE,
    "test_reserve_stays_where_the_hold_that_evicts_it_cannot_be_written": _WORDS,
    "test_a_dry_run_changes_nothing_not_even_what_the_dead_left": _LOCKS,
    "test_row_that_cannot_be_written_leaves_all_rows_as_they_were": _WORDS,
    "test_call_that_cannot_be_repriced_is_counted_by_reason_and_in_neither_sum": _WORDS,
    "test_the_check_replays_a_tree_and_finds_a_limit_further_up_that_was_left_out": _WORDS,
}
