#!/usr/bin/env bash
# Install agentctl of this checkout in a new folder, and tell the later steps where that is.
#   PYTHON   the Python to use
#   EXTRAS   names of extras, between commas or blanks
set -feuo pipefail
cd "$(dirname "$0")/../.."

refuse() {
    printf '::error title=agentctl::%s\n' "$1"
    exit 2
}

folder=$(mktemp -d "${RUNNER_TEMP:?}/agentctl.XXXXXX")
printf 'folder=%s\n' "$folder" >>"$GITHUB_OUTPUT"

locks=(-r requirements.lock)
for extra in ${EXTRAS//,/ }; do
    [[ $extra =~ ^[a-z]+$ && -f requirements-$extra.lock ]] || refuse "the input extras names an extra that agentctl does not have"
    locks+=(-r "requirements-$extra.lock")
done
"$PYTHON" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 ||
    refuse "the input python is not Python 3.11 or later: run actions/setup-python before this action, or name another one"

# Debian's Python has its pip, but none to copy; others have the opposite.
pip=("$PYTHON" -I -m pip --python "$folder/venv/bin/python")
if "$PYTHON" -I -m pip --version >/dev/null 2>&1; then
    "$PYTHON" -I -m venv --without-pip "$folder/venv"
else
    "$PYTHON" -I -m venv "$folder/venv"
    pip=("$folder/venv/bin/python" -I -m pip)
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
"${pip[@]}" install --quiet --require-hashes --only-binary :all: "${locks[@]}"
"${pip[@]}" install --quiet --no-deps --no-build-isolation --no-index .
