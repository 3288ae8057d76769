#!/usr/bin/env bash
# Take the README's pictures, live.png and breaker.png: the real command line with a scripted model and tools.
# Needs tmux, the font DejaVu Sans Mono and, for PYTHON, rich and pillow; STORY_PYTHON runs agentctl.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export PYTHONPATH="$here/../../..${PYTHONPATH:+:$PYTHONPATH}" OPENAI_API_KEY=sk-for-the-picture-only
export STORY_MODEL=gpt-4-turbo LLM_MODEL=gpt-4-turbo
export AGENTCTL_STATE_DIR="$folder/s" AGENTCTL_CONFIG_DIR="$folder/c" AGENTCTL_CACHE_DIR="$folder/k"
story=("${STORY_PYTHON:-python3}" -m tests.support.screen.stories_cli busy run)
for _ in 1 2 3; do "${story[@]}" -q "Spend a little before" --max-cost 0.90 --yes >/dev/null; done
STORY_PACE=0.08 "$here/screen.sh" "$here/live.png" 100x22 "${WAIT-11}" "${story[@]}" \
    "Restart the container that is not healthy" --max-cost 0.15 --yes
"$here/screen.sh" "$here/breaker.png" 100x38 "${WAIT-4}" "${story[@]}" \
    "Restart the container that is not healthy" --max-cost 0.07 --yes
rm -f "$here/live.txt" "$here/breaker.txt"
