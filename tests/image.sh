#!/usr/bin/env bash
# Builds the image of all steps with podman, where no registry can be reached; needs root.
#
# The base is a Debian 13 made here, with what this machine knows of the network: mirrors,
# certificates, pip's and Maven's settings. It stays with podman, as do the layers of the last build:
# the next one takes half a minute if only code has changed.
#
#   tests/image.sh NAME
set -euo pipefail
# shellcheck source=tests/debian13_root.sh
source "$(dirname "${BASH_SOURCE[0]}")/debian13_root.sh"

readonly BASE=localhost/debian13-base
readonly TITLE=spark-tfx-pipeline
readonly LOCAL_CERTIFICATES=/usr/local/share/ca-certificates

main() {
    local name=$1
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    mkdir -p "$CACHE"
    exec 9>"$CACHE/image.lock"
    flock 9
    export CONTAINERS_CONF=$PWD/tests/containers.conf
    podman image exists "$BASE" || make_base
    say "building $name (log: $CACHE/image.log)"
    # The first stage has a name of its own so that its layers are not taken for leftovers below.
    build --target dependencies --tag "$name-dependencies"
    build --tag "$name"
    # The layers of earlier builds: 4 GB each time that dependencies have changed.
    podman image prune --force --filter "label=org.opencontainers.image.title=$TITLE" >/dev/null
    say "built $name in $SECONDS s"
}

build() {
    podman build --network=host --build-arg "BASE=$BASE" --file kubeflow/Containerfile "$@" . \
        >"$CACHE/image.log" 2>&1 ||
        fail "podman build failed: $(tail -3 "$CACHE/image.log" | tr '\n' ' ') (all: $CACHE/image.log)"
}

make_base() {
    install_mmdebstrap
    say "making the base, Debian 13"
    local hooks=() path
    for path in "$LOCAL_CERTIFICATES" "$HOME/.m2"; do
        [[ -d $path ]] || continue
        hooks+=(--customize-hook="mkdir -p \"\$1$path\"")
        while IFS= read -r file; do
            hooks+=(--customize-hook="cp '$file' \"\$1$path/\"")
        done < <(find -L "$path" -maxdepth 1 -type f \( -name '*.crt' -o -name 'settings*.xml' \))
    done
    [[ ! -f /etc/pip.conf ]] || hooks+=(--customize-hook='cp /etc/pip.conf "$1/etc/"')
    hooks+=(--customize-hook='chroot "$1" update-ca-certificates')
    rm -f "$CACHE/base.tar"
    debian13_root --include=ca-certificates "${hooks[@]}" "$CACHE/base.tar" >"$CACHE/image.log" 2>&1 ||
        fail "making the base failed (see $CACHE/image.log)"
    podman import --quiet "$CACHE/base.tar" "$BASE" >/dev/null
    rm "$CACHE/base.tar"
}

say() { echo "image: $*"; }

fail() {
    echo "image failed: $*" >&2
    exit 1
}

main "$@"
