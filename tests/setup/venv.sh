#!/usr/bin/env bash
# venv.sh STAMP [EXTRAS]: make .venv with a suitable Python and install this checkout into it, editable.
# Touches STAMP when done.  As root on Debian it installs the missing system packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/lib.sh
stamp=$1 extras=${2:-}

suitable() { # 3.11 to 3.13, as pyproject.toml says
    command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    local candidate fallback=""
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        suitable "$candidate" || continue
        if can_make_venv "$candidate"; then
            echo "$candidate"
            return
        fi
        fallback=${fallback:-$candidate}
    done
    echo "$fallback"
}

if ! [ -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    if [ -z "$python" ] || ! can_make_venv "$python"; then
        say "Installing Python and its venv module (apt-get) …"
        apt_install python3 python3-venv || true
        python=$(find_python)
    fi
    if [ -z "$python" ]; then
        say "chainwatch needs Python 3.11, 3.12 or 3.13; this machine has none (PYTHON=/path/to/python3 names one)."
        exit 1
    fi
    if ! can_make_venv "$python"; then
        say "$python cannot make virtual environments: install its package (apt-get install python3-venv) as root."
        exit 1
    fi
    say "Making .venv with $("$python" --version) …"
    "$python" -m venv .venv
fi

say "Installing chainwatch${extras:+ and what its tests need} (about a minute the first time) …"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! timeout 1200 .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --editable ".${extras:+[$extras]}" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
touch "$stamp"
