"""Keys are found by their shape wherever they occur, and ordinary lines stay as they are: measured on a corpus."""

from __future__ import annotations

import pytest

from agentctl.core.key_shapes import IN_CONTEXT, WORDS
from agentctl.core.redaction import redact
from tests.support.keys import Sample, samples
from tests.unit.core.ordinary import KINDS, generated, real

_PIECE = 9  # characters of a secret that may not be left together


def is_found(sample: Sample) -> bool:
    left = redact(sample.text, ())
    pieces = (sample.secret[at : at + _PIECE] for at in range(len(sample.secret) - _PIECE + 1))
    return "[redacted]" in left and not any(piece in left for piece in pieces)


def test_keys_of_each_shape_are_found_in_their_contexts() -> None:
    missed: dict[str, list[str]] = {}
    total: dict[str, int] = {}
    for sample in samples(seed=7, rounds=1):
        total[sample.kind] = total.get(sample.kind, 0) + 1
        if not is_found(sample):
            missed.setdefault(sample.kind, []).append(sample.text)
    assert len(total) >= 50
    assert sum(map(len, missed.values())) <= 0.05 * sum(total.values())
    assert {kind: texts for kind, texts in missed.items() if len(texts) > 0.05 * total[kind]} == {}


def test_the_corpus_has_each_shape_of_the_table() -> None:
    assert {shape.kind for shape in (*WORDS, *IN_CONTEXT)} - {sample.kind for sample in samples(1, 1)} <= {
        "aws-bedrock-key", "cloudflare-key", "flyio-token", "mapbox-token", "planetscale-token", "sentry-token",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_lines_of_each_kind_stay(kind: str) -> None:
    from random import Random

    rng = Random(5)
    lines = [KINDS[kind](rng) for _ in range(200)]
    assert [line for line in lines if redact(line, ()) != line] == []


def test_ordinary_lines_taken_for_a_key_are_at_most_one_in_ten_thousand() -> None:
    lines = (*generated(seed=3, count=30_000), *real(20_000))
    wrong = [line for line in lines if redact(line, ()) != line]
    assert len(wrong) <= len(lines) // 10_000, wrong


def test_ordinary_lines_in_one_text_stay() -> None:
    text = "\n".join(generated(seed=11, count=8_000))
    assert len(text) > 700_000
    assert redact(text, ()) == text


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer $TOKEN",
        "Authorization: Bearer <your-access-token-here>",
        "postgres://user:${PASSWORD}@db/x postgres://user:<password>@db/x",
        "AWS_SECRET_ACCESS_KEY=$(aws configure get aws_secret_access_key)",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        'integrity: "sha512-abc", "auth": "none", "auth": "required"',
        "sk-learn-contrib-and-other-packages-2024",
    ],
)
def test_placeholders_and_names_stay(text: str) -> None:
    assert redact(text, ()) == text


def test_a_private_key_that_was_cut_at_either_end_is_taken_out() -> None:
    body = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7" + "a" * 12] * 8)
    headless = redact(f"{body}\n-----END RSA PRIVATE KEY-----\nafter", ())
    endless = redact(f"-----BEGIN RSA PRIVATE KEY-----\n{body}\nMIIE", ())
    followed = redact(f"-----BEGIN PRIVATE KEY-----\n{body}\nordinary words follow, and they stay here\n" * 2, ())
    assert (headless, endless) == ("[redacted]-----END RSA PRIVATE KEY-----\nafter", "[redacted]")
    assert followed.count("ordinary words follow, and they stay here") == 2


def test_two_keys_side_by_side_are_both_taken_out() -> None:
    key, other = "AKIAIOSFODNN7EXAMPLE", "ghp_0123456789abcdefghijABCDEFGHIJ012345"
    assert redact(f"hunter2hunter2{key}", ["hunter2hunter2"]) == "[redacted][redacted]"
    assert redact(f"x={key};y={other}", ()) == "x=[redacted];y=[redacted]"
