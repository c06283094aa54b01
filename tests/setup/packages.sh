#!/bin/sh
# Installs the Debian packages that are missing: packages.sh SET..., where SET is build, demo, check, bench, fuzz, lint or coverage.
# Asks sudo when it does not run as root; does nothing when all are there.
set -eu

build="gcc libc6-dev make pkg-config librdkafka-dev libcjson-dev libmicrohttpd-dev libgnutls28-dev libsqlite3-dev libssl-dev libsodium-dev libjemalloc-dev libcurl4-openssl-dev uthash-dev"
demo="curl jq kcat jose openssl"
check="libcmocka-dev python3 python3-venv maven sqlite3 nodejs npm man-db systemd"
bench="wrk nginx-light"
fuzz="clang libclang-rt-14-dev llvm" # llvm names the lines of a report
lint="clang clang-tidy clang-format cppcheck shellcheck"
coverage="gcovr"

wanted=
for set in "$@"; do
    case $set in
    build) wanted="$wanted $build" ;;
    demo) wanted="$wanted $demo" ;;
    check) wanted="$wanted $check" ;;
    bench) wanted="$wanted $bench" ;;
    fuzz) wanted="$wanted $fuzz" ;;
    lint) wanted="$wanted $lint" ;;
    coverage) wanted="$wanted $coverage" ;;
    *) echo "packages.sh: there is no set $set" >&2; exit 2 ;;
    esac
done

missing=
for package in $wanted; do
    # nodejs, npm, maven and python3 may also be there from elsewhere than Debian's packages.
    case $package in
    npm) command -v npm >/dev/null && continue ;;
    nodejs) command -v node >/dev/null && continue ;;
    maven) command -v mvn >/dev/null && continue ;;
    esac
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "These packages are missing; install them as root:$missing" >&2; exit 1; }
    sudo=sudo
fi
echo "Installing:$missing"
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq update
# shellcheck disable=SC2086 # a list of words on purpose
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
