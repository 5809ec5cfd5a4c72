#!/usr/bin/env bash
# Resolves every lock in this folder anew, with uv; README.md says when.
set -euo pipefail
cd "$(dirname "$0")"
uv=$(command -v uv || echo ../.venv-tools/bin/uv)

# compile NAME PYTHON [OPTION...]: of NAME.in, or of what FILES says
compile() {
    echo "resolving $1.txt"
    # shellcheck disable=SC2086  # several names
    "$uv" pip compile --quiet --generate-hashes --no-emit-index-url \
        --python-version "$2" "${@:3}" ${FILES:-$1.in} -o "$1.txt"
}

FILES="tfx-1.16.in tools.in" compile tfx-1.16 3.10 --upgrade --override overrides.in
FILES="tfx-1.21.in tools.in" compile tfx-1.21 3.11 --universal --upgrade
FILES=tfx-1.21.in compile image 3.11 --universal --upgrade --constraints tfx-1.21.txt
compile java 3.10 --universal --upgrade
compile build 3.10 --universal --upgrade
compile uv 3.8 --universal --upgrade
compile deepctr 3.10 --universal --upgrade
compile feast 3.10 --universal --upgrade
compile audit 3.10 --universal --upgrade
