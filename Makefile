# The whole developer vocabulary. `make` alone lists it.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=
EXTRAS ?=
VENV := .venv
BIN := $(VENV)/bin
# Torch's build depends on the machine, so it is no pinned file: installed before what needs it.
TORCH := torch==2.13.0
# Tests that run beside one another; 0 for one after the other.
JOBS ?= 2
MODEL := src/duologue/assets/silero_vad.onnx
PIP_FLAGS := --quiet --disable-pip-version-check

# The full tests' environment: everything at once, kept between checkouts under the hash of its pins.
FULL_PINS := $(foreach extra,server dev whisper webrtc mcp browser kokoro piper sherpa pocket transformers voxtral,requirements/$(extra).txt)
FULL_HASH := $(shell cat $(FULL_PINS) Makefile | sha256sum | cut -c1-16)
FULL := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/duologue/envs/$(FULL_HASH)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev serve test test-full test-all check fmt bench bench-formats bench-streaming eval eval-turns soak docs pins

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

# Installs are redone only when their pins change: each stamp is newer than what it was made from.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/server.stamp: requirements/server.txt pyproject.toml hatch_build.py | $(BIN)/python
	$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes -r requirements/server.txt
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/server.stamp
	$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/torch.stamp: $(VENV)/server.stamp
	$(BIN)/python -m pip install $(PIP_FLAGS) $(TORCH)
	@touch $@

$(VENV)/extra-pocket.stamp $(VENV)/extra-transformers.stamp $(VENV)/extra-voxtral.stamp: $(VENV)/torch.stamp

# Pins name all that they need, so none is looked up (--no-deps).
# An extra of the server: whisper, webrtc, mcp, hub, postgres, kokoro, piper, sherpa, pocket, transformers, voxtral.
$(VENV)/extra-%.stamp: requirements/%.txt $(VENV)/server.stamp
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --require-hashes -r $<
	@touch $@

$(MODEL): requirements/assets.txt $(VENV)/server.stamp
	$(BIN)/python hatch_build.py
	@touch $@

UNKNOWN_EXTRAS := $(foreach extra,$(EXTRAS),$(if $(wildcard requirements/$(extra).txt),,$(extra)))
$(if $(UNKNOWN_EXTRAS),$(error There is no extra '$(UNKNOWN_EXTRAS)'. There are: whisper webrtc mcp hub postgres kokoro piper sherpa pocket transformers voxtral))

setup: $(VENV)/server.stamp $(MODEL) $(EXTRAS:%=$(VENV)/extra-%.stamp) ## install the server into .venv (EXTRAS="whisper webrtc kokoro …": these too)
setup-dev: setup $(VENV)/dev.stamp

serve: setup ## run the server on http://127.0.0.1:8000 (PORT=…, HOST=…, ARGS="…")
	@exec $(BIN)/duologue serve --host $(HOST) --port $(PORT) $(ARGS)

test: setup-dev ## the tests that need nothing beside the repository (minutes)
	$(BIN)/python -m pytest -m "not full" -n $(JOBS) --dist worksteal $(ARGS)

$(FULL)/pins.stamp: $(FULL_PINS)
	$(PYTHON) -m venv $(FULL)
	$(FULL)/bin/python -m pip install $(PIP_FLAGS) $(TORCH)
	for pins in $(FULL_PINS); do $(FULL)/bin/python -m pip install $(PIP_FLAGS) --no-deps --require-hashes -r $$pins || exit 1; done
	@touch $@

test-full: setup-dev $(FULL)/pins.stamp ## the rest: browsers, foreign clients, Whisper, WebRTC (needs .ci/setup)
	$(FULL)/bin/python -m pip install $(PIP_FLAGS) --no-build-isolation --no-deps --editable .
	$(FULL)/bin/python -m pytest -m full -n $(JOBS) --dist worksteal $(ARGS)

test-all: test test-full ## everything

check: setup-dev ## lint, types, imports, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

fmt: setup-dev ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup-dev ## latency, CPU and memory against the floor, in one run; then what each format of sound costs
	$(BIN)/python -m bench.run $(ARGS)
	$(BIN)/python -m bench.formats

bench-formats: setup-dev ## CPU and traffic of each format of sound (EXTRAS=webrtc: also of WebRTC)
	$(BIN)/python -m bench.formats $(ARGS)

eval: setup-dev ## word error rate of the embedded STT, intelligibility of the embedded TTS
	$(BIN)/python -m bench.eval $(ARGS)

eval-turns: setup-dev ## turn-taking: recordings and made conversations, each policy beside the others
	$(BIN)/python -m bench.eval_turns $(ARGS)

soak: setup-dev ## conversations for minutes, and one of an hour: memory, tasks and files must stay flat, nothing may be lost
	$(BIN)/python -m bench.streaming.hour $(ARGS)
	$(BIN)/python -m bench.soak

bench-streaming: setup-dev ## what streaming sessions are worth: memory, latency, throughput, bytes (docs/sessions.md)
	$(BIN)/python -m bench.streaming $(ARGS)

docs: setup-dev ## redraw what is drawn from the code
	$(BIN)/python -m tools.draw $(ARGS)
	$(BIN)/python -m tools.memory_table

pins: ## recompile requirements/*.txt (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml requirements/build.in --extra server -o requirements/server.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/dev.in -c requirements/server.txt -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-deps requirements/assets.in -o requirements/assets.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/whisper.in -c requirements/server.txt -o requirements/whisper.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/webrtc.in -c requirements/server.txt -o requirements/webrtc.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/mcp.in -c requirements/server.txt -o requirements/mcp.txt
	uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url --no-header -c requirements/server.txt docker/cuda.in -o docker/cuda.txt
	for extra in hub postgres kokoro piper sherpa pocket transformers voxtral; do uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/$$extra.in -c requirements/server.txt -c requirements/whisper.txt --override requirements/overrides.txt -o requirements/$$extra.txt || exit 1; done
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/browser.in -c requirements/server.txt -c requirements/dev.txt -o requirements/browser.txt
	for client in agents pipecat livekit node; do uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/client-$$client.in -o requirements/client-$$client.txt || exit 1; done
	cd tests/clients/node && npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved=true
