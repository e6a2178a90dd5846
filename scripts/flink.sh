#!/bin/sh
# Makes .flink: Flink with PyFlink in an environment of its own, everything pinned and checked by hash, the Kafka
# connector from the Maven repository that `mvn` is set up for, and of Heliograph what decides. No server is started.
set -eu
HOME_FLINK=${FLINK_HOME_DIR:-.flink}
CONNECTOR=org.apache.flink:flink-sql-connector-kafka:$(cat flink/connector.version)
JAR=flink-sql-connector-kafka-$(cat flink/connector.version).jar
for tool in java mvn; do
  command -v $tool >/dev/null || { echo "make flink needs $tool (Java 17): apt-get install openjdk-17-jre-headless maven" >&2; exit 1; }
done
PYTHON=${PYTHON_FLINK:-python3.11}
command -v "$PYTHON" >/dev/null || { echo "make flink needs Python 3.9 to 3.12 for PyFlink 2.3; $PYTHON is not there. Try: make flink PYTHON_FLINK=python3.12" >&2; exit 1; }
[ -x "$HOME_FLINK/venv/bin/python" ] || .venv/bin/uv venv --quiet --python "$PYTHON" "$HOME_FLINK/venv"
.venv/bin/uv pip sync --quiet --python "$HOME_FLINK/venv/bin/python" --require-hashes flink/requirements.lock

HERE=$(cd "$HOME_FLINK" && pwd)
PYFLINK=$("$HERE/venv/bin/python" -c 'import pyflink, os; print(os.path.dirname(pyflink.__file__))')
if [ ! -f "$PYFLINK/lib/$JAR" ]; then
  mvn --quiet --batch-mode dependency:copy -Dartifact="$CONNECTOR" -DoutputDirectory="$HERE/jars"
  (cd "$HERE/jars" && sha512sum --check --quiet "$OLDPWD/flink/connector.sha512")
  mv "$HERE/jars/$JAR" "$PYFLINK/lib/"
fi
cp "$PYFLINK"/opt/flink-python-*.jar "$PYFLINK/lib/"  # in the class loader of the cluster: a second job finds pemja loaded

# What decides, and nothing else of Heliograph. A job keeps the modules that it began with.
rm -rf "$HERE/brain.new" && mkdir -p "$HERE/brain.new/heliograph/adapters"
cp src/heliograph/__init__.py "$HERE/brain.new/heliograph/"
cp src/heliograph/adapters/__init__.py "$HERE/brain.new/heliograph/adapters/"
cp -r src/heliograph/events src/heliograph/decide "$HERE/brain.new/heliograph/"
cp -r src/heliograph/adapters/flink "$HERE/brain.new/heliograph/adapters/"
cp src/heliograph/adapters/flink/preload.py "$HERE/brain.new/sitecustomize.py"
rm -rf "$HERE/brain" && mv "$HERE/brain.new" "$HERE/brain"
"$HERE/venv/bin/python" -m compileall -q "$HERE/brain"
(cd / && PYTHONPATH="$HERE/brain" "$HERE/venv/bin/python" -c 'import heliograph.adapters.flink.job')
ln -sfn "$PYFLINK" "$HERE/pyflink"
touch "$HERE/.installed"
echo "Flink $("$HERE/venv/bin/python" -c 'import pyflink.version as v; print(v.__version__)') is in $HOME_FLINK"
