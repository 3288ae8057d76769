"""Signed leases and accounts: what a changed byte, another key, another job or another ledger does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget.account_merge import Merge, merge_accounts
from agentctl.budget.lease_texts import KIND, MOST_BYTES, sign_lease
from agentctl.budget.signatures import (
    PRIVATE,
    PUBLIC,
    SigningKey,
    canonical,
    decode,
    encode,
    new_key,
    read_public_key,
    read_signing_key,
)
from agentctl.budget.split_documents import ACCOUNT, read_account, read_split, split_amount, split_document
from agentctl.core.errors import UsageError
from agentctl.core.leases import LeaseError
from tests.support.leases import ISSUED_S, KEY, OTHER_KEY, account, book_file, leases, read, signed, split_of

ELSEWHERE = "b" * 16


def flips(data: bytes) -> Iterator[bytes]:
    """Yield ``data`` with one bit flipped: each bit of each byte."""
    for place, byte in enumerate(data):
        for bit in range(8):
            yield data[:place] + bytes([byte ^ (1 << bit)]) + data[place + 1 :]


def states(merge: Merge) -> list[str]:
    return [book.state for book in merge.books]


# --- the text of a lease --------------------------------------------------------------------------------------------


def test_a_lease_is_one_short_line_and_says_what_was_signed() -> None:
    lease = signed(3)
    assert lease.text.startswith(f"{KIND}.")
    assert "\n" not in lease.text
    assert len(lease.text) < 500
    assert read(lease.text) == lease
    assert (lease.id, lease.nano, lease.terms.id) == ("0123456789abcdef-3", 1_000_000_000, "0123456789abcdef-3")
    assert repr(lease) == "SignedLease(0123456789abcdef-3)"


def test_no_flipped_bit_of_a_lease_is_accepted() -> None:
    data, tried = signed().text.encode(), 0
    for flipped in flips(data):
        text = flipped.decode("latin-1")
        if text.strip() == data.decode():  # a blank at its end: the same line
            continue
        with pytest.raises(LeaseError):
            read(text)
        tried += 1
    assert tried == 8 * len(data)


def test_no_part_of_a_lease_is_accepted() -> None:
    text = signed().text
    for end in range(len(text)):
        with pytest.raises(LeaseError):
            read(text[:end])
    for more in ("A", ".", ".AAAA", "=", " x"):
        with pytest.raises(LeaseError):
            read(text + more)


def test_a_lease_whose_fields_are_wrong_is_refused_although_its_signature_fits() -> None:
    payload = json.loads(decode(signed().text.split(".")[1]) or b"")
    changes: list[dict[str, object]] = [
        {"nano": 0}, {"nano": -1}, {"nano": True}, {"job": 4}, {"exp": ISSUED_S}, {"bind": {}}, {"more": 1},
    ]  # fmt: skip
    for change in changes:
        data = canonical({**payload, **change})
        with pytest.raises(LeaseError, match="field is missing or wrong"):
            read(f"{KIND}.{encode(data)}.{encode(KEY.sign(KIND, data))}")


def test_a_signature_of_another_kind_of_document_does_not_hold_for_a_lease() -> None:
    data = decode(signed().text.split(".")[1]) or b""
    with pytest.raises(LeaseError, match="signature does not fit"):
        read(f"{KIND}.{encode(data)}.{encode(KEY.sign(ACCOUNT, data))}")


def test_a_lease_of_a_later_version_asks_for_an_upgrade() -> None:
    with pytest.raises(LeaseError, match="does not know leases of the kind agentctl-lease-2"):
        read(signed().text.replace(KIND, "agentctl-lease-2"))


def test_a_lease_of_a_rotated_key_is_valid_while_both_keys_are_trusted() -> None:
    old, new = signed(key=OTHER_KEY), signed(key=KEY)
    for lease in (old, new):
        assert read(lease.text, OTHER_KEY, KEY) == lease
    with pytest.raises(
        LeaseError, match=f"signed by the key {OTHER_KEY.public.id}; the trusted keys are: {KEY.public.id}"
    ):
        read(old.text, KEY)


def test_a_key_that_only_has_the_same_name_verifies_nothing() -> None:
    payload = json.loads(decode(signed().text.split(".")[1]) or b"")
    assert payload["key"] == KEY.public.id
    data = canonical({**payload, "nano": 9_000_000_000})
    with pytest.raises(LeaseError, match="signature does not fit"):
        read(f"{KIND}.{encode(data)}.{encode(OTHER_KEY.sign(KIND, data))}")


def test_a_lease_is_refused_in_every_job_but_its_own() -> None:
    lease, own = signed(2), {"GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "1", "AGENTCTL_JOB_INDEX": "1"}
    lease.refuse_elsewhere({**own, "MORE": "x"})
    for name, value, said in (
        ("GITHUB_RUN_ID", "8", "is for GITHUB_RUN_ID=7, but GITHUB_RUN_ID is 8 here"),
        ("GITHUB_RUN_ATTEMPT", "2", "is for GITHUB_RUN_ATTEMPT=1, but GITHUB_RUN_ATTEMPT is 2 here"),
        ("AGENTCTL_JOB_INDEX", "0", "AGENTCTL_JOB_INDEX is 0 here"),
        ("AGENTCTL_JOB_INDEX", None, "AGENTCTL_JOB_INDEX is not set here"),
    ):
        there = {key: found for key, found in {**own, name: value}.items() if found is not None}
        with pytest.raises(LeaseError, match=said):
            lease.refuse_elsewhere(there)


def test_a_lease_that_would_be_longer_than_a_line_is_not_made() -> None:
    with pytest.raises(UsageError, match="too long"):
        signed(bind={"A": "x" * MOST_BYTES})


def test_keys_are_read_back_and_never_shown() -> None:
    key = new_key()
    assert read_signing_key(f" {key.text}\n") == key
    assert read_public_key(key.public.text) == key.public
    assert key.text not in repr(key)
    for text in (key.public.text, PRIVATE, key.text[:-1], "x"):
        with pytest.raises(LeaseError) as caught:
            read_signing_key(text)
        assert text == "x" or text not in caught.value.message or text == PRIVATE
    with pytest.raises(LeaseError, match="which is a secret") as caught:
        read_public_key(key.text)
    assert key.text not in caught.value.message
    with pytest.raises(LeaseError):
        read_public_key(PUBLIC)


# --- shares ---------------------------------------------------------------------------------------------------------

WEIGHTS = st.lists(st.decimals(Decimal("0.001"), Decimal(10_000), places=3), min_size=1, max_size=60)


@given(st.integers(1, 10**15), WEIGHTS)
def test_shares_add_up_to_the_total_and_are_off_by_less_than_one_nano(total: int, weights: list[Decimal]) -> None:
    try:
        shares = split_amount(total, weights)
    except UsageError:
        assert min(total * Fraction(weight) / sum(map(Fraction, weights)) for weight in weights) < 1
        return
    assert sum(shares) == total
    whole = sum(map(Fraction, weights))
    assert all(abs(share - total * Fraction(weight) / whole) < 1 for share, weight in zip(shares, weights, strict=True))
    assert shares == split_amount(total, weights)


@pytest.mark.parametrize("total", [1_000, 1_001, 2_999_999_999, 3_000_000_000, 10**15 - 1])
def test_equal_shares_of_1_to_1000_jobs_add_up_to_the_total(total: int) -> None:
    for jobs in (*range(1, 30), 97, 365, 512, 999, 1_000):
        shares = split_amount(total, [Decimal(1)] * jobs)
        assert (len(shares), sum(shares), max(shares) - min(shares) <= 1) == (jobs, total, True)


@pytest.mark.parametrize(
    ("total", "weights"),
    [(1, ["1", "1"]), (10, []), (10, ["0", "1"]), (10, ["-1"]), (10, ["NaN"]), (10, ["1"] * 1_001)],
)
def test_shares_that_cannot_be_made_are_refused(total: int, weights: list[str]) -> None:
    with pytest.raises(UsageError):
        split_amount(total, [Decimal(weight) for weight in weights])


# --- the split ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_leases", [True, False])
def test_a_split_is_read_back_with_and_without_its_leases(with_leases: bool) -> None:
    split = split_of(*leases(1, 2, 3), earlier_nano=5)
    data = json.dumps(split_document(split, KEY, with_leases=with_leases), indent=2).encode()
    found = read_split(data, [KEY.public])
    assert found == (split if with_leases else split._replace(jobs=tuple(one._replace(lease="") for one in split.jobs)))


def test_a_changed_split_is_refused() -> None:
    document = split_document(split_of(*leases(10, 20)), KEY, with_leases=True)
    assert read_split(json.dumps(document).encode(), [KEY.public])
    jobs = document["jobs"]
    changes: list[dict[str, object]] = [
        {"total_nano_usd": 31},
        {"jobs": jobs[:1]},
        {"jobs": [jobs[1], jobs[0]]},
        {"jobs": [{**jobs[0], "nano_usd": 11}, jobs[1]]},
        {"jobs": [{**jobs[0], "account_key": jobs[1]["account_key"]}, jobs[1]]},
        {"jobs": [{**jobs[0], "lease": jobs[1]["lease"]}, jobs[1]]},
        {"jobs": [{**jobs[0], "more": 1}, jobs[1]]},
        {"schema": "agentctl.split/2"},
        {"key": OTHER_KEY.public.id},
        {"signature": document["signature"][:-2] + "AA"},
        {"earlier_nano_usd": -5},
        {"more": 1},
    ]
    for change in changes:
        with pytest.raises(LeaseError):
            read_split(json.dumps({**document, **change}).encode(), [KEY.public, OTHER_KEY.public])
    for data in (b"", b"{}", b"[]", b"null", b'{"jobs": 3}', b"[" * 100_000):
        with pytest.raises(LeaseError):
            read_split(data, [KEY.public])


# --- accounts and their merge ---------------------------------------------------------------------------------------


def test_no_flipped_bit_of_an_account_makes_it_count_less() -> None:
    lease = signed(nano=1_000)
    split, data = split_of(lease), book_file(lease, 10, 5)
    assert merge_accounts(split, [("a", data)]).counted_nano == 15
    accepted = 0
    for flipped in flips(data):
        merge = merge_accounts(split, [("a", flipped)])
        assert merge.counted_nano == 1_000, flipped
        assert states(merge)[0] in ("unreadable", "changed", "foreign")
        accepted += 1
    assert accepted == 8 * len(data)


def test_no_part_of_an_account_counts() -> None:
    lease = signed(nano=1_000)
    split, data = split_of(lease), book_file(lease, 10)
    whole = data.rstrip(b"\n")
    for end in range(len(whole)):
        merge = merge_accounts(split, [("a", data[:end])])
        assert (merge.counted_nano, merge.unused_nano, states(merge)) == (1_000, 0, ["unreadable"])
    assert merge_accounts(split, [("a", whole)]).counted_nano == 10


def test_a_missing_account_counts_in_full_and_a_valid_one_what_it_says() -> None:
    own = leases(100, 200, 300)
    merge = merge_accounts(split_of(*own), [("a", book_file(own[0], 30, 20)), ("b", book_file(own[2]))])
    assert (merge.counted_nano, merge.spent_nano, merge.in_doubt_nano, merge.unused_nano) == (250, 30, 20, 350)
    assert [one.state for one in merge.jobs] == ["closed", "missing", "closed"]
    assert not merge.tampered


def test_an_account_that_was_handed_in_twice_counts_once() -> None:
    own = leases(100)
    data = book_file(own[0], 30)
    merge = merge_accounts(split_of(*own), [("a", data), ("b", data), ("c", data.rstrip(b"\n"))])
    assert (merge.counted_nano, states(merge), merge.doubled) == (30, ["counted", "repeated", "repeated"], ())


def test_a_lease_in_two_ledgers_counts_in_both_and_both_are_named() -> None:
    own = leases(100, 100)
    files = [("a", book_file(own[0], 90)), ("b", book_file(own[0], 80, book=ELSEWHERE)), ("c", book_file(own[1], 1))]
    merge = merge_accounts(split_of(*own), files)
    assert (merge.counted_nano, merge.unused_nano) == (171, 29)
    assert [(one.job, [book.file for book in one.accounts]) for one in merge.doubled] == [(1, ["a", "b"])]


def test_the_later_account_of_one_ledger_replaces_the_earlier_one_in_any_order() -> None:
    own = leases(100)
    first, last = book_file(own[0], 10, 40), book_file(own[0], 30, revision="c" * 16, earlier=("a" * 16,))
    for files in ([("a", first), ("b", last)], [("b", last), ("a", first)]):
        merge = merge_accounts(split_of(*own), files)
        assert (merge.counted_nano, merge.doubled, sorted(states(merge))) == (30, (), ["counted", "replaced"])


def test_two_accounts_of_a_ledger_that_was_copied_count_both() -> None:
    own = leases(100)
    one, other = book_file(own[0], 60, revision="c" * 16), book_file(own[0], 70, revision="d" * 16)
    merge = merge_accounts(split_of(*own), [("a", one), ("b", other)])
    assert (merge.counted_nano, len(merge.doubled)) == (130, 1)


def test_an_account_of_another_split_or_job_is_foreign_or_changed() -> None:
    own, other = leases(100, 100), signed(1, nano=100, split_id="f" * 16)
    merge = merge_accounts(
        split_of(*own), [("a", book_file(other, 1)), ("b", book_file(own[0], 1, lease_id=own[1].id))]
    )
    assert (states(merge), merge.counted_nano) == (["foreign", "changed"], 200)
    assert merge_accounts(split_of(*own), [("a", book_file(own[0], 1, nano=1))]).tampered


def test_a_changed_account_of_a_second_ledger_counts_in_full() -> None:
    own = leases(100, 100)
    forged = book_file(own[0], 1, book=ELSEWHERE).replace(b'"spent_nano":1', b'"spent_nano":0')
    merge = merge_accounts(split_of(*own), [("a", book_file(own[0], 90)), ("b", forged), ("c", book_file(own[1], 1))])
    assert (merge.counted_nano, len(merge.doubled), len(merge.tampered)) == (191, 1, 1)


def test_every_file_that_proves_nothing_counts_whatever_its_fields_say() -> None:
    own = leases(100, 300)
    valid = [("a", book_file(own[0], 1)), ("b", book_file(own[1], 1))]
    second = book_file(own[1], 250, book=ELSEWHERE)
    for old, new in (
        (b'"spent_nano":250', b'"spent_nano":0'),
        (ELSEWHERE.encode(), b"0" * 15 + b"2"),  # as if it were of the ledger that is there
        (own[1].id.encode(), own[0].id.encode()),
        (own[1].id.encode(), b"f" * 16 + b"-1"),
    ):
        changed = second.replace(old, new)
        assert changed != second
        merge = merge_accounts(split_of(*own), [*valid, ("c", changed)])
        assert (merge.counted_nano, len(merge.tampered)) == (302, 1)
    twice = [("c", second.replace(b":250", b":0")), ("d", second.replace(b":250", b":1"))]
    merge = merge_accounts(split_of(*own), [valid[0], *twice])
    assert (merge.counted_nano, merge.unused_nano) == (601, 0)


def test_an_unreadable_file_beside_valid_accounts_counts_as_the_largest_lease() -> None:
    own = leases(100, 300)
    files = [("a", book_file(own[0], 1)), ("b", book_file(own[1], 1)), ("c", b"{")]
    merge = merge_accounts(split_of(*own), files)
    assert (merge.counted_nano, merge.unassigned_nano, merge.unused_nano) == (302, 300, 98)
    assert merge_accounts(split_of(*own), files[1:]).unassigned_nano == 0


def test_a_call_of_unknown_price_makes_the_whole_lease_count() -> None:
    own = leases(100)
    assert merge_accounts(split_of(*own), [("a", book_file(own[0], 1, unpriced=1))]).counted_nano == 100


def test_what_earlier_attempts_spent_counts_too_and_is_not_issued_again() -> None:
    own = leases(100)
    merge = merge_accounts(split_of(*own, earlier_nano=50), [("a", book_file(own[0], 30))])
    assert (merge.counted_nano, merge.unused_nano) == (80, 70)


@given(st.lists(st.tuples(st.integers(1, 1_000), st.integers(0, 1_000), st.integers(0, 3)), min_size=1, max_size=6))
def test_a_merge_never_counts_less_than_was_spent(rows: list[tuple[int, int, int]]) -> None:
    own = leases(*(nano for nano, _, _ in rows))
    files, billed = [], 0
    for lease, (nano, wanted, fate) in zip(own, rows, strict=True):
        spent = min(nano, wanted)
        billed += spent
        data = book_file(lease, spent)
        files += {0: [("kept", data)], 1: [], 2: [("cut", data[:-9])], 3: [("kept", data), ("kept again", data)]}[fate]
    merge = merge_accounts(split_of(*own), files)
    assert billed <= merge.counted_nano <= merge.split.total_nano
    assert merge.counted_nano + merge.unused_nano <= merge.split.total_nano


def test_an_account_that_says_nonsense_is_none() -> None:
    lease = signed()
    for change in ({"spent_nano": -1}, {"calls": 2**101}, {"book": "x"}, {"host": 7}):
        assert read_account(book_file(lease, **dict[str, Any](change))) is None
    assert read_account(book_file(lease)) is not None
    assert account(lease, 2, 3).counted_nano == 5


# --- what is loaded -------------------------------------------------------------------------------------------------


def test_the_package_for_signatures_is_loaded_by_the_first_signature_only() -> None:
    program = (
        "import sys, agentctl.budget.account_merge, agentctl.budget.lease_texts, agentctl.runner.lease_terms\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'cryptography'], 'loaded'\n"
        "from agentctl.budget.signatures import new_key\n"
        "new_key()\n"
        "assert 'cryptography' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_signing_key_signs_the_same_lease_with_the_same_bytes() -> None:
    again = sign_lease(
        SigningKey(KEY.seed), split_id="0123456789abcdef", job=1, jobs=3, nano=1_000_000_000, issued_s=ISSUED_S,
        expires_s=ISSUED_S + 7200, bind=signed().bind,
    )  # fmt: skip
    assert again.text == signed().text
