#!/bin/sh
# SPDX-License-Identifier: MIT
# pleat replay: the shipped trace and a synthetic workload against the core, as a table and as JSON.
. tests/support/tap.sh

pleat=${BUILD:-build}/pleat
short=traces/a-compile-short.ptr.xz
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT

# expect NAME CODE STREAM TEXT ARGUMENT...: pleat replay ARGUMENT... exits with CODE and STREAM has TEXT.
expect() {
    name=$1 code=$2 stream=$3 text=$4
    shift 4
    "$pleat" replay "$@" >"$out/stdout" 2>"$out/stderr" </dev/null
    is "$name: exit code" $? "$code"
    ok "$name: $stream" grep -F -e "$text" "$out/$stream"
}

# json NAME EXPRESSION: jq finds it true of the last output.
json() {
    ok "$1" jq -e "$2" "$out/stdout"
}

expect 'the shipped trace in 1G' 0 stdout 'live frames            53561' $short -m 1G --repeat 1
ok 'nothing was refused' grep -F 'refused allocations    0' "$out/stdout"
expect 'as JSON, with a synthetic one' 0 stdout '"ns-per-operation"' \
    $short synthetic,preset=20,fill=50% -m 1G --repeat 2 --operations 20000 --json
json 'there are two' 'length == 2'
json 'the trace' '.[0] | .workload == "traces/a-compile-short.ptr.xz" and .operations == 522249 and
    ."memory-bytes" == 1073741824 and ."live-frames" == 53561 and ."refused-allocations" == 0'
json 'the synthetic one' '.[1] | .operations == 20000 and ."live-frames" >= 131072'
json 'time' 'all(.[]; ."ns-per-operation" > 0 and ."ns-per-operation-least" <= ."ns-per-operation" and
    ."ns-per-operation" <= ."ns-per-operation-most")'
json 'placement' 'all(.[]; ."possible-pageblocks" == (."free-frames" / 512 | floor) and
    ."free-pageblocks" <= ."possible-pageblocks" and ."placement-percent" <= 100)'
expect 'memory that is too small refuses allocations' 0 stdout 'refused allocations    ' $short -m 64M --repeat 1
ok 'many of them' grep -E 'refused allocations    [1-9]' "$out/stdout"

head -c 3000 $short >"$out/cut"
expect 'a truncated trace' 1 stderr 'found the end of the file, expected more' "$out/cut"
expect 'a trace that is not there' 1 stderr '/nonexistent: No such file' /nonexistent
expect 'no workload' 2 stderr 'expected a WORKLOAD'
expect 'a wrong size' 2 stderr "-m expects a size" $short -m 1Q
expect 'a size that is no multiple' 2 stderr "-m expects 4M to 1T in multiples of 2M, found '5M'" $short -m 5M
expect 'a size without a unit is MiB' 2 stderr "found '3'" $short -m 3
expect 'a wrong count' 2 stderr "--repeat expects 1 to 1000, found '0'" $short --repeat 0
expect 'an unknown option' 2 stderr "unknown option '--fast'" $short --fast
expect 'an option without its value' 2 stderr "'-m' needs a value" $short -m
expect 'a wrong synthetic workload' 2 stderr "Parameter 'fill' expects a percentage" synthetic,fill=x
expect 'help' 0 stdout 'unmovable=PERCENT' --help
done_testing
