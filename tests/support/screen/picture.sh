#!/usr/bin/env bash
# Take the picture of the README, tests/support/screen/live.png: a scripted model at the real command line, in the middle of a run.
# Needs tmux, the font DejaVu Sans Mono and, for PYTHON, rich and pillow; STORY_PYTHON runs agentctl.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export PYTHONPATH="$here/../.." STORY_PACE=0.08 OPENAI_API_KEY=sk-for-the-picture-only
export AGENTCTL_STATE_DIR="$folder/s" AGENTCTL_CONFIG_DIR="$folder/c" AGENTCTL_CACHE_DIR="$folder/k"
story=("${STORY_PYTHON:-python3}" -m tests.ui.stories_cli busy)
"${STORY_PYTHON:-python3}" -m tests.ui.stories_cli costly run -q "Spend a little before" --max-cost 0.9 >/dev/null 2>&1 || :
"$here/screen.sh" "$here/live.png" 92x20 "${WAIT-6.3}" "${story[@]}" run "Restart the container that is not healthy" \
    --max-cost 0.15 --yes
rm -f "$here/live.txt"
