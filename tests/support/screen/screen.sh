#!/usr/bin/env bash
# Photograph a terminal:  screen.sh OUT.png COLSxROWS SECONDS CMD [ARG...]
# runs CMD in a private tmux, waits SECONDS, types KEYS if there are any (tmux send-keys) and waits AFTER more,
# then saves the screen as OUT.png and OUT.txt. PYTHON names an interpreter that has rich and pillow; BACKGROUND=light.
set -euo pipefail
out=$1 size=$2 wait=$3
shift 3
name=shot-$$
trap 'tmux -L $name kill-server 2>/dev/null || :' EXIT
printf -v cmd '%q ' "$@"
tmux -L "$name" -f /dev/null new-session -d -x "${size%x*}" -y "${size#*x}" \
    "env LC_ALL=C.UTF-8 TERM=${SHOT_TERM-tmux-256color} COLORTERM= $cmd; sleep 3600"
sleep "$wait"
if [ -n "${KEYS-}" ]; then
    # shellcheck disable=SC2086 - several keys
    tmux -L "$name" send-keys $KEYS
    sleep "${AFTER-1}"
fi
tmux -L "$name" capture-pane -p >"${out%.png}.txt"
tmux -L "$name" capture-pane -epN | "${PYTHON:-python3}" "$(dirname "$0")/shot.py" "$out" "${size%x*}" "${BACKGROUND-dark}"
