#!/usr/bin/env bash
# Write all locks anew from pyproject.toml, keeping the versions that they pin where they still fit. Needs uv.
#   bash tests/locks.sh                     after a change of pyproject.toml
#   bash tests/locks.sh --upgrade           take the newest versions
#   bash tests/locks.sh -P psycopg          take the newest version of one package
# requirements.lock pins agentctl, requirements-mcp.lock agentctl with the extra mcp. The locks of the other extras hold
# what such an extra adds: install them together with requirements.lock. None names the host of a registry.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=(otel postgres leases)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The build's own packages: pip installs agentctl itself without isolation and without an index.
printf '%s\n' 'hatchling>=1.27,<2' >"$scratch/build.in"

compile() {
    uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url "$@"
}

# The tests' lock has everything; the others take their versions from it.
all=(--extra mcp --extra test)
for extra in "${extras[@]}"; do all+=(--extra "$extra"); done
compile "$@" "${all[@]}" -o tests/requirements.lock pyproject.toml "$scratch/build.in"
sed -n 's/^\([^ ]*==[^ ]*\).*/\1/p' tests/requirements.lock >"$scratch/pinned"
compile -c "$scratch/pinned" -o requirements.lock pyproject.toml "$scratch/build.in"
compile -c "$scratch/pinned" --extra mcp -o requirements-mcp.lock pyproject.toml "$scratch/build.in"
for extra in "${extras[@]}"; do
    compile -c "$scratch/pinned" --extra "$extra" -o "$scratch/extra.lock" pyproject.toml "$scratch/build.in"
    python3 - "$scratch/extra.lock" requirements.lock >"requirements-$extra.lock" <<'PYTHON'
import re
import sys
from pathlib import Path

whole, own = (re.split(r"\n(?=\S)", Path(name).read_text().strip()) for name in sys.argv[1:])
names = {entry.split("==")[0] for entry in own}
print("\n".join(entry for entry in whole if entry.split("==")[0] not in names))
PYTHON
done
