#!/usr/bin/env bash
# parts.sh: install the optional real parts of the tests into .tools/ and from Debian.
# Never fails: what could not be had is written to .tools/missing.txt with the reason, and its tests are skipped.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/lib.sh
mkdir -p .tools/bin
missing=.tools/missing.txt
: >"$missing"

miss() { printf '%s\n' "$*" >>"$missing"; }

# need COMMAND PACKAGE WHAT: a program from a Debian package.
need() {
    command -v "$1" >/dev/null && return
    if ! as_root; then
        miss "$3: $1 is not installed (as root: apt-get install $2)"
    elif say "Installing $2 …" && ! apt_install "$2"; then
        miss "$3: apt-get install $2 did not work"
    fi
}

part_postgres() {
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || need initdb postgresql "PostgreSQL ledger tests"
    # PostgreSQL does not run as root; the tests' server then runs as this user.
    if as_root && ! getent passwd chainwatch-test >/dev/null; then
        useradd --system --no-create-home --shell /usr/sbin/nologin chainwatch-test 2>/dev/null || true
    fi
}

part_promtool() { # only the one program of a large package, so that no Prometheus server is installed beside it
    if command -v promtool >/dev/null || [ -x .tools/bin/promtool ]; then return; fi
    local folder
    folder=$(mktemp -d)
    say "Fetching promtool …"
    if (cd "$folder" && timeout 120 apt-get -qq download prometheus && dpkg-deb -x ./*.deb .) >/dev/null 2>&1; then
        cp "$folder/usr/bin/promtool" .tools/bin/
    else
        miss "alert rule tests: promtool is not installed (apt-get install prometheus)"
    fi
    rm -rf "$folder"
}

part_npm() {
    if ! command -v npm >/dev/null; then
        need npm npm "real nodes from npm"
        command -v npm >/dev/null || return
    fi
    cmp -s tests/setup/package.json .tools/package.json && [ -d .tools/node_modules ] && return
    say "Installing test nodes from npm …"
    cp tests/setup/package.json .tools/package.json.new
    local stage=.tools/stage
    mkdir -p "$stage" && cp tests/setup/package.json "$stage/package.json"
    if timeout 600 npm install --prefix "$stage" --ignore-scripts --no-audit --no-fund --no-package-lock \
        --no-update-notifier --fetch-retries=1 --loglevel=error >.tools/npm.log 2>&1 </dev/null; then
        rm -rf .tools/node_modules
        mv "$stage/node_modules" .tools/node_modules
        mv .tools/package.json.new .tools/package.json
    else
        miss "real nodes from npm: npm install did not work (.tools/npm.log)"
    fi
    rm -rf "$stage" .tools/package.json.new
}

part_postgres
need monerod monero "real Monero node"
need chromium chromium "pages in a real browser"
need systemd-analyze systemd "hardening of the service"
part_promtool
part_npm
[ -e .tools/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil ] || miss "real EVM node: anvil has no build for this machine"
[ -d .tools/node_modules/@solana/surfpool-linux-x64-gnu ] || miss "real Solana node: surfpool has no build for this machine"
command -v bitcoind >/dev/null || [ -n "${BITCOIND:-}" ] || miss "Bitcoin Core: no bitcoind on PATH (BITCOIND names one); bcoin stands in for it"
exit 0
