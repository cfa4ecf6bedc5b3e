# Two commands are all that is needed: `make run` and `make test`.
.DELETE_ON_ERROR:
.PHONY: run test check types bench proof clean

run: .venv/.installed  ## start the daemon with a built-in network of simulated nodes
	@exec .venv/bin/chainwatch run --devnet

test: .venv/.installed-test  ## install what the tests need and run every check
	@tests/setup/parts.sh
	@tests/setup/check.sh test

check: .venv/.installed-test  ## linters and types only
	@tests/setup/check.sh lint

types: .venv/.installed-test  ## mypy on the built wheel
	@tests/setup/types.sh

bench: .venv/.installed-test  ## measure speed and size against the targets
	@.venv/bin/python bench/run.py

proof: .venv/.installed-test  ## the long tests: many more seeds, many more kills
	@tests/setup/parts.sh
	@.venv/bin/python -m pytest -q -n auto -m long --timeout 3600 || [ $$? -eq 5 ]  # 5: there is none

clean:  ## remove what the commands above made in this folder
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.installed: pyproject.toml
	@tests/setup/venv.sh $@

.venv/.installed-test: pyproject.toml
	@tests/setup/venv.sh $@ test
	@touch .venv/.installed
