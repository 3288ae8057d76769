"""The table of all lookups: about 40 read-only questions that are answered without a model."""

from __future__ import annotations

from agentctl.providers.builtin.docker_lookups import DOCKER_LOOKUPS
from agentctl.providers.builtin.file_lookups import FILE_LOOKUPS
from agentctl.providers.builtin.lookup import Lookup
from agentctl.providers.builtin.system_lookups import SYSTEM_LOOKUPS
from agentctl.providers.builtin.text_lookups import TEXT_LOOKUPS

LOOKUPS: tuple[Lookup, ...] = DOCKER_LOOKUPS + SYSTEM_LOOKUPS + FILE_LOOKUPS + TEXT_LOOKUPS
