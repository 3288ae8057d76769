"""What a disk refuses, told with the cure."""

from __future__ import annotations

import errno

from agentctl.core.errors import StateError


def state_error(error: OSError, what: str) -> StateError:
    hints = {
        errno.ENOSPC: "free some space there, or set AGENTCTL_STATE_DIR to a folder on another disk",
        errno.EDQUOT: "free some space there, or set AGENTCTL_STATE_DIR to a folder on another disk",
        errno.EFBIG: "raise `ulimit -f`",
        errno.EEXIST: "what is in the way is no folder or no journal of ours: move it, or set AGENTCTL_STATE_DIR",
        errno.ENOENT: "agentctl runs list   shows what is there",
    }
    reason = (error.strerror or str(error)).lower()
    hint = hints.get(error.errno or 0, "set AGENTCTL_STATE_DIR to a folder of yours that can be written")
    return StateError(f"{what}: {reason}", hint=hint)
