#!/usr/bin/env bash
# Resolves every lock in this folder anew, with uv; README.md says when.
set -euo pipefail
cd "$(dirname "$0")"
uv=$(command -v uv || echo ../.venv-tools/bin/uv)

compile() {  # compile NAME PYTHON [OPTION...]
    echo "resolving $1.txt"
    "$uv" pip compile --quiet --generate-hashes --no-emit-index-url \
        --python-version "$2" "${@:3}" --upgrade "$1.in" -o "$1.txt"
}

compile tfx-1.16 3.10
compile tfx-1.21 3.11 --universal
compile java 3.10 --universal
compile build 3.10 --universal
compile uv 3.8 --universal
compile deepctr 3.10 --universal
