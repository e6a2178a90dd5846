#!/bin/sh
# Apache Kafka for the tests with real servers: a Java, and the jars that deploy/local/kafka/pom.xml names, from Maven
# Central into a folder that git ignores, each checked against deploy/local/kafka/jars.sha256.
# `sh scripts/kafka.sh renew` writes that list anew, after a change of the version.
set -eu
cd "$(dirname "$0")/.."
home=deploy/local/kafka jars=deploy/local/cache/kafka
if [ "${1:-}" != renew ] && [ "$jars/verified" -nt "$home/jars.sha256" ]; then exit 0; fi
need=""
command -v java >/dev/null 2>&1 || need="$need openjdk-17-jre-headless"
command -v mvn >/dev/null 2>&1 || need="$need maven"
if [ -n "$need" ] && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $need; } >/dev/null
elif [ -n "$need" ]; then
  echo "Kafka needs Java 17 or newer and Maven; as root: apt-get install$need" >&2
  exit 1
fi
rm -rf "$jars"
mkdir -p "$jars"
mvn --batch-mode --quiet -Dstyle.color=never --file "$home/pom.xml" \
  org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$PWD/$jars"
if [ "${1:-}" = renew ]; then (cd "$jars" && sha256sum *.jar) >"$home/jars.sha256"; fi
(cd "$jars" && sha256sum --quiet --strict --check) <"$home/jars.sha256"
[ "$(ls "$jars" | wc -l)" = "$(wc -l <"$home/jars.sha256")" ] || { echo "$jars: a jar that is not in jars.sha256" >&2; exit 1; }
touch "$jars/verified"
