#!/usr/bin/env bash
# check.sh [lint|test]: everything that must hold before a change is merged.  Runs all of it even if a part fails,
# ends with a non-zero status if one did, and prints last what was skipped and why.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=.venv/bin/python
failed=()

step() { # step NAME COMMAND…
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    "$@" || failed+=("$name")
}

step "ruff check" $python -m ruff check --no-cache .
step "ruff format" $python -m ruff format --no-cache --check .
step "mypy --strict on the built wheel" timeout 600 tests/setup/types.sh
if [ "${1:-test}" = test ]; then
    skips=$(mktemp)
    export CHAINWATCH_SKIPS=$skips
    # 100,000 mutations for each signature scheme, or as many as a minute allows (most need five seconds).
    export CHAINWATCH_PROOF_SECONDS=${CHAINWATCH_PROOF_SECONDS:-60}
    workers=$(nproc)
    # More workers than this only queue for the same disk and the same real nodes.
    [ "$workers" -le 4 ] || workers=4
    step "pytest" timeout --signal=INT --kill-after=300 4200 \
        $python -m pytest -q -m "not long" -n "$workers" --dist worksteal --max-worker-restart 0
fi
[ ${#failed[@]} -eq 0 ] || printf '\nFAILED: %s' "${failed[@]}"
if [ -n "${skips:-}" ]; then
    printf '\n== skipped or run twice, and why\n'
    cat "$skips" .tools/missing.txt 2>/dev/null | grep . || echo "nothing"
    rm -f "$skips"
fi
[ ${#failed[@]} -eq 0 ]
