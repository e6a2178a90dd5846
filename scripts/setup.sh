#!/bin/sh
# Makes .venv from the lock file: every package pinned and checked by hash.
set -eu
PYTHON=${PYTHON:-python3}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Heliograph needs Python 3.11 or newer; $PYTHON is $("$PYTHON" --version 2>&1). Try: make setup PYTHON=python3.11" >&2
  exit 1
}
if [ ! -x .venv/bin/uv ]; then
  # Debian's Python has no ensurepip without python3-venv; then the outer pip fills the environment.
  "$PYTHON" -m venv .venv 2>/dev/null || "$PYTHON" -m venv --clear --without-pip .venv
  "$PYTHON" -m pip --python .venv/bin/python install --quiet --disable-pip-version-check 'uv>=0.6'
fi
.venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
