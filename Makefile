# Everything a developer or a user runs. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
ACCELERATE ?= $(if $(shell grep -s '^use_cpu: false' accelerate.yaml),gpu,cpu)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUNBUFFERED := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

# What is given as Q='...' reaches its command as it was typed: make would take $ for its own, and the shell quotes.
GIVEN := Q NAME SEEDS SEED KEPT OUT JOBS RUNNER POLICY
unexport $(GIVEN)
$(foreach name,$(GIVEN),$(eval export GIVEN_$(name) = $$(value $(name))))

.DEFAULT_GOAL := help
.PHONY: help plan repro methods report results test test-slow check readme findings ditto ditto-ablation claims chat world filter-sweep bench bench-gpu clean nightly

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/ready: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

accelerate.yaml:
	cp accelerate/$(ACCELERATE).yaml $@

hardware.yaml:
	cp accelerate/$(ACCELERATE).hardware.yaml $@

plan: .venv/ready  ## what `make repro` would run now, why, and how long it would take; runs nothing
	@python -m synthalign plan report

DIES_WITH_US = $(if $(shell command -v setpriv),setpriv --pdeathsig TERM)
REPRO = $(DIES_WITH_US) python -m flows.repro $(if $(value JOBS),--jobs "$$GIVEN_JOBS")
repro: .venv/ready accelerate.yaml hardware.yaml  ## run what changed of ALMoST, stages beside each other (JOBS=1: one by one), then print the results
	@$(REPRO) report || { python -m synthalign recover && $(REPRO) report; }
	@python -m synthalign.reporting.results

methods: .venv/ready accelerate.yaml hardware.yaml  ## run what changed of all methods: RLCD, RLAIF, RRHF, RLOO, GRPO, FLAN, DITTO too
	@$(REPRO) || { python -m synthalign recover && $(REPRO); }

report: .venv/ready accelerate.yaml hardware.yaml  ## bring report/index.html up to date, with all that it shows, and say where it is
	python -m warm dvc repro report
	@python -c 'from pathlib import Path; print(Path("report/index.html").absolute().as_uri())'

results: .venv/ready  ## print the results of the last run
	@python -m synthalign.reporting.results

# Each worker has a core; two threads of each would wait for the other's.
test: export OMP_NUM_THREADS := 1
test: .venv/ready accelerate.yaml hardware.yaml  ## run the tests, a tiny run of all of ALMoST included
	python -m pytest -m "not slow" --numprocesses logical --dist loadfile --no-loadscope-reorder

test-slow: .venv/ready accelerate.yaml hardware.yaml  ## run the tests that take minutes: the other methods, kill and resume, several processes, sweeps
	python -m pytest -m slow

check: .venv/ready  ## lint, format, types, and whether what is generated of README and docs is up to date
	ruff check .
	ruff format --check --quiet .
	mypy synthalign stages world warm flows
	python -m synthalign.reporting.results --check
	python -m synthalign.reporting.layout --check
	python -m synthalign.reporting.graph_figure --check

readme: .venv/ready  ## write what is generated of README and docs: tables, the list of files, the picture of the graph
	python -m synthalign.reporting.results --readme
	python -m synthalign.reporting.layout
	python -m synthalign.reporting.graph_figure

