# The two commands: `make demo` and `make test`. Each sets up everything it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed-dev

.PHONY: demo test test-engines lint soak debian clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "setuptools>=77"
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/gasmcast demo demo

# Two processes; a file's tests stay together, for its fixtures do.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# What OpenCV needs on a machine without a screen, and what some tests of faults need: an RTSP server, a broker, FFmpeg's own tool. Without
# these those tests are skipped, and say so.
DEBIAN := ffmpeg gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly libgl1 libglib2.0-0 mosquitto python3-gi
debian:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(DEBIAN)

# Ten minutes of four cameras with faults at random, and seven of the command as a process; GASMCAST_SOAK_SEED chooses which, GASMCAST_SOAK_S how long.
soak: $(STAMP)
	GASMCAST_SOAK_S=$${GASMCAST_SOAK_S:-600} $(BIN)/python -m pytest -s tests/runtime/faults/test_soak.py

# Every graph in every precision at real size through TensorRT-RTX, minutes each; on a machine with a GPU, the GPU tests too.
test-engines: $(STAMP)
	GASMCAST_REAL_SIZE=1 $(BIN)/python -m pytest tests/runtime/engines tests/export/tensorrt/test_rtx_check.py tests/export/tensorrt/test_torch_tensorrt.py --timeout 7200

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy gasmcast
	$(BIN)/lint-imports

clean:
	rm -rf .venv build demo *.egg-info
