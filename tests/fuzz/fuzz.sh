#!/bin/sh
# Runs fuzz targets that are built: fuzz.sh BUILD LIMIT TARGET…, a target on each processor.
#
# LIMIT is a number of seconds with each target: other inputs in every run, and what was found to reach new code is kept in
# BUILD/corpus and built upon by the next; or `short`, 20,000 inputs to each, or what four seconds allow of them: the same ones
# in every run, so that a check fails for what was changed and not by luck. An input that breaks something goes to
# BUILD/findings. Prints a line for each target and fails when one broke.
set -eu
cd "$(dirname "$0")/../.."
build=$1 limit=$2
shift 2

# One target; called again by this script for each.
if [ "${FUZZ_ONE:-}" ]; then
    target=$1
    seeds=tests/fuzz/corpus/$target made=$build/seeds/$target corpus=$build/corpus/$target findings=$build/findings log=$build/logs/$target
    rm -rf "$made"
    mkdir -p "$made" "$corpus" "$findings" "$build/logs"
    for seed in "$seeds"/*; do
        case $seed in
        *.base64) base64 -d "$seed" >"$made/$(basename "$seed" .base64)" ;;
        *\*) ;; # it has none
        *) cp "$seed" "$made" ;;
        esac
    done
    steady=
    if [ "$limit" = short ]; then
        set -- -seed=1 -runs=20000 -max_total_time=4 -reload=0
        # What is made next depends on addresses too. Some containers do not let them be fixed.
        if setarch -R true 2>/dev/null; then steady="setarch -R"; fi
    else
        set -- -max_total_time="$limit" "$corpus"
    fi
    set -- -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 -artifact_prefix="$findings/$target-" "$@"
    [ -f "tests/fuzz/$target.dict" ] && set -- "$@" -dict="tests/fuzz/$target.dict"
    # Every seed by itself first: a fuzzing run that is over at once would skip some.
    status=0
    if ! "$build/tests/fuzz/$target" -runs=0 -artifact_prefix="$findings/$target-" "$made" >"$log.seeds" 2>&1; then
        mv "$log.seeds" "$log"
        status=1
    else
        # shellcheck disable=SC2086 # two words, or none
        $steady "$build/tests/fuzz/$target" "$@" "$made" >"$log" 2>&1 || status=1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    edges=$(sed -n 's/.*cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    printf '%-20s %12s %9s %7s %6s  %s\n' "$target" "${runs:--}" "${rate:--}" "${edges:--}" "$(find "$corpus" -type f | wc -l)" \
        "$([ $status = 0 ] && echo passed || echo BROKEN)"
    if [ $status != 0 ]; then
        grep -E -m 12 'ERROR:|SUMMARY:|must be true|runtime error|^    #[0-9] ' "$log" | sed 's/^/    /'
        sed -n "s|.*Test unit written to |    again: $build/tests/fuzz/$target |p" "$log"
        exit 1
    fi
    exit 0
fi

printf '%-20s %12s %9s %7s %6s  %s\n' target executions 'a second' edges corpus result
printf '%s\n' "$@" | FUZZ_ONE=1 xargs -n 1 -P "$(nproc)" "$0" "$build" "$limit"
