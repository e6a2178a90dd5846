#!/bin/sh
# What the local cluster (deploy/local) starts: Debian's PostgreSQL, Redis, Postfix's smtp-sink, openssl; and Kafka.
# Installs what is missing when it can, without starting services; says what to install when it cannot.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
need=""
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || need="$need postgresql"
command -v redis-server >/dev/null 2>&1 || need="$need redis-server"
command -v smtp-sink >/dev/null 2>&1 || need="$need postfix"
command -v openssl >/dev/null 2>&1 || need="$need openssl"
if [ -n "$need" ] && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  # The packages start their services unless a policy forbids it; the tests run instances of their own.
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && trap 'rm -f "$policy"' EXIT; }
  echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections || true
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $need; } >/dev/null
elif [ -n "$need" ]; then
  echo "the local cluster needs more; as root: apt-get install$need" >&2
  exit 1
fi
sh scripts/kafka.sh
