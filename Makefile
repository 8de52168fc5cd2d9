PYTHON ?= python3.11
BIN := .venv/bin
RUN ?= runs/demo

.PHONY: install demo test faults check clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/hyperrl train cartpole --run $(RUN) --resume
	$(BIN)/hyperrl evaluate $(RUN) --split interpolation extrapolation combination --sweep
	$(BIN)/hyperrl play $(RUN) --set length=0.8 gravity=12 --gif $(RUN)/figures/play.gif --force
	@echo
	@echo "Figures and a GIF of the policy: $(RUN)/figures"
	@echo "Learning curves, weights, hparams: $(BIN)/tensorboard --logdir runs   (then open http://localhost:6006)"

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

faults: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m faults --numprocesses auto tests/faults

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
