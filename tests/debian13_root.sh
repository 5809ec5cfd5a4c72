# Sourced: makes a Debian 13 root file system on this machine, from the mirrors that it uses.

readonly SUITE=trixie
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/spark-tfx-pipeline

# debian13_root [MMDEBSTRAP OPTION...] TARGET: a folder, or a file that ends with .tar
debian13_root() {
    local settings
    settings=$(mktemp -d)
    apt_sources >"$settings/sources.list"
    apt-config dump 2>/dev/null | grep -E '^Acquire::https?::[^ ]+ "' >"$settings/apt.conf" || true
    local options=(--mode=root --variant=minbase --aptopt="$settings/apt.conf" "${@:1:$#-1}" "$SUITE" "${@: -1}")
    if [[ -s $settings/sources.list ]]; then options+=("$settings/sources.list"); fi
    unshare --mount --propagation=private mmdebstrap "${options[@]}" || return
    rm -r "$settings"
}

install_mmdebstrap() {
    ! command -v mmdebstrap >/dev/null || return 0
    command -v apt-get >/dev/null || fail "no mmdebstrap, and no apt-get to get it: install mmdebstrap"
    say "installing mmdebstrap"
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y mmdebstrap; } \
        >"$CACHE/debian13.log" 2>&1 || fail "no mmdebstrap, and apt-get failed (see $CACHE/debian13.log)"
}

# The mirrors this Debian uses, with the suite changed. Elsewhere nothing: mmdebstrap knows its own.
apt_sources() {
    local id codename uri release component
    id=$(. /etc/os-release && echo "${ID:-}")
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [[ $id == debian && -n $codename ]] || return 0
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sort -u | while read -r uri release component; do
            case $release/$component in
            "$codename"/main | "$codename-updates"/main | "$codename-security"/main)
                echo "deb $uri $SUITE${release#"$codename"} main" ;;
            esac
        done
}
