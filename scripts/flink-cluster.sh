#!/bin/sh
# A standalone Flink cluster on this machine, from the environment of `make flink`.
#   start                    a JobManager and FLINK_TASKMANAGERS (2) TaskManagers of one slot each, in the background
#   jobmanager               one JobManager, in the foreground
#   taskmanager NAME         one TaskManager, in the foreground
#   kill NAME | pid NAME     kill -9 it | its process id; NAME: jobmanager, or what a TaskManager was called (1, 2, ...)
#   again NAME               start a TaskManager again, in the background
#   stop                     all of them
# Environment: FLINK_HOME_DIR (.flink), FLINK_RUN (.flink/run: logs, checkpoints), FLINK_REST_PORT (8081),
# FLINK_RPC_PORT (6123), FLINK_TASKMANAGER_MB (1400).
set -eu
HOME_FLINK=$(cd "${FLINK_HOME_DIR:-.flink}" && pwd)
RUN=${FLINK_RUN:-$HOME_FLINK/run}
REST=${FLINK_REST_PORT:-8081}
RPC=${FLINK_RPC_PORT:-6123}
PYFLINK=$(readlink -f "$HOME_FLINK/pyflink")
mkdir -p "$RUN/conf" "$RUN/log" "$RUN/pid" "$RUN/flink-pid"
RUN=$(cd "$RUN" && pwd)
export FLINK_CONF_DIR="$RUN/conf" FLINK_LOG_DIR="$RUN/log" FLINK_PID_DIR="$RUN/flink-pid"
export PYTHONPATH="$HOME_FLINK/brain:$HOME_FLINK/venv/lib/$(ls "$HOME_FLINK/venv/lib")/site-packages"
export PATH="$HOME_FLINK/venv/bin:$PATH"

configure() {
  cp "$PYFLINK"/conf/log4j*.properties "$RUN/conf/"
  # Python in the JVM's own process needs what the wheel opens of the JDK.
  { sed -n '/^env:/,/^ *all:/p' "$PYFLINK/conf/config.yaml"; cat <<YAML
jobmanager:
  bind-host: 127.0.0.1
  rpc: { address: 127.0.0.1, port: $RPC }
  memory: { process: { size: 1024m } }
taskmanager:
  bind-host: 127.0.0.1
  host: 127.0.0.1
  numberOfTaskSlots: 1
  memory: { process: { size: ${FLINK_TASKMANAGER_MB:-1400}m }, managed: { fraction: 0.25 } }
rest: { address: 127.0.0.1, bind-address: 127.0.0.1, port: $REST, bind-port: "$REST" }
heartbeat: { interval: 2000, timeout: 20000 }
python:
  executable: $HOME_FLINK/venv/bin/python
  client: { executable: $HOME_FLINK/venv/bin/python }
classloader: { parent-first-patterns: { additional: "pemja." } }
state: { backend: { type: rocksdb } }
execution: { checkpointing: { incremental: true, dir: "file://$RUN/checkpoints", savepoint-dir: "file://$RUN/savepoints" } }
io: { tmp: { dirs: $RUN/tmp } }
YAML
  } > "$RUN/conf/config.yaml"
}

begin() {  # NAME: in the background, with its id in a file
  FLINK_REST_PORT=$REST FLINK_RPC_PORT=$RPC FLINK_RUN=$RUN FLINK_HOME_DIR=$HOME_FLINK \
    nohup setsid sh "$0" $2 $1 > "$RUN/log/$1.out" 2>&1 &
  i=0; while [ ! -s "$RUN/pid/$1" ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
}

case ${1:-} in
  start)
    configure
    begin jobmanager jobmanager
    n=0; while [ $n -lt "${FLINK_TASKMANAGERS:-2}" ]; do n=$((n + 1)); begin $n taskmanager; done ;;
  jobmanager) configure; echo $$ > "$RUN/pid/jobmanager"; exec "$PYFLINK/bin/jobmanager.sh" start-foreground ;;
  taskmanager) mkdir -p "$RUN/tmp"; echo $$ > "$RUN/pid/$2"; exec "$PYFLINK/bin/taskmanager.sh" start-foreground ;;
  again) rm -f "$RUN/pid/$2"; begin "$2" taskmanager ;;
  pid) cat "$RUN/pid/$2" ;;
  kill) kill -9 "$(cat "$RUN/pid/$2")"; rm -f "$RUN/pid/$2" ;;
  stop) for file in "$RUN"/pid/*; do [ -f "$file" ] && { kill "$(cat "$file")" 2>/dev/null || true; rm -f "$file"; }; done ;;
  *) sed -n '2,11p' "$0"; exit 2 ;;
esac