findings:  ## run findings/*.sh: does outside software still do what each says? needs the network
	@failed=0; for finding in findings/*.sh; do \
	    [ -e "$$finding" ] || continue; \
	    if bash "$$finding"; then echo "PASS $$finding"; else echo "FAIL $$finding"; failed=1; fi; \
	done; exit $$failed

ditto: .venv/ready accelerate.yaml hardware.yaml  ## align a model with the author of data/authors/NAME.jsonl: SFT, DITTO, then samples (make ditto NAME=anna)
	@test -n "$$GIVEN_NAME" || { echo "make ditto NAME=…: name the file data/authors/NAME.jsonl"; exit 2; }
	dvc repro base_models
	accelerate-launch --quiet --config_file accelerate.yaml -m stages.train_ditto "$$GIVEN_NAME"
	accelerate-launch --quiet --config_file accelerate.yaml -m stages.sample_ditto "$$GIVEN_NAME"

ditto-ablation: .venv/ready  ## what each part of DITTO is worth, four authors and five seeds, or SEEDS=3: metrics/ditto.json and its claims
	python -m benchmarks.ditto_ablation $(if $(value SEEDS),--seeds "$$GIVEN_SEEDS")
	@python -m synthalign.reporting.own_seeds

CLAIMS = $(if $(value SEEDS),--seeds "$$GIVEN_SEEDS") $(if $(value SEED),--seed "$$GIVEN_SEED") $(if $(value KEPT),--kept)
claims: .venv/ready accelerate.yaml hardware.yaml  ## repeat the trained stages for three seeds, or SEEDS=4; write metrics/claims.json, and metrics/methods.json, the table of all methods (SEED=3 runs that one alone and keeps it, KEPT=1 runs only those that are not kept)
	python -m flows.claims $(CLAIMS)

.PHONY: pocket pocket-claims pocket-data
POCKET := report score_ditto snapshot_dpo score_benchmarks@reward_almost score_benchmarks@reward_gold
pocket-claims: SET := --set '*.most=300'
pocket pocket-claims: export SYNTHALIGN_HARDWARE := accelerate/$(if $(shell grep -s amx_bf16 /proc/cpuinfo),amx,pocket).hardware.yaml
pocket pocket-claims: export OMP_WAIT_POLICY := PASSIVE
pocket: .venv/ready accelerate.yaml hardware.yaml pocket-data  ## two real models and real English on two cores: fetch them, put the profile `pocket` in force, run ALMoST, and DITTO for two authors
	@$(REPRO) $(POCKET) || { python -m synthalign recover && $(REPRO) $(POCKET); }
	@python -m synthalign.reporting.real_claims metrics

pocket-claims: .venv/ready accelerate.yaml hardware.yaml pocket-data  ## the same for three seeds, or SEEDS=4, with RLCD and RLAIF labels: metrics/real_claims.json
	python -m flows.claims --real $(CLAIMS) $(POCKET) score_pairs

pocket-data: .venv/ready
	python -m synthalign bring data/sources/pocket.yaml
	python -m synthalign people
	@python -m synthalign profile pocket $(SET)

.PHONY: profile
profile: .venv/ready  ## put a profile in force: params.yaml from profiles/ (make profile P=smollm; with SCALE=.02 all counts are small)
	@python -m synthalign profile $(P) $(if $(SCALE),--scale $(SCALE))

.PHONY: sql check-tables answers
sql: .venv/ready  ## ask the tables: make sql Q="FROM queries", make sql Q=queries/filter_funnel.sql, or without Q a prompt
	@python -m synthalign sql $(if $(value Q),-- "$$GIVEN_Q")

check-tables: .venv/ready  ## ask every table for the rows that offend
	@python -m synthalign check-tables

answers: .venv/ready  ## write the answers to the questions of queries/ anew
	@for answer in queries/answers/*.csv; do \
	    python -m synthalign sql queries/$$(basename $$answer .csv).sql --output $$answer || exit 1; done

nightly: .venv/ready accelerate.yaml hardware.yaml  ## the nightly flow once: a Prefect server, a worker, the deployment, a watched run; stops them again (RUNNER=ray: on two Ray nodes and an object store of this machine)
	@python -m flows.nightly $(if $(value RUNNER),--runner "$$GIVEN_RUNNER")

chat: .venv/ready  ## talk to the aligned policy and its base side by side (make chat POLICY=models/ditto/anna)
	@python -m synthalign.commands.conversation --aligned "$${GIVEN_POLICY:-models/ppo/almost}"

world: .venv/ready  ## rebuild the embedded base models (make world SEED=1 OUT=folder builds another world)
	python -m world.build --seed "$${GIVEN_SEED:-0}" --out "$${GIVEN_OUT:-data/embedded}"

.PHONY: dpo-frontier
dpo-frontier: .venv/ready  ## DPO beside PPO after `make repro`: reward against KL, win rates over temperatures, best of 128; SEEDS=5: metrics/dpo_frontier.json
	python -m benchmarks.dpo_frontier $(if $(value SEEDS),--seeds "$$GIVEN_SEEDS")
	@python -m synthalign.reporting.own_seeds

.PHONY: iterated-rlaif reward-losses
iterated-rlaif: .venv/ready  ## DPO and PPO on rounds of own answers that the large model labels, after `make repro`; SEEDS=5: metrics/iterated_rlaif.json
	python -m benchmarks.iterated_rlaif $(if $(value SEEDS),--seeds "$$GIVEN_SEEDS")
	@python -m synthalign.reporting.own_seeds

reward-losses: .venv/ready  ## a reward model of pairs, rankings and ratings beside each other, after `make repro`; SEEDS=5: metrics/reward_losses.json
	python -m benchmarks.reward_losses $(if $(value SEEDS),--seeds "$$GIVEN_SEEDS")
	@python -m synthalign.reporting.own_seeds

filter-sweep: .venv/ready  ## where the heuristic filter helps and where it hurts: metrics/filter_sweep.json and its figure
	python -m benchmarks.filter_sweep

bench: .venv/ready  ## this project beside its peers: a table of ratios, benchmarks/results/<machine kind>.json
	python -m benchmarks.bench

bench-gpu: .venv/ready  ## decoding, scoring and training with LoRA of a 1.5B shape on a GPU, in ten minutes
	python -m benchmarks.gpu

clean:  ## remove .work/ and logs: how long stages took, what unfinished stages had, replies that an endpoint was paid for (CONFIRM=1); tables, models and DVC's cache stay
	@paid=$$(find .work \( -name replies.jsonl -o -name 'spent.*.jsonl' \) -size +0 2>/dev/null); \
	    test -z "$$paid" || { echo "make clean: what an endpoint was paid for is in"; echo "$$paid" | sed 's/^/  /'; \
	    test -n "$(CONFIRM)" || { echo "make clean CONFIRM=1 removes it; it would be paid again"; exit 2; }; }
	rm -rf .work logs .pytest_cache .mypy_cache .ruff_cache
