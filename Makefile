# One command per intention. `make` alone prints this list.
PYTHON ?= python3
CORES ?= $(shell nproc)
STUDY ?=
# Small trainings on one card finish at 3, 6, 11 and 20 a minute when 1, 2, 4 and 8 share it (docs/scale.md).
GPU_JOBS ?= 8
LOCKED ?=
AGAIN ?=
FROM ?=
BIN := .venv/bin
QUESTIONS := phase directions methods noise structure decay irregular transforms remedies
SHARE := $(if $(wildcard /dev/nvidia0),--resources gpu=$(GPU_JOBS))
COMMAND := PYTHONPATH=$(CURDIR)/workflow $(BIN)/python -m commands
START := $(COMMAND).start --cores $(CORES) $(if $(STUDY),--study $(STUDY)) --scheduler greedy $(SHARE) \
	$(if $(AGAIN),--forcerun $(AGAIN))

INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
# A torch that is in .venv already, such as one without CUDA, brought the libraries that it needs.
CUDA = $(if $(wildcard .venv/lib/python*/site-packages/torch),,-r locks/cuda.lock)
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate

.PHONY: help run plan verify crate test slurm kills check format smoke advise folders data docs hypotheses verdicts predictor \
	bench gpu lock faults dag clean

help:  ## print this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) $(if $(LOCKED),--require-hashes -r locks/run.lock $(CUDA),-r requirements.txt)
	@touch $@

.venv/developed: .venv/installed requirements-dev.txt
	$(INSTALL) $(if $(LOCKED),--require-hashes -r locks/run.lock -r locks/develop.lock,-r requirements-dev.txt)
	@touch $@

run: .venv/installed  ## run the study to results/report.html (STUDY=workflow/studies/NAME.yaml for another; GPU_JOBS=8 share a GPU)
	@$(START)

plan: .venv/installed  ## say what a run would take: jobs, minutes, disk and memory (STUDY as for run)
	@$(START) --plan

verify: .venv/installed  ## name every result that is missing or not as it was written, with its repair (STUDY as for run)
	@$(COMMAND).verify --repair 'make run$(if $(STUDY), STUDY="$(STUDY)") AGAIN=' $(if $(STUDY),--configfile config.yaml $(STUDY))

crate: .venv/installed  ## write a finished study as a Workflow Run RO-Crate into its results folder (STUDY as for run)
	@$(COMMAND).crate $(if $(STUDY),--study $(STUDY))

# One thread a worker: threads of several workers that wait for each other busily take the cores from one another. One
# worker more than cores: tests of Slurm and of killed runs wait for most of their time.
test: .venv/developed  ## run every test, a file to a worker
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$(($(CORES) + 1)) --dist loadfile --no-loadscope-reorder

slurm: .venv/developed  ## test the Slurm profile on a node of its own, a killed head, a drained node (minutes; as root, with apt: installs it)
	command -v slurmctld > /dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge; }
	DISTURB=1 $(BIN)/python -m pytest tests/test_slurm.py

kills: .venv/developed  ## kill a run thirty times, and single jobs of every stage; rerun, and compare the tables (long)
	KILLS=30 $(BIN)/python -m pytest tests/test_faults.py -k killed

check: .venv/developed  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/snakemake --lint

format: .venv/developed  ## put the code into the form that `make check` wants
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile workflow

smoke: .venv/installed  ## the smallest study, through every step but baselines and masks as files; minutes
	@$(MAKE) --no-print-directory run STUDY=workflow/studies/smoke.yaml

advise: .venv/installed  ## masks for a folder of images (TARGET=FOLDER SOURCE=FOLDER_WITH_MASKS NETWORK=FILE RESULTS=NEW_FOLDER)
	@$(COMMAND).advise --cores $(CORES) --target "$(TARGET)" \
		$(if $(SOURCE),--source "$(SOURCE)") $(if $(NETWORK),--network "$(NETWORK)") --results "$(RESULTS)"

folders: .venv/installed  ## draw two folders to try that on: results/folders/home with masks, results/folders/away
	@$(COMMAND).folders results/folders

data:  ## put the real domains of five studies in place (FROM=FOLDER_OR_ARCHIVE that holds them; data/README.md)
	@$(PYTHON) data/place.py $(if $(FROM),"$(FROM)")

docs: .venv/installed  ## write the pages that are rendered: docs/results.md, docs/glossary.md, config/README.md
	$(BIN)/python -m docs.render

hypotheses: .venv/installed  ## run every study that decides a hypothesis, and collect the verdicts (hours on 2 cores)
	for study in $(QUESTIONS); do \
		$(MAKE) run STUDY=workflow/studies/$$study.yaml || exit 1; \
	done
	$(MAKE) verdicts

verdicts:  ## collect the verdicts of those studies in results/published/hypotheses.csv
	awk 'NR == 1 { print "study," $$0 } FNR > 1 { split(FILENAME, part, "/"); print part[2] "," $$0 }' \
		$(QUESTIONS:%=results/%/tables/hypotheses.csv) > results/verdicts.csv
	mv results/verdicts.csv results/published/hypotheses.csv

predictor: .venv/installed  ## make the shipped predictor from nothing (within an hour on 2 cores)
	$(COMMAND).start --cores $(CORES) --study workflow/studies/grid.yaml --scheduler greedy $(SHARE) \
		results/grid/tables/predictors.csv
	cp results/grid/predictor.npz workflow/predictor/forest.npz
	grep -E '^predictor,|,(baseline|unfitted|transparent|learned),|^bhattacharyya_bottleneck_before_relu_position_before,' \
		results/grid/tables/predictors.csv | grep -v ',another_width,' > results/published/predictors.csv

bench: .venv/developed  ## measure, and write results/bench.json (half an hour on 2 idle cores)
	-$(INSTALL) --no-deps -r requirements-bench.txt
	PYTHONPATH=$(CURDIR)/workflow $(BIN)/python -m tests.bench

gpu: $(if $(filter .venv/bin,$(BIN)),.venv/developed)  ## measure what only a GPU can show, 12 minutes, to results/gpu.json (BIN=FOLDER of a python that has all it needs)
	PYTHONPATH=$(CURDIR)/workflow $(BIN)/python -m tests.gpu

faults: .venv/developed  ## put one-line faults into a copy, one after another, and count those that the tests catch (an hour)
	$(BIN)/python -m tests.faults

lock: .venv/developed  ## write locks/ anew from requirements.txt and requirements-dev.txt
	mkdir -p locks results
	$(COMPILE) requirements.txt > results/run.lock
	$(COMPILE) requirements-dev.txt > results/develop.lock
	awk '/^[a-z]/ { cuda = /^(cuda-|nvidia-|triton=)/ } { print > (cuda ? "locks/cuda.lock" : "locks/run.lock") }' \
		results/run.lock
	awk 'NR == FNR { if (/^[a-z]/) run[$$0]; next } /^[a-z]/ { new = !($$0 in run) } new' \
		results/run.lock results/develop.lock > locks/develop.lock
	rm results/run.lock results/develop.lock

dag: .venv/installed  ## draw the rules to results/dag.svg (needs graphviz)
	mkdir -p results
	$(BIN)/snakemake --rulegraph $(if $(STUDY),--configfile config.yaml $(STUDY)) | dot -Tsvg > results/dag.svg

clean:  ## delete everything generated, the published results and .venv excepted
	find results -mindepth 1 -maxdepth 1 ! -name published -exec rm -rf {} + 2>/dev/null || true
	rm -rf .snakemake .pytest_cache .ruff_cache .mypy_cache .hypothesis
