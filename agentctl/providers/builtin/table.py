"""The table of all lookups: about 40 read-only questions that are answered without a model."""

from __future__ import annotations

from agentctl.providers.builtin.docker_lookups import DOCKER_ROWS
from agentctl.providers.builtin.file_lookups import FILE_ROWS
from agentctl.providers.builtin.lookup import Row
from agentctl.providers.builtin.system_lookups import SYSTEM_ROWS
from agentctl.providers.builtin.text_lookups import TEXT_ROWS

ROWS: tuple[Row, ...] = DOCKER_ROWS + SYSTEM_ROWS + FILE_ROWS + TEXT_ROWS
