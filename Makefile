# Everything sets itself up on a fresh Debian 12 as root: tests/packages.txt by apt, Python by .venv.
PYTHON := .venv/bin/python

.PHONY: help demo check test faults lint powercut bench bench-pull bench-list bench-update bench-boot shell docs clean prepare

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 17

demo: ## etcd as a service, start to end; HOST=1 on this machine's own systemd, KEEP=1 to look around afterwards
	@tests/prepare.sh demo
	@$(PYTHON) -m examples.demo $(if $(HOST),--host) $(if $(KEEP),--keep)

check: prepare ## the inner loop: lint, types, unit tests
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(PYTHON) -m pytest -q tests/unit --deselect tests/unit/test_lint.py

test: prepare ## everything: lint, types, unit tests, as root, and against a real systemd
	@$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder tests

faults: prepare ## every fault at every step of the transactions; takes ten minutes
	@$(PYTHON) -m tests.faults

lint: prepare ## only style and types
	@$(PYTHON) -m pytest -q tests/unit/test_lint.py

powercut: prepare ## cut an emulated machine's power N=60 times, in every operation; goes on where it was stopped
	@$(PYTHON) -m tests.vm.powercut --cuts $(or $(N),60) --to $(or $(TO),.cache/powercut)

bench: bench-pull bench-list bench-update bench-boot ## all measurements, into docs/benchmarks.md: half an hour, and nothing else should run

bench-pull: ## pulling, against podman, containerd, skopeo with umoci, and against what is possible at all
	@tests/prepare.sh bench
	@$(PYTHON) -m benchmarks.pull --keep

bench-list: prepare ## listing 1 000 containers, beside podman
	@$(PYTHON) -m benchmarks.list --keep

bench-update: prepare ## how long an update keeps a service down, beside a restart
	@$(PYTHON) -m benchmarks.update --keep

bench-boot: prepare ## fifty containers at boot, beside fifty units by hand
	@$(PYTHON) -m benchmarks.boot bookworm --keep
	@$(PYTHON) -m benchmarks.boot trixie --keep

shell: prepare ## a shell in a throw-away machine with its own systemd
	@$(PYTHON) -m tests.machine.host shell

docs: prepare ## the manual page and the completion, from the parsers
	@$(PYTHON) -m docs.generate

clean: ## remove what was built, downloaded and cached
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info

prepare:
	@tests/prepare.sh
