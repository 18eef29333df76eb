# Every command that a contributor needs; CI runs the same. All of it happens in a virtual environment, $(VENV).

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python -m

DEMO_EXTRAS = agent,coordinator,convert,experiments

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench fuzz wheel docs mosquitto influxd clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.ready-for-demo mosquitto ## run the whole system, emulated, on this machine (ARGS="--help" lists its options)
	@$(RUN) splitrail demo $(ARGS)

# Two files at once, for many tests wait; in the order of the files, for the longest would else be the last.
test: $(VENV)/.ready-for-development mosquitto influxd ## run the tests (ARGS="-k planner" picks some)
	@$(RUN) pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

check: $(VENV)/.ready-for-development ## lint, formatting, types and the direction of the imports
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) mypy docker/grafana/generate.py
	$(VENV)/bin/lint-imports

bench: $(VENV)/.ready-for-development mosquitto influxd ## measure everything in less than 20 minutes (ARGS="--only chain" picks some)
	@$(VENV)/bin/python benchmarks/run.py $(ARGS)

fuzz: $(VENV)/.ready-for-development ## fuzz every parser (ARGS="wire --seconds 600" picks one)
	@$(VENV)/bin/python tests/fuzz/campaign.py $(ARGS)

wheel: $(VENV)/.ready-for-development ## build dist/splitrail-*.whl, to install on other machines
	$(RUN) pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

docs: $(VENV)/.ready-for-development ## write docs/reference/ and Grafana's dashboards anew from the code
	$(VENV)/bin/python docs/generate.py
	$(VENV)/bin/python docker/grafana/generate.py

mosquitto: ## get Mosquitto, where this machine has none
	@sh scripts/get_mosquitto.sh $(VENV)/mosquitto

influxd: ## get InfluxDB 1, where this machine has none
	@sh scripts/get_influxd.sh $(VENV)/influxd

clean: ## remove the environment and every cache
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so that whatever fails before it is done again the next time.
$(VENV)/.ready-for-demo: $(VENV)/.created setup.cfg pyproject.toml
	$(RUN) pip install --editable '.[$(DEMO_EXTRAS)]'
	@touch $@

$(VENV)/.ready-for-development: $(VENV)/.created setup.cfg pyproject.toml
	$(RUN) pip install --editable '.[$(DEMO_EXTRAS),dev]'
	@touch $(VENV)/.ready-for-demo $@

$(VENV)/.created:
	@sh scripts/make_venv.sh $(PYTHON) $(VENV)
	@touch $@
