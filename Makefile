# Everything starts from a bare machine with Python 3.11+, pip and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test test-cluster lint bench soak flink lock clean
setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml scripts/setup.sh
	PYTHON=$(PYTHON) sh scripts/setup.sh
	@touch $(STAMP)

demo: setup
	$(BIN)/heliograph demo $(ARGS)

lint: setup
	$(BIN)/ruff check src tests bench examples
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/mypy
	$(BIN)/lint-imports

test: PROCESSES ?= 2
test: setup lint  ## PROCESSES=1 for one test after the other
	sh scripts/browser.sh
	sh scripts/opendkim.sh
	sh scripts/postfix.sh
	sh scripts/postgres.sh
	sh scripts/proxies.sh
	$(BIN)/pytest -n $(PROCESSES) --dist worksteal $(ARGS)

test-cluster: setup  ## against real servers on this machine: Kafka, PostgreSQL, Redis, Flink, a mail server
	sh scripts/servers.sh
	sh scripts/flink.sh
	$(BIN)/pytest tests/cluster --timeout 1800 $(ARGS)

bench: setup
	$(BIN)/python -m bench $(ARGS)

soak: WHAT ?= tests/simulation
soak: setup  ## WHAT="tests/parity tests/cluster/test_parity.py" ARGS="--records 1000000": one log through every runtime
	$(BIN)/pytest $(WHAT) --soak --timeout 0 $(ARGS)

flink: setup  ## .flink: PyFlink with its cluster, the Kafka connector, and of Heliograph what decides
	sh scripts/flink.sh

lock: setup  ## refresh requirements.lock after a change of dependencies
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --group dev --group bench --extra scale --extra facts pyproject.toml -o requirements.lock

clean:
	rm -rf .venv dist build
