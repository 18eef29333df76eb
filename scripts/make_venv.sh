#!/bin/sh
# make_venv.sh PYTHON DIRECTORY: a virtual environment with pip, also where Debian's python3 comes without venv.
set -eu
python=$1
directory=$2
here=$(dirname "$0")

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "make: Splitrail needs Python 3.11 or later, and $python is not: try \`make PYTHON=python3.12 ...\`" >&2
    exit 1
fi

# Debian keeps ensurepip, with which venv installs pip, in a package of its own.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! sh "$here/apt_install.sh" "python$version-venv"; then
        echo "make: without root: unpacking pip instead" >&2
        wheels=$(mktemp -d)
        trap 'rm -rf "$wheels"' EXIT
        if ! sh "$here/apt_unpack.sh" "$wheels" python3-pip-whl; then
            echo "make: $python has no ensurepip: install the package python$version-venv, then try again" >&2
            exit 1
        fi
        rm -rf "$directory"
        "$python" -m venv --without-pip "$directory"
        # A wheel of pip is a zip file that Python runs as it is.
        wheel=$(find "$wheels" -name 'pip-*.whl')
        "$directory/bin/python" "$wheel/pip" install pip
        exit 0
    fi
fi

rm -rf "$directory"
"$python" -m venv "$directory"
