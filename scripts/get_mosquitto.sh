#!/bin/sh
# get_mosquitto.sh DIRECTORY: nothing where Mosquitto is there; else installed, or without root unpacked in DIRECTORY.
set -eu
directory=$1
here=$(dirname "$0")

if command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || [ -x "$directory/usr/sbin/mosquitto" ]; then
    exit 0
fi

if sh "$here/apt_install.sh" mosquitto; then
    echo "make: Mosquitto is installed; where Debian runs it as a service on 127.0.0.1:1883 and you do not want" \
        "that: systemctl disable --now mosquitto"
    exit 0
fi

echo "make: without root: unpacking Mosquitto in $directory" >&2
partial="$directory.partial"
rm -rf "$partial"
mkdir -p "$partial"
# Mosquitto and those of its libraries that a small system lacks; an older or newer Debian names some differently.
if sh "$here/apt_unpack.sh" "$partial" \
    mosquitto libwrap0 libdlt2 libsystemd0 libcap2 'libssl3|libssl3t64' 'libnsl2|libnsl2t64' 'libtirpc3|libtirpc3t64' \
    && [ -x "$partial/usr/sbin/mosquitto" ]; then
    rm -rf "$directory"
    mv "$partial" "$directory"
    exit 0
fi
rm -rf "$partial"
echo "make: no Mosquitto: install Mosquitto 2.0 or later with your system's packages, then try again" >&2
exit 1
