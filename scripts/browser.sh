#!/bin/sh
# What the browser tests need: Debian's Chromium, npm, and other people's browser libraries by lock file.  Installs them
# when it can; says so when it cannot (the tests then skip, except in CI, where they fail).
set -eu
need=""
command -v chromium >/dev/null 2>&1 || need="$need chromium"
command -v npm >/dev/null 2>&1 || need="$need npm"
if [ -n "$need" ]; then
  if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $need; } >/dev/null || true
  fi
  for tool in $need; do
    command -v "$tool" >/dev/null 2>&1 || echo "browser tests: no $tool here; they will be skipped (apt-get install $tool)" >&2
  done
fi
modules=tests/e2e/browser/node_modules
if command -v npm >/dev/null 2>&1 && [ ! -d "$modules/@segment/analytics-next" ]; then
  (cd tests/e2e/browser && npm ci --ignore-scripts --no-audit --no-fund --silent) ||
    echo "browser tests: npm could not install $modules; the test of Segment's library will be skipped" >&2
fi
