"""The table of all lookups: about 40 read-only questions that are answered without a model."""

from __future__ import annotations

from agentctl.providers.builtin.docker_rows import DOCKER_ROWS
from agentctl.providers.builtin.file_rows import FILE_ROWS
from agentctl.providers.builtin.row import Row
from agentctl.providers.builtin.system_rows import SYSTEM_ROWS
from agentctl.providers.builtin.text_rows import TEXT_ROWS

ROWS: tuple[Row, ...] = DOCKER_ROWS + SYSTEM_ROWS + FILE_ROWS + TEXT_ROWS
