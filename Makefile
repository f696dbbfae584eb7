# make run    set everything up and start the machine with its sandbox
# make test   set everything up, check, and pass the tests with real peers
# make check  formatting, types, the house's import rules
# make pictures  draw the pictures of the user's guides anew
# make bench  measure speed and memory beside the named peers

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE ?= $(CURDIR)/var
CATALOGUES := $(wildcard src/valija/locale/*/LC_MESSAGES/valija.po)

.PHONY: run test check bench pictures clean requirements
.DEFAULT_GOAL := run

# byte code is written even where the environment tells Python not to: without it a start takes twice as long
COMPILE = @$(BIN)/python -m compileall -q src

run: $(VENV)/run.stamp $(CATALOGUES:.po=.mo)
	$(COMPILE)
	@$(BIN)/valija run --sandbox --state-dir "$(STATE)"

test: check peers
	$(COMPILE)
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/dev.stamp $(CATALOGUES:.po=.mo)
	$(BIN)/ruff format --check src tests bench tools hatch_build.py
	$(BIN)/ruff check src tests bench tools hatch_build.py
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/bench.stamp $(CATALOGUES:.po=.mo) peers
	$(COMPILE)
	$(BIN)/python -m bench

pictures: $(VENV)/dev.stamp $(CATALOGUES:.po=.mo) peers
	$(COMPILE)
	VALIJA_PICTURES=1 $(BIN)/pytest tests/web/test_guide_pictures.py

.PHONY: peers
peers:
	@sh tests/peers/install.sh "$(BIN)/python"

$(VENV)/%.stamp: requirements/%.txt pyproject.toml tools/setup.sh
	@sh tools/setup.sh "$(PYTHON)" "$(VENV)" $*
	@touch $@

%.mo: %.po hatch_build.py
	@$(BIN)/python -c "import pathlib, hatch_build; hatch_build.compile_catalogues(pathlib.Path('.'))"

requirements:
	sh tools/requirements.sh

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
