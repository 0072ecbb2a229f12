# Flotilla: `make help` lists what can be done.
SHELL := /bin/bash
.DEFAULT_GOAL := help
HOSTS ?= 1
NAME ?= default
BIN := .venv/bin
FLOTILLA := $(BIN)/flotilla
PACKAGES := $(wildcard libs/*/flotilla_* services/*/flotilla_*)
CODE := libs services tests bench deploy
UNIT_TESTS := $(filter-out tests/compat tests/fleet tests/faults,$(wildcard tests/*))

.PHONY: help install install-test format lint types imports check unit test soak bench up down status logs agent-bundle lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

install: ## Install what Flotilla needs on this machine: Debian packages and .venv
	@deploy/install-packages deploy/debian-packages.txt
	@deploy/install-venv

install-test: install ## Install what the tests need as well
	@deploy/install-packages deploy/debian-packages-test.txt

format: install ## Format the code
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix-only --quiet $(CODE)

lint: install ## Lint the code and check its format
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE) || { $(BIN)/ruff format --check $(CODE); exit 1; }

types: install ## Check the types
	@$(BIN)/mypy $(PACKAGES) tests $(wildcard bench)

imports: install ## Check which way imports point
	@$(BIN)/lint-imports --no-cache

check: lint types imports unit ## Lint, types, imports and unit tests

unit: install-test ## Run the unit tests
	@deploy/run-tests unit

test: install-test ## Run every test: unit, then real clients and real hosts
	@deploy/run-tests all

soak: install-test ## Run the long campaigns (hours)
	@FLOTILLA_SOAK=1 $(BIN)/pytest -m soak --timeout 0 tests

bench: install-test ## Measure Flotilla and dockerd side by side (DOCKERD=path of the dockerd to compare with)
	@$(BIN)/python -m bench

up: install ## Bring a fleet up on this machine (HOSTS=3 simulates three hosts)
	@$(FLOTILLA) up --name $(NAME) --hosts $(HOSTS) $(UP)

down: install ## Take the fleet down (DOWN=--purge removes its data)
	@$(FLOTILLA) down --name $(NAME) $(DOWN)

status: install ## Say how the fleet is
	@$(FLOTILLA) status --name $(NAME)

logs: install ## Show the services' logs
	@$(FLOTILLA) logs --name $(NAME)

agent-bundle: install ## Build dist/agent: what a host installs from, without any network
	@deploy/build-agent-bundle dist/agent

lock: install ## Pin requirements*.in anew, with hashes
	@$(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe --output-file requirements.txt requirements.in
	@$(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe --output-file requirements-dev.txt requirements-dev.in

clean: ## Remove what was built here
	@rm -rf .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	@find libs services tests -name __pycache__ -prune -exec rm -rf {} +
