#!/bin/sh
# Installs the Debian packages given as arguments. Unless run as root, names those that are missing and fails.
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "this is not Debian: install the equivalents of these packages yourself: $*" >&2
    exit 0
fi

missing=""
for package in "$@"; do
    status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "missing Debian packages; install them with: sudo apt-get install$missing" >&2
    exit 1
fi
apt-get update --quiet
# shellcheck disable=SC2086 # a list of package names, meant to be split
DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $missing
