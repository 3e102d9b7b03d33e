#!/usr/bin/env bash
# Run the fast tests on the oldest Python with the oldest dependencies that pyproject.toml allows. The environment takes several
# gigabytes, because old builds of PyTorch include CUDA.    scripts/minimum.sh [folder for the environment]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="${1:-.venv-minimum}"
python3.10 -m venv "$venv"
"$venv/bin/pip" install -q "uv>=0.5"
uv() { "$venv/bin/uv" "$@"; }
uv pip compile -q --resolution lowest-direct --python-version 3.10 pyproject.toml -o "$venv/minimum.txt" \
    --extra icons --extra onnx --extra studio --extra dev
uv pip install -q --python "$venv/bin/python" -r "$venv/minimum.txt"
uv pip install -q --python "$venv/bin/python" --no-deps -e .
"$venv/bin/pytest"
