#!/bin/sh
# get_influxd.sh DIRECTORY: nothing where InfluxDB 1 is there; else installed, or without root unpacked in DIRECTORY.
set -eu
directory=$1
here=$(dirname "$0")

if command -v influxd >/dev/null || [ -x /usr/bin/influxd ] || [ -x "$directory/usr/bin/influxd" ]; then
    exit 0
fi

if sh "$here/apt_install.sh" influxdb; then
    echo "make: InfluxDB is installed; where Debian runs it as a service on port 8086 and you do not want that:" \
        "systemctl disable --now influxdb"
    exit 0
fi

echo "make: without root: unpacking InfluxDB in $directory" >&2
partial="$directory.partial"
rm -rf "$partial"
mkdir -p "$partial"
# It is written in Go and needs none of the other packages to run.
if sh "$here/apt_unpack.sh" "$partial" influxdb && [ -x "$partial/usr/bin/influxd" ]; then
    rm -rf "$directory"
    mv "$partial" "$directory"
    exit 0
fi
rm -rf "$partial"
echo "make: no InfluxDB: install InfluxDB 1 (influxd) with your system's packages, then try again" >&2
exit 1
