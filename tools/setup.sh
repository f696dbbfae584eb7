#!/bin/sh
# setup.sh PYTHON VENV NAME: make the virtual environment and install requirements/NAME.txt and Valija itself.
# Uses apt only for a Python that cannot make virtual environments, as Debian's without python3-venv.
set -eu
python=$1 venv=$2 name=$3

"$python" - <<'EOF' || { echo "Valija needs Python 3.11 or later; name one with: make PYTHON=python3.12" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
EOF
if ! "$python" -c "import ensurepip, venv" 2>/dev/null; then
    root=
    [ "$(id -u)" -eq 0 ] || root=sudo
    echo "Installing python3-venv"
    $root env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv' >/dev/null
fi
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
echo "Installing what $name needs into $venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "requirements/$name.txt"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
