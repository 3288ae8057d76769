"""The corpus: every case in every format that can have it, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.parity.answers import answers, usages
from tests.support.parity.cases import Case
from tests.support.parity.faults import faults, lines
from tests.support.parity.requests import requests


def _corpus() -> dict[str, Case]:
    found: dict[str, Case] = {}
    for case in (*requests(), *answers(), *usages(), *faults(), *lines()):
        for format in case.formats:
            name = f"{format}: {case.name}"
            assert name not in found, name
            found[name] = case
    return found


#: ``openai: a question alone`` -> the case.
CASES: Mapping[str, Case] = _corpus()
