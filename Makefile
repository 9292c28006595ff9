# make train   a whole run on this machine's CPU: model, GRPO with cargo as the reward, plot
# make test    every test that needs no GPU
# make doctor  what this machine can do
# Set-up (virtual environment, packages, a look at the Rust toolchain) happens by itself, once.

# The first interpreter that runs and is of a supported version (a version manager's shim may be on PATH and not run).
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && echo $$p && break; done)
PY := .venv/bin/python
RUN ?= runs/tiny-$(shell date +%Y%m%d-%H%M%S)

.PHONY: train test doctor rust clean
train: .venv/.installed rust runs/tiny-coder/config.json
	$(PY) train.py --config configs/tiny.yaml --output_dir $(RUN)
	$(PY) plot_rewards.py $(RUN)

test: .venv/.installed rust
	$(PY) -m pytest -q

doctor: .venv/.installed
	$(PY) doctor.py

rust:
	@command -v cargo >/dev/null || { echo "cargo not found on PATH. Install Rust with:  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"; exit 1; }
	@cargo clippy --version >/dev/null 2>&1 || { echo "clippy not found. Install it with:  rustup component add clippy"; exit 1; }

runs/tiny-coder/config.json: make_tiny_coder.py data/tiny_prompts.jsonl | .venv/.installed
	$(PY) make_tiny_coder.py --output_dir runs/tiny-coder

# The stamp is written last, so an interrupted install is finished by the next make.
.venv/.installed: requirements.txt requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 with venv found on PATH ($$(python3 --version 2>&1)): make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(PY) -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv runs .pytest_cache .hypothesis
