#!/usr/bin/env bash
# types.sh: mypy on what ships.  Builds sdist and wheel and checks the unpacked wheel (see pyproject.toml, mypy_path).
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf build
mkdir -p build/dist
.venv/bin/python -m build --no-isolation --outdir build/dist . >build/build.log 2>&1 || { cat build/build.log >&2; exit 1; }
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/types build/dist/*.whl
.venv/bin/python -m mypy
