# Two commands matter: `make run` (the demo study) and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install run browser test test-fast test-faults lint check audit figures docs docs-version build clean

install: $(VENV)/.installed

# torch goes first and alone, so that pip takes the build that this machine offers and nothing replaces it later.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hybridtune needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

run: install
	$(BIN)/hybridtune run

# The tests open the report in Debian's Chromium. Without one, and where we may not install it, those are skipped.
CHROMIUM := command -v chromium || command -v chromium-browser || command -v google-chrome
browser:
	@{ $(CHROMIUM); } >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; } \
	  || echo "no Chromium here and none could be installed: the browser tests will be skipped"

# Tests that start Ray run one at a time: two Ray instances on one machine get in each other's way. A pytest worker that
# is lost ends the run: pytest-xdist would hand its files out again and wait for them for ever.
PARALLEL := $(BIN)/pytest -n auto --dist loadfile --max-worker-restart=0 --ignore=tests/ray --ignore=tests/faults
test: install
	$(PARALLEL) -m "not ray and not cluster"
	$(BIN)/pytest -m "ray or cluster"

# Hurts studies that run, in 43 ways, two at a time: 20 to 25 minutes on 2 cores; docs/reliability.md is made of what it finds.
test-faults: install
	rm -f build/faults.jsonl && mkdir -p build
	HYBRIDTUNE_FAULTS=build/faults.jsonl $(BIN)/pytest -n 2 --dist worksteal -m faults tests/faults
	$(BIN)/python benchmarks/reliability.py build/faults.jsonl

# While working: no Ray, no processes of their own, 20 examples a property.
test-fast: install
	$(PARALLEL) -m "not ray and not cluster and not slow" --hypothesis-profile=fast

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive hybridtune

check: lint test

# The versions in constraints.txt against the list of known weaknesses, which pip-audit asks for over the network.
audit:
	test -x .audit/bin/pip-audit || { $(PYTHON) -m venv .audit && .audit/bin/pip install --quiet pip-audit==2.10.1; }
	@.audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip 2>.audit/said; code=$$?; \
	  if grep -qi "connection\|timed out\|resolve" .audit/said; then echo "make audit: the list does not answer here, so nothing was checked"; \
	  else cat .audit/said; fi; exit $$code

# The figures of the project's structure: files, lines, import chains, tests.
figures: install
	$(BIN)/python benchmarks/structure.py

# The documentation as a site in build/site: open build/site/index.html. A link that leads nowhere ends the build.
DOCS_TOOLS := $(BIN)/python -c "import mkdocs_click, mkdocstrings_handlers.python, material, mike" 2>/dev/null \
	  || $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
docs: install
	$(DOCS_TOOLS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The same as one version beside others (make docs-version VERSION=0.1): a commit on the local branch gh-pages, which
# nothing pushes, with a choice of versions on each page.
docs-version: install
	@test -n "$(VERSION)" || { echo "make docs-version: say which, as in VERSION=0.1"; exit 2; }
	$(DOCS_TOOLS)
	DOCS_VERSIONS=mike NO_MKDOCS_2_WARNING=1 PATH="$(BIN):$$PATH" $(BIN)/mike deploy --update-aliases $(VERSION) latest
	PATH="$(BIN):$$PATH" $(BIN)/mike set-default latest
	PATH="$(BIN):$$PATH" $(BIN)/mike list

# dist/: the source distribution, and from that the wheel, with the cluster files, the study files and constraints.txt.
build: install
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) .audit build dist *.egg-info
