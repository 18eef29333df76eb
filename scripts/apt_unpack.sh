#!/bin/sh
# apt_unpack.sh DIRECTORY PACKAGE...: downloads packages and unpacks them in DIRECTORY, without root and without
# installing them. `a|b` takes whichever of two names this release has.
set -eu
directory=$1
shift
command -v apt-get >/dev/null && command -v dpkg >/dev/null || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/packages"
# Package lists of its own: the system's may be missing, and only root may renew them.
own() {
    command=$1
    shift
    "$command" -qq -o Dir::State="$work/state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$work/cache" \
        -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" "$@"
}

own apt-get update >&2 || true
cd "$work/packages"
for choice in "$@"; do
    first=${choice%%|*}
    second=${choice##*|}
    own apt-get download "$first" 2>/dev/null >&2 || own apt-get download "$second" >&2
done
cd - >/dev/null
for package in "$work"/packages/*.deb; do
    dpkg -x "$package" "$directory"
done
