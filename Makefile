# make train   on any CPU: measure the tiny coder, train it with GRPO and cargo as the reward, measure it again, plot
# make test    every test that needs no GPU
# make doctor  what this machine can do
# make lint    ruff, by pyproject.toml
# make integrations  verifiers, verl, lm-eval and llama.cpp, each installed (180, 552, 381 and 200 MB) and given our judge or model; on demand
# make mutants which changes of the code does no test notice? (tests/mutants.py; on demand)
# Set-up (virtual environment, packages, a look at the Rust toolchain) happens by itself, once.

# The first interpreter that runs and is of a supported version (a version manager's shim may be on PATH and not run).
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && echo $$p && break; done)
PY := .venv/bin/python
INTEGRATIONS ?= verifiers verl lm-eval llama-cpp
RUN ?= runs/tiny-$(shell date +%Y%m%d-%H%M%S)
SEED ?= 0
# Twice during the run (and before it) the policy is measured on functions of their own: train/model is the better of the two.
EVALUATIONS ?= --eval_tasks data/tiny_val.jsonl --eval_every 13 --eval_samples 2 --eval_temperature 1 --eval_top_p 1
# On Linux the ordinary torch wheel brings gigabytes of CUDA libraries: without an NVIDIA GPU the CPU build is tried first.
TORCH := $(shell sed -n 's/^\(torch[^ ]*\).*/\1/p' requirements.txt)
# What pip says is in a file; a line every 10 s, and the file's end where it fails.
PIP := $(PY) -m pip install --disable-pip-version-check --no-input
QUIETLY := $(PY) console.py --log .venv/pip.log --what
CPU_WHEELS ?= https://download.pytorch.org/whl/cpu

.PHONY: train test doctor lint mutants integrations check rust clean
train: RUN := $(RUN)
train test: export HF_HUB_OFFLINE = 1
# A tiny model is quicker on one thread, and much quicker where the cores have other work too.
train: export OMP_NUM_THREADS = 1
train: check rust .venv/.installed
	@echo "[1/4] the tiny coder on functions it has never seen, before"
	$(PY) eval.py --config configs/eval/tiny.yaml --model models/tiny-coder --row_names before --output_dir $(RUN)/before
	@echo "[2/4] GRPO: cargo build, clippy and test grade every completion"
	$(PY) train.py --config configs/tiny.yaml --seed $(SEED) --output_dir $(RUN)/train $(EVALUATIONS)
	@echo "[3/4] the same functions, after"
	$(PY) eval.py --config configs/eval/tiny.yaml --model $(RUN)/train/model --row_names after --output_dir $(RUN)/after
	@echo "[4/4] rewards over the run, before against after"
	$(PY) plot_rewards.py $(RUN)/train
	$(PY) eval.py --compare $(RUN)/before $(RUN)/after --output_dir $(RUN)/result

# A process more than cores, since some tests wait; four at most: each holds torch (about 1 GiB), and a judge's compilers use the other cores.
TEST_PROCESSES ?= $$($(PY) -c 'import os; n = len(os.sched_getaffinity(0)); print(min(n + 1, 4) if n > 1 else 0)')
test: check rust .venv/.installed
	$(PY) -m pytest -q -n $(TEST_PROCESSES) --dist worksteal

doctor: check .venv/.installed
	$(PY) doctor.py

lint: .venv/.installed
	$(PY) -m ruff check .

# Environments of their own that see the packages of .venv.
define beside_venv
	$(PY) -m venv --clear $(@D)
	$(PY) -c 'import site; print(site.getsitepackages()[0])' > "$$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth"
	$(@D)/bin/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@
endef
.venv-mutants/.installed: tests/requirements-mutants.txt .venv/.installed
	$(beside_venv)
.venv-%/.installed: integrations/requirements-%.txt .venv/.installed
	$(beside_venv)

mutants: .venv-mutants/.installed
	OMP_NUM_THREADS=1 .venv-mutants/bin/python tests/mutants.py $(MUTANTS)

# Their packages are large and disagree with ours about versions: downloaded on demand, an environment each.
integrations: $(INTEGRATIONS:%=.venv-%/.installed) $(if $(filter llama-cpp,$(INTEGRATIONS)),.venv-llama-cpp/llama.cpp)
	@for one in $(INTEGRATIONS); do OMP_NUM_THREADS=1 .venv-$$one/bin/python -m pytest -q tests/test_integrations.py -k $${one%-*} || exit 1; done

# llama.cpp's converter comes in no wheel.
.venv-llama-cpp/llama.cpp: .venv-llama-cpp/.installed
	.venv-llama-cpp/bin/python -m pip download -q --no-deps --no-binary :all: --dest $(@D) llama-cpp-python==0.3.36
	tar -xzf $(@D)/llama_cpp_python-0.3.36.tar.gz -C $(@D) --strip-components 2 llama_cpp_python-0.3.36/vendor/llama.cpp

# What would otherwise fail in the middle, with a message of its own.
check:
	@test -w . || { echo "cannot write to $$(pwd): make a copy of the repository in a folder of yours and run make there"; exit 1; }
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 with venv found on PATH ($$(python3 --version 2>&1)): make PYTHON=/path/to/python3.12 ..."; exit 1; }

rust:
	@command -v cargo >/dev/null || { echo "cargo not found on PATH. Install Rust with:  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"; exit 1; }
	@said="$$(cargo --version 2>&1)" || { echo "cargo does not run: $$(echo "$$said" | head -n 1)"; exit 1; }
	@cargo clippy --version >/dev/null 2>&1 || { echo "clippy not found. Install it with:  rustup component add clippy"; exit 1; }

# The stamp is written last. An install that was cut short leaves .installing behind, and files that pip cannot tell from whole
# ones: the next make starts an environment anew (pip's cache still has what was downloaded).
.venv/.installed: requirements.txt requirements-dev.txt
	@test ! -e .venv/.installing && $(PY) -c 'import pip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 \
		|| { echo "making .venv with $(PYTHON)"; $(PYTHON) -m venv --clear .venv; }
	@touch .venv/.installing
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && ! $(PY) -c 'import torch' 2>/dev/null; then \
		$(QUIETLY) "installing the CPU build of torch" --lines 0 -- $(PIP) --timeout 15 --retries 1 --index-url $(CPU_WHEELS) "$(TORCH)" \
			|| echo "no CPU build of torch from $(CPU_WHEELS): taking the ordinary one, which is larger"; \
	fi
	@$(QUIETLY) "installing packages, once, some minutes" -- $(PIP) -r requirements-dev.txt
	@rm .venv/.installing
	@touch $@

clean:
	rm -rf .venv .venv-* .mutants runs .pytest_cache .hypothesis
