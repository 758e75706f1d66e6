# make demo    sets up, then runs a whole study on this computer
# make test    sets up, then runs every check and test
# make bench   sets up, then measures what is wanted of autoexp's speed, with this computer's own beside it
# make soak    sets up, then kills watchers at every crash point and at 500 pairs, at every one of another study on a
#              real cluster of Slurm's and 200 times beside, and plays 10,000 simulated months
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One more than there are cores: many tests wait for what they have started.
WORKERS ?= $(shell echo $$(( $$(nproc) < 8 ? $$(nproc) + 1 : 8 )))
READY := $(VENV)/.ready

.PHONY: demo test soak bench lint tools pictures diagram clean

demo: $(READY)
	$(BIN)/autoexp demo

test: lint tools
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

soak: $(READY)
	$(BIN)/python -m tests.crashes --all --pairs 500
	$(BIN)/python -m tests.crashes --slurm --all
	$(BIN)/python -m tests.slurm.kills --kills 200
	$(BIN)/python -m tests.simulation --seeds 10000

bench: $(READY)
	$(BIN)/python -m benchmarks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tools:
	.ci/tools

pictures: $(READY)
	$(BIN)/python -m tests.pictures

diagram: $(READY)
	$(BIN)/python -m autoexp.diagram

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	.ci/make-venv $(PYTHON) $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -m compileall -q autoexp hooks
	touch $@
