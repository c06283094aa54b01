#!/bin/sh
# Static analysis of everything that is written here: lint.sh [STEP]…, of tidy, analyzer, cppcheck and shell. Without one,
# all. Each step says nothing when it finds nothing; what is left out, and why, is told where it is left out (.clang-tidy,
# suppressions.txt, comments in the code).
set -eu
cd "$(dirname "$0")/../.."
jobs=$(nproc)
flags="-std=gnu17 -D_GNU_SOURCE -I. $(pkg-config --cflags rdkafka libcjson libmicrohttpd sqlite3 libcrypto libssl libcurl)"
sources() { printf '%s\n' common/*.c api/*.c worker/*.c; }
# error.c defines what the model tells of.
model() { [ "$1" = common/error.c ] || echo "-include tests/lint/model.h"; }

# Called again by xargs with one file.
case ${LINT_FILE:-} in
tidy)
    # shellcheck disable=SC2046,SC2086 # lists of words
    clang-tidy --quiet "$1" -- $flags $(model "$1") -Wno-unknown-attributes 2>/dev/null || exit 1
    exit 0 ;;
analyzer)
    # -O1: with -O2 one file takes minutes, since what is inlined is looked at again at each place.
    # -Wanalyzer-malloc-leak: gcc 12 loses a block that only a list of uthash or utlist knows; LeakSanitizer has the tests.
    # shellcheck disable=SC2046,SC2086
    gcc $flags $(model "$1") -O1 -fanalyzer -Werror -Wno-analyzer-malloc-leak -c "$1" -o /dev/null || exit 1
    exit 0 ;;
esac

step() {
    case $1 in
    tidy | analyzer) sources | LINT_FILE=$1 xargs -n 1 -P "$jobs" "$0" ;;
    cppcheck)
        mkdir -p build/cppcheck
        cppcheck -j "$jobs" --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability,style --inline-suppr \
            --library=posix --library=tests/lint/cppcheck.cfg --suppressions-list=tests/lint/suppressions.txt \
            --cppcheck-build-dir=build/cppcheck -D_GNU_SOURCE '-DJWK_VERSION="lint"' -I. api common worker ;;
    shell) git ls-files '*.sh' | xargs shellcheck .ci/run ;;
    *) echo "lint.sh: there is no step $1" >&2; exit 2 ;;
    esac
}

[ $# -gt 0 ] || set -- tidy analyzer cppcheck shell
status=0
for name; do
    before=$(date +%s)
    if step "$name"; then result=clean; else result=FINDINGS status=1; fi
    echo "lint: $name: $result ($(($(date +%s) - before)) s)"
done
exit $status
