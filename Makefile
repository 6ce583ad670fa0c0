# `make demo` shows everything once, `make test` runs the tests. Each sets up what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed-dev
DOCS_STAMP := .venv/installed-docs

.PHONY: demo test test-web test-engines gpu-proof lint docs pictures dist soak debian clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "setuptools>=77"
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

# Zensical needs Python 3.11 or later.
$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $@

demo: $(STAMP)
	$(BIN)/gasmcast demo demo

# Two processes; the tests of one file stay in one process, because they share fixtures. Prints the
# coverage and fails below the floor of pyproject.toml.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term

# The web view and every kind of page in Chromium; part of `make test`, too.
BROWSER_TESTS := $(addprefix tests/gasmcast/report/,test_pages_in_browser.py \
	test_verb_pages_in_browser.py)
test-web: debian $(STAMP)
	GASMCAST_NEED_DEBIAN=1 $(BIN)/python -m pytest tests/web $(BROWSER_TESTS)

# What .pre-commit-config.yaml runs at a commit, over all files.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy gasmcast
	$(BIN)/lint-imports

# Everything that a GPU has to prove, at most ten minutes; PROOF_FLAGS=--rehearse tries it on a CPU.
PROOF_FLAGS ?=
gpu-proof: $(STAMP)
	$(BIN)/gasmcast doctor --gpu-proof gpu-proof $(PROOF_FLAGS)

# The documentation site, in site/. Works offline; a warning is an error.
docs: $(DOCS_STAMP)
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --clean --strict

# Every picture of README and docs, from the demo; none is edited by hand.
pictures: $(STAMP)
	$(BIN)/gasmcast demo demo
	$(BIN)/python docs/pictures/figures.py
	$(BIN)/python docs/pictures/demo_picture.py demo docs/demo.png
	$(BIN)/python docs/pictures/screen_pictures.py demo

# The source distribution and the wheel in dist/, checked, installed without extras into a clean
# environment of each Python of DIST_PYTHONS (names or paths) and run there on a tiny bundle; a list
# of the dependencies (CycloneDX) and of their licenses. A missed limit is printed;
# DIST_FLAGS=--strict makes it a failure.
DIST_PYTHONS ?= python3.10 python3.13
DIST_MAX_MB ?= 500
DIST_MAX_HELP_S ?= 0.3
DIST_FLAGS ?=
RELEASE := build/release
RELEASE_STAMP := $(RELEASE)/tools/installed
$(RELEASE_STAMP): deploy/release/requirements.txt
	$(PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/python -m pip install --quiet -r $<
	touch $@

dist: $(STAMP) $(RELEASE_STAMP)
	$(BIN)/python deploy/release/tiny_bundle.py $(RELEASE)/tiny.gasm
	$(RELEASE)/tools/bin/python deploy/release/make_dist.py --out dist
	set -e; for python in $(DIST_PYTHONS); do \
		folder=$(RELEASE)/$$(basename $$python); \
		$(RELEASE)/tools/bin/python deploy/release/check_install.py dist/*.whl \
			$(RELEASE)/tiny.gasm $$folder --python $$python --max-mb $(DIST_MAX_MB) \
			--max-help-s $(DIST_MAX_HELP_S) --json $$folder.json $(DIST_FLAGS); \
	done
	$(RELEASE)/tools/bin/python deploy/release/list_dependencies.py \
		$(RELEASE)/$(notdir $(lastword $(DIST_PYTHONS)))/bin/python --out dist

# Libraries that OpenCV needs on a machine without a screen, and servers and tools that some fault
# tests need (RTSP, MQTT, FFmpeg, a browser). Without them these tests are skipped with a reason.
DEBIAN := chromium ffmpeg gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
	gstreamer1.0-plugins-ugly libgl1 libglib2.0-0 mosquitto openssl python3-gi strace
debian:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(DEBIAN)

# Ten minutes of four cameras with random faults, and seven of the command as a process.
# GASMCAST_SOAK_SEED chooses the faults, GASMCAST_SOAK_S the duration in seconds.
soak: $(STAMP)
	GASMCAST_SOAK_S=$${GASMCAST_SOAK_S:-600} $(BIN)/python -m pytest -s tests/runtime/faults/test_soak.py

# Every graph in every precision at real size through TensorRT-RTX, minutes each; on a machine with
# a GPU the GPU tests too.
test-engines: $(STAMP)
	GASMCAST_REAL_SIZE=1 $(BIN)/python -m pytest --timeout 7200 tests/runtime/engines \
		tests/export/tensorrt/test_rtx_check.py tests/export/tensorrt/test_torch_tensorrt.py

clean:
	rm -rf .venv build demo dist site *.egg-info
