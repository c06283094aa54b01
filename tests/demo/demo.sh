#!/bin/bash
# Shows the whole mission on the embedded broker: demo.sh shows it once and leaves nothing behind, demo.sh --stay keeps it running.
# Programs are taken from BUILD (default: build).
set -euo pipefail

build=${BUILD:-build}
stay=false
[ "${1:-}" = --stay ] && stay=true

directory=$(mktemp -d "${TMPDIR:-/tmp}/jwk-demo.XXXXXX")
pids=()

stop() {
    status=$?
    trap - EXIT
    trap '' INT TERM # what was begun is ended: a second Ctrl-C would leave keys behind
    # In the reverse order of their start: workers say goodbye while the broker is still there.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    if [ "$status" != 0 ] && ! $stay; then
        tail -n 5 "$directory"/*.log >&2 || true
    fi
    rm -rf "$directory"
    exit "$status"
}
trap stop EXIT
trap 'exit 0' INT TERM

# start NAME COMMAND...: runs it in the background until its address file is there, and sets the address. Ctrl-C is for this script
# alone, which ends them in their order.
start() {
    local name=$1
    shift
    setsid "$@" --address-file "$directory/$name.address" 2>"$directory/$name.log" &
    pids+=($!)
    for _ in $(seq 200); do
        [ -s "$directory/$name.address" ] && { address=$(cat "$directory/$name.address"); return; }
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.05
    done
    echo "$name did not start:" >&2
    cat "$directory/$name.log" >&2
    exit 1
}

await_ready() {
    for _ in $(seq 200); do
        curl -fs -o /dev/null "http://$1/readyz" && return
        sleep 0.05
    done
    echo "$1 is not ready" >&2
    exit 1
}

bold='' plain=''
[ -t 1 ] && bold=$'\033[1m' plain=$'\033[0m'
say() { printf '\n%s\n' "$bold$*$plain"; }

master_key=(--master-key-file "$directory/master-key")
admin() { "$build/jwk-api" --data-dir "$directory/api" "$@"; }

start broker "$build/jwk-api" broker
broker=$address
"$build/jwk-api" master-key generate --output "$directory/master-key" 2>/dev/null
for environment in production staging; do
    admin environment add "$environment" "${master_key[@]}" --credentials "$directory/$environment.credentials" 2>/dev/null
done
admin project add MyProject
token=$(admin token create --user demo --role ROLE_API_SECURITY --role ROLE_DEPLOY_UNDEPLOY_PROXIES 2>/dev/null)
start api "$build/jwk-api" serve --data-dir "$directory/api" "${master_key[@]}" --listen 127.0.0.1:0 --brokers "$broker"
api=$address
declare -A worker
for environment in production staging; do
    start "$environment" "$build/jwk-worker" --environment "$environment" --replica "$environment-1" --state-dir "$directory/$environment" \
        --credentials "$directory/$environment.credentials" --listen 127.0.0.1:0 --brokers "$broker"
    worker[$environment]=$address
    await_ready "$address"
done

call() { curl -s -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$@"; }

load_key() {
    local key
    key=$(jose jwk gen -i '{"alg":"ES256","kid":"signing-1"}')
    call -X POST "http://$api/apiops/projects/MyProject/jwks/" \
        -d "$(jq -n --arg key "$key" '{name: "my-jwk", sourceType: "COPY_PASTE", jwkStr: $key}')"
}

if $stay; then
    load_key >/dev/null
    cat <<EOF

jwk-api runs with the project MyProject and its JWK "my-jwk". For the examples of the README, in another terminal:

export URL=http://$api
export TOKEN=$token
export WORKER=http://${worker[production]}

production serves    http://${worker[production]}/projects/MyProject/.well-known/jwks.json
staging serves       http://${worker[staging]}/projects/MyProject/.well-known/jwks.json
events               kcat -b $broker -C -t jwk.events -e -q -f 'key %k\n%h\n%s\n'
logs and stores      $directory (removed at the end)

Ctrl-C stops everything.
EOF
    wait "${pids[@]}"
    exit
fi

say "A new EC key is loaded as the JWK \"my-jwk\" of MyProject"
load_key | jq -c .

say "It is updated"
cat <<EOF
curl -X PUT "http://$api/apiops/projects/MyProject/jwks/my-jwk/" \\
  -H "Authorization: Bearer …" -H "Content-Type: application/json" \\
  -d '{ "name": "updated-jwk", "description": "Updated JWK description" }'
EOF
answer=$(call -X PUT "http://$api/apiops/projects/MyProject/jwks/my-jwk/" \
    -d '{ "name": "updated-jwk", "description": "Updated JWK description" }')

say "The answer says what happened in each environment"
jq . <<<"$answer"

for environment in production staging; do
    say "What $environment serves now"
    curl -s "http://${worker[$environment]}/projects/MyProject/jwks/" | jq -c .
    curl -s "http://${worker[$environment]}/projects/MyProject/.well-known/jwks.json" | jq -c .
done

say "The event that an auditor sees"
kcat -b "$broker" -C -t jwk.events -e -q -f 'key %k\n%h\n%s\n' | tail -n 3

# The demonstration is also a check: what it shows must be so.
jq -e '.success and .deploymentResult.success and (.deploymentResult.environmentResults | length == 2)' <<<"$answer" >/dev/null
