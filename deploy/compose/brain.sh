#!/bin/sh
# Starts the job where it stopped: from the newest checkpoint or savepoint under /flink, if there is one.  Without this a
# JobManager that comes up again would decide the log from its oldest entry on, and forget everybody who is older.
#     brain --brokers kafka:9092 --prefix heliograph ...      the words of heliograph.adapters.flink.job
set -eu
kept=${BRAIN_KEPT:-/flink}
start=${BRAIN_START:-/docker-entrypoint.sh}
python=${BRAIN_PYTHON:-/opt/heliograph/bin/python}
newest=$(find "$kept" -name _metadata -printf '%T@ %h\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2-)
[ -z "$newest" ] || echo "the brain goes on from $newest" >&2
exec "$start" standalone-job ${newest:+--fromSavepoint "$newest"} \
  --job-classname org.apache.flink.client.python.PythonDriver \
  -pyclientexec "$python" -pym heliograph.adapters.flink.job "$@"
