#!/usr/bin/env bash
# Runs `make test` on the TFX 1.21 line, in a Debian 13 root file system.
#
# The root file system, with uv's cache and the .venv in it, stays in ~/.cache/spark-tfx-pipeline
# for the next run; the working tree is copied into it afresh. Needs root, for chroot and mounts.
#
#   tests/debian13.sh                   every test but the slow ones; PYTEST_ARGS narrows them
#   tests/debian13.sh make setup        another command instead, in the project's folder there
set -euo pipefail
# shellcheck source=tests/debian13_root.sh
source "$(dirname "${BASH_SOURCE[0]}")/debian13_root.sh"

readonly PACKAGES=python3,python3-venv,python3-dev,openjdk-21-jre-headless,g++,make,git,ca-certificates,procps,curl,mariadb-server,postgresql,redis-server,maven,chromium-headless-shell,fonts-dejavu-core
readonly JAVA_CERTIFICATES=/etc/ssl/certs/java/cacerts
readonly HOME_INSIDE=/root
readonly HERE=/srv/spark-tfx-pipeline  # where the working tree lies inside

main() {
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    [[ $(id -u) == 0 ]] || fail "chroot and mount need root: run it as root, or with sudo -E"
    mkdir -p "$CACHE"
    exec 9>"$CACHE/debian13.lock"
    flock --nonblock 9 || { say "waiting for another run"; flock 9; }

    local root
    root=$CACHE/debian13-$(sha256sum <<<"$SUITE $PACKAGES" | cut -c1-12)
    [[ -d $root ]] || build "$root"
    refresh_network_settings "$root"
    copy_working_tree "$root$HERE"
    [[ $# -gt 0 ]] || set -- make test
    say "running $* on Debian 13 (${root})"
    inside "$root" "$@"
}

# Builds under a name of its own and renames it: a half-built one is never taken for a whole one.
build() {
    local root=$1 started=$SECONDS partial
    install_mmdebstrap
    rm -rf --one-file-system "$CACHE"/debian13-*.partial  # of a run that was killed; we hold the lock
    partial=$root.partial
    say "building the Debian 13 root file system (once, about a minute; log: $CACHE/debian13.log)"
    debian13_root --include="$PACKAGES" "$partial" >"$CACHE/debian13.log" 2>&1 || {
        rm -rf --one-file-system "$partial"
        fail "building it failed: $(grep -E '^E: |No space left' "$CACHE/debian13.log" | head -1)" \
            "(all of it: $CACHE/debian13.log)"
    }
    mv "$partial" "$root"
    # Those of other package lists: eight gigabytes each, and we hold the lock.
    find "$CACHE" -mindepth 1 -maxdepth 1 -type d -name 'debian13-*' ! -path "$root" \
        -exec rm -rf --one-file-system {} +
    say "built in $((SECONDS - started)) s"
}

# Name servers, and the certificates this machine trusts beyond Debian's own.
refresh_network_settings() {
    local root=$1 bundle=${PIP_CERT:-${SSL_CERT_FILE:-${REQUESTS_CA_BUNDLE:-}}}
    cp --dereference --remove-destination /etc/resolv.conf /etc/hosts "$root/etc/"
    if [[ -f /etc/pip.conf ]]; then cp /etc/pip.conf "$root/etc/"; else rm -f "$root/etc/pip.conf"; fi
    if [[ -d $HOME/.m2 ]]; then
        mkdir -p "$root$HOME_INSIDE/.m2"
        find "$HOME/.m2" -maxdepth 1 -name 'settings*.xml' -exec cp {} "$root$HOME_INSIDE/.m2/" \;
    fi
    if [[ -f $bundle ]]; then cp --dereference "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"; fi
    # Java, and so Maven, keeps its own list of them.
    if [[ -f $JAVA_CERTIFICATES ]]; then cp --dereference "$JAVA_CERTIFICATES" "$root$JAVA_CERTIFICATES"; fi
}

# What git would commit now, and nothing of the last run but its .venv.
copy_working_tree() {
    local target=$1
    mkdir -p "$target"
    find "$target" -mindepth 1 -maxdepth 1 ! -name '.venv*' -exec rm -rf {} +
    git ls-files -z --cached --others --exclude-standard |
        tar --create --null --files-from=- --ignore-failed-read --warning=no-failed-read |
        tar --extract --no-same-owner --directory="$target"
}

# Runs a command in the root file system. Its mounts and processes live in namespaces of their own,
# which the kernel takes down with this script: nothing runs on or stays mounted, not even after
# kill -9, where a trap would not run.
inside() {
    local root=$1 certificates=/etc/ssl/certs/ca-certificates.crt
    shift
    local environment=(HOME="$HOME_INSIDE" LANG=C.UTF-8 TERM="${TERM:-dumb}" TFX_LINE=1.21
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        PYTEST_ARGS="${PYTEST_ARGS-}" IN_DEBIAN13_ROOT=1
        SSL_CERT_FILE="$certificates" REQUESTS_CA_BUNDLE="$certificates" PIP_CERT="$certificates")
    local name
    for name in $(compgen -e | grep -iE '^(ci|https?_proxy|no_proxy|OPENBLAS_.*)$|^(pip|uv)_'); do
        case $name in
        PIP_CERT | PIP_CONFIG_FILE | PIP_CACHE_DIR | PIP_FIND_LINKS | UV_CACHE_DIR | UV_PYTHON*) ;;  # paths out here
        *) environment+=("$name=${!name}") ;;
        esac
    done
    # shellcheck disable=SC2016  # the inner shell expands these
    setpriv --pdeathsig KILL \
        unshare --mount --propagation=private --pid --fork --kill-child bash -c '
        root=$1 here=$2; shift 2
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        mount -t tmpfs -o mode=1777 tmpfs "$root/run"
        exec 9>&-
        chroot "$root" /usr/bin/env -i --chdir="$here" "${@}"
    ' debian13 "$root" "$HERE" "${environment[@]}" "$@"
}

say() { echo "debian13: $*"; }

fail() {
    echo "debian13 failed: $*" >&2
    exit 1
}

main "$@"
