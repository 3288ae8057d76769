"""A user's machine in a temporary folder: a working directory, a config folder, an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.settings import Loaded, SettingsCheck, check_settings, load_settings


class Desk:
    """Writes settings wherever they may stand, and loads them as one process would."""

    def __init__(self, root: Path) -> None:
        self.cwd = root / "work"
        self.config = root / "config"
        self.state = root / "state"
        self.environ = {
            "HOME": str(root),
            "AGENTCTL_CONFIG_DIR": str(self.config),
            "AGENTCTL_STATE_DIR": str(self.state),
            "AGENTCTL_CACHE_DIR": str(root / "cache"),
        }
        self.cwd.mkdir()
        self.config.mkdir()

    def user_env(self, text: str, mode: int = 0o600) -> Path:
        return _write(self.config / ".env", text, mode)

    def user_toml(self, text: str) -> Path:
        return _write(self.config / "config.toml", text)

    def project_env(self, text: str) -> Path:
        return _write(self.cwd / ".env", text)

    def project_toml(self, text: str) -> Path:
        return _write(self.cwd / ".agentctl.toml", text)

    def file(self, name: str, text: str) -> Path:
        return _write(self.cwd / name, text)

    def load(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        flags: Mapping[str, object] | None = None,
        env_files: Sequence[str | Path] = (),
        config: str | Path | None = None,
        remember: bool = True,
    ) -> Loaded:
        return load_settings(
            flags=flags or {},
            environ={**self.environ, **(environ or {})},
            cwd=self.cwd,
            env_files=env_files,
            config=config,
            remember=remember,
        )

    def check(
        self, environ: Mapping[str, str] | None = None, *, flags: Mapping[str, object] | None = None
    ) -> SettingsCheck:
        return check_settings(flags=flags or {}, environ={**self.environ, **(environ or {})}, cwd=self.cwd)

    def refusal(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        flags: Mapping[str, object] | None = None,
        env_files: Sequence[str | Path] = (),
        config: str | Path | None = None,
    ) -> UsageError:
        with pytest.raises(UsageError) as caught:
            self.load(environ, flags=flags, env_files=env_files, config=config)
        return caught.value


def _write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path
