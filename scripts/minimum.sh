#!/usr/bin/env bash
# Run the fast tests on the oldest Python with the oldest dependencies that pyproject.toml allows. The ONNX export needs a newer PyTorch
# than the rest, so the tests of the code that uses PyTorch run without it first. The environment takes about ten gigabytes, because old
# builds of PyTorch include CUDA.    scripts/minimum.sh [folder for the environment]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="${1:-.venv-minimum}"
python3.10 -m venv "$venv"
"$venv/bin/pip" install -q "uv>=0.5"
uv() { "$venv/bin/uv" "$@"; }
install_oldest() { # install_oldest EXTRA...
    uv pip compile -q --resolution lowest-direct --python-version 3.10 pyproject.toml -o "$venv/minimum.txt" "${@/#/--extra=}"
    uv pip install -q --python "$venv/bin/python" -r "$venv/minimum.txt"
    uv pip install -q --python "$venv/bin/python" --no-deps -e .
}
install_oldest icons studio heic dev
"$venv/bin/pytest" tests/test_*.py tests/bench tests/clip tests/experiment tests/method tests/saving tests/stream
install_oldest icons onnx studio heic dev
"$venv/bin/pytest"
