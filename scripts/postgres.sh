#!/bin/sh
# What the tests of the shared store need: Debian's PostgreSQL server.  Installs it when it can, without making a cluster
# and without starting it (the tests make their own); an installation that is there already is left as it is.  Says so
# when it cannot (the tests then skip, except in CI, where they fail).
set -eu
has() { command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }
has && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && trap 'rm -f "$policy"' EXIT; }
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; } >/dev/null || true
fi
has || echo "PostgreSQL tests: no initdb here; they will be skipped (as root: apt-get install postgresql)" >&2
