#!/bin/sh
# What the tests with a real receiving server need: Debian's Postfix (with smtp-sink and smtp-source for the benchmarks).
# Installs it when it can, without a configuration of its own and without starting it; an installation that is there
# already is left as it is.  Says so when it cannot (the tests then skip, except in CI, where they fail).
set -eu
PATH=$PATH:/usr/sbin:/sbin
command -v postfix >/dev/null 2>&1 && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  # The package starts its service unless a policy forbids it; the tests run instances of their own.
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && trap 'rm -f "$policy"' EXIT; }
  echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections || true
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends postfix; } >/dev/null || true
fi
command -v postfix >/dev/null 2>&1 ||
  echo "Postfix tests: no postfix here; they will be skipped (as root: apt-get install postfix)" >&2
