#!/bin/sh
# What the local cluster (deploy/local) starts: Debian's PostgreSQL, Redis, Postfix's smtp-sink, openssl; and Kafka.
# Installs what is missing when it can, without starting services; says what to install when it cannot.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
missing() {
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || printf ' postgresql'
  command -v smtp-sink >/dev/null 2>&1 || printf ' postfix'
  command -v redis-server >/dev/null 2>&1 || printf ' redis-server'
  command -v openssl >/dev/null 2>&1 || printf ' openssl'
}
if [ -n "$(missing)" ]; then
  sh scripts/postgres.sh
  sh scripts/postfix.sh
fi
need=$(missing)
if [ -n "$need" ] && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  # The packages start their services unless a policy forbids it; the tests run instances of their own.
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && trap 'rm -f "$policy"' EXIT; }
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $need; } >/dev/null || true
fi
need=$(missing)
[ -z "$need" ] || { echo "the local cluster needs more; as root: apt-get install$need" >&2; exit 1; }
sh scripts/kafka.sh
