#!/bin/sh
# What verifies our DKIM signatures beside dkimpy: Debian's opendkim.  Installs it when it can; says so when it cannot
# (the test then skips, except in CI, where it fails).
set -eu
PATH=$PATH:/usr/sbin
command -v opendkim >/dev/null 2>&1 && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends opendkim; } >/dev/null || true
fi
command -v opendkim >/dev/null 2>&1 ||
  echo "mail tests: no opendkim here; its test will be skipped (apt-get install opendkim)" >&2
