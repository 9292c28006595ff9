# make train   a whole run on this machine's CPU: model, GRPO with cargo as the reward, plot
# make test    every test that needs no GPU
# make doctor  what this machine can do
# Set-up (virtual environment, packages, a look at the Rust toolchain) happens by itself, once.

PYTHON ?= $(shell command -v python3.12 || command -v python3.11 || command -v python3.13 || command -v python3)
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
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "Python %d.%d found, 3.11 to 3.13 are supported: make PYTHON=/path/to/python3.12" % v)'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(PY) -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv runs .pytest_cache .hypothesis
