#!/bin/sh
# Debian's Chromium and Node's package client, for the browser tests.  Installs them when it can; says so when it cannot
# (the tests then skip, except in CI, where they fail).
set -eu
need=""
command -v chromium >/dev/null 2>&1 || need="$need chromium"
command -v npm >/dev/null 2>&1 || need="$need npm"
[ -n "$need" ] || exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends $need >/dev/null && exit 0
fi
echo "browser tests: cannot install$need here (no apt-get, or not root); install them to run these tests" >&2
[ -z "${CI:-}" ] || exit 1
