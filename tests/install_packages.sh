#!/usr/bin/env bash
# Debian packages of the services and clients that tests use; nothing is done when they are there.
set -euo pipefail

missing=()
command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null || missing+=(postgresql)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v mvn >/dev/null || missing+=(maven)
command -v curl >/dev/null || missing+=(curl)
command -v openssl >/dev/null || missing+=(openssl)
command -v chromium-headless-shell >/dev/null || missing+=(chromium-headless-shell fonts-dejavu-core)
if [ -z "${IN_DEBIAN13_ROOT-}" ]; then  # podman is used outside of it
    command -v podman >/dev/null || missing+=(podman runc)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests need these packages: ${missing[*]}; install them (apt-get install ${missing[*]})" >&2
    exit 1
fi
echo "installing for the tests: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
{
    apt-get -qq update &&
        RUNLEVEL=1 apt-get -qq install -y --no-install-recommends "${missing[@]}"
} >"$log" 2>&1 || {
    echo "apt-get could not install ${missing[*]}; see $log" >&2
    exit 1
}
