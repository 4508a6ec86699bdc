# make setup | demo | test | check | docs | pictures | bench | prove | release | audit | train-smoke | cards | run
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
DEBIAN := orthanc orthanc-dicomweb dcmtk postgresql chromium chromium-driver nodejs npm strace iproute2 haproxy
export OMP_NUM_THREADS ?= 1

.PHONY: setup setup-dev debian npm demo test check docs pictures bench prove release audit train-smoke cards run clean

setup: $(VENV)/.installed

$(VENV)/bin/python:
	@echo "creating $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed (PYTHON=...)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python venv is missing: apt-get install python3-venv"; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the node and its dependencies (about 600 MB, one to three minutes)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

setup-dev: $(VENV)/.installed-dev

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing what training and tests need (torch for the CPU, MONAI, validators)"
	@$(PIP) install -c constraints.txt torch==2.13.0
	@$(PIP) install -c constraints.txt -e ".[training]"
	@$(PIP) install --upgrade "pip>=25.1" && $(PIP) install -c constraints.txt --group dev
	@touch $@

debian:
	@sh deploy/install-test-packages.sh $(DEBIAN)

# programs of other people for the tests; ohif is 200 MB, the others are small
NPM := tests/journeys/ohif tests/counterparts/hl7 tests/counterparts/ups tests/counterparts/fhir tests/counterparts/oidc tests/counterparts/axe
npm: $(NPM:%=%/node_modules/.installed)

%/node_modules/.installed: %/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "installing $* for the tests"; \
	  cd $* && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.installed; \
	else echo "npm is missing: tests with $* will be skipped"; fi

demo: setup
	@$(BIN)/python -m triage_node.cli.demo $(if $(CT),--ct "$(CT)")

test: debian setup-dev npm
	@$(if $(ARGS),sh deploy/in-own-network.sh $(BIN)/pytest $(ARGS),$(BIN)/python -m tests.support.parts)

check: setup-dev
	$(BIN)/ruff check triage_node tests models
	$(BIN)/ruff format --check triage_node tests models
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python -m triage_node.evaluation.write_docs

pictures: debian setup
	@sh deploy/in-own-network.sh $(BIN)/python -m triage_node.evaluation.screenshots

# every promise with the figure that its test measured: deploy/PROVEN.md and the README's table; ARGS=TEST for one of them
prove: debian setup-dev dist/requirements.txt
	@rm -f build/prove_*.json
	@TRIAGE_PROVE=1 sh deploy/in-own-network.sh $(BIN)/pytest $(ARGS); status=$$?; \
	  $(BIN)/python -m triage_node.evaluation.proven; exit $$status

# dist/: the wheel, what it needs with hashes, the bill of materials; fails where a licence is refused
release: setup-dev
	@$(BIN)/python -m triage_node.evaluation.release

# known vulnerabilities of what dist/ holds, asked of the service of the Python Package Index
audit: dist/requirements.txt
	@$(BIN)/python -m triage_node.evaluation.audit $<

dist/requirements.txt: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory release

bench: debian setup-dev
	@sh deploy/in-own-network.sh $(BIN)/python -m triage_node.evaluation.bench

train-smoke: setup-dev
	@for script in models/*/train.py; do \
	  bundle=$$(basename $$(dirname $$script)); echo "training $$bundle for a moment"; \
	  $(BIN)/python -m models.$$bundle.train --smoke || exit 1; \
	done

cards: setup
	@for bundle in models/*/configs; do $(BIN)/python -m triage_node.evaluation.card $$(dirname $$bundle) || exit 1; done

run: setup
	$(BIN)/triage-node serve

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
