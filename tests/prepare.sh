#!/bin/sh
# Make a fresh Debian machine ready to build, test and show this project: apt packages and .venv. Quick when done.
# With the word "demo" only for showing it, which takes far fewer packages; with "bench" for measuring as well.
set -eu
cd "$(dirname "$0")/.."

wanted() {
    case $1 in
    demo) sed '/^# Only for tests/,$d' tests/packages.txt ;;
    bench) cat tests/packages.txt ;;
    *) sed '/^# Only for benchmarks/,$d' tests/packages.txt ;;
    esac | sed '/^#/d; /^$/d'
}

missing() {
    wanted "$1" | while read -r package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

install_packages() {
    if [ "$(id -u)" != 0 ]; then
        echo "these packages are missing, and installing them takes root:" "$@" >&2
        exit 1
    fi
    # We want the programs; none of their services may start on this machine, now or at its next boot.
    policy=/usr/sbin/policy-rc.d
    # One that a killed run of ours left behind is recognised by its text.
    if [ ! -e "$policy" ] || grep -q "$0" "$policy"; then
        printf '#!/bin/sh\n# %s\nexit 101\n' "$0" >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT INT TERM
    fi
    export DEBIAN_FRONTEND=noninteractive
    # The lists may be absent, as in images of the cloud, or older than the archive.
    apt-get install -qq --no-install-recommends "$@" >/dev/null 2>&1 || {
        apt-get update -qq
        apt-get install -qq --no-install-recommends "$@" >/dev/null
    }
    for package in "$@"; do
        case $package in systemd* | dbus) continue ;; esac
        dpkg-query -L "$package" | sed -n 's,.*/lib/systemd/system/\([^/@]*\.\(service\|socket\|timer\)\)$,\1,p'
    done | while read -r unit; do
        systemctl --quiet disable "$unit" 2>/dev/null || true # static units have nothing to disable
    done
}

packages=$(missing "${1:-all}")
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # one word per package
    echo installing $packages
    # shellcheck disable=SC2086
    install_packages $packages
fi

[ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
# The stamp is older than what it stands for when a dependency was added.
if [ ! .venv/.ready -nt pyproject.toml ]; then
    echo "installing the package and its development tools into .venv"
    .venv/bin/pip --quiet --disable-pip-version-check install --editable '.[dev]'
    touch .venv/.ready
fi
