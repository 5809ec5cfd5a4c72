#!/usr/bin/env bash
# Prints the path of kustomize: the one on the PATH, or else built once from its source with Go.
set -euo pipefail

readonly VERSION=v5.7.1
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/spark-tfx-pipeline/kustomize-$VERSION

if command -v kustomize; then exit 0; fi
if [[ ! -x $CACHE/kustomize ]]; then
    go=$(command -v go || echo /usr/local/go/bin/go)
    [[ -x $go ]] || {
        echo "manifests are rendered with kustomize: install it, or Go 1.22 or newer to build it" >&2
        exit 1
    }
    mkdir -p "$CACHE"
    GOBIN=$CACHE/partial "$go" install "sigs.k8s.io/kustomize/kustomize/v5@$VERSION" >&2
    mv "$CACHE/partial/kustomize" "$CACHE/kustomize"
fi
echo "$CACHE/kustomize"
