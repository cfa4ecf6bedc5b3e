# Shared by the set-up scripts.  Sourced, not run.

say() { printf '%s\n' "$*" >&2; }

as_root() { [ "$(id -u)" = 0 ]; }

# apt_install PACKAGE…: install Debian packages as root, without questions, services or extras.
apt_install() {
    as_root && command -v apt-get >/dev/null || return 1
    # Not started after installation: the tests start what they need themselves.
    local policy=/usr/sbin/policy-rc.d made="" status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1
    fi
    export DEBIAN_FRONTEND=noninteractive
    local quiet=(-qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60)
    if [ -z "${APT_UPDATED:-}" ]; then
        timeout 120 apt-get "${quiet[@]}" update >/dev/null 2>&1 || true
        APT_UPDATED=1
    fi
    timeout 600 apt-get "${quiet[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1 </dev/null || status=$?
    [ -z "$made" ] || rm -f "$policy"
    return "$status"
}
