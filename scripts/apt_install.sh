#!/bin/sh
# apt_install.sh PACKAGE: installs it as root, or with a sudo that asks nothing; fails where neither is possible.
set -eu

if ! command -v apt-get >/dev/null; then
    exit 1
elif [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    exit 1
fi

echo "make: apt-get install $1" >&2
# One unreachable source need not matter: whether the package can be installed decides.
$as_root apt-get update -qq >&2 || true
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
