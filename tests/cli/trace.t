#!/bin/sh
# SPDX-License-Identifier: MIT
# pleat trace: the shipped trace, cutting it, and files that are no traces.
pleat=${BUILD:-build}/pleat
short=traces/a-compile-short.ptr.xz
count=0
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT

# expect NAME CODE STREAM TEXT ARGUMENT...: pleat trace ARGUMENT... exits with CODE and STREAM has TEXT.
expect() {
    name=$1 code=$2 stream=$3 text=$4
    shift 4
    count=$((count + 1))
    "$pleat" trace "$@" >"$out/stdout" 2>"$out/stderr" </dev/null
    found=$?
    if [ $found -eq "$code" ] && grep -qF -e "$text" "$out/$stream"; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        echo "# pleat trace $*: exit code $found, expected $code; expected '$text' in $stream:"
        sed 's/^/#   /' "$out/stdout" "$out/stderr"
    fi
}

# check NAME COMMAND...: the command succeeds.
check() {
    name=$1
    shift
    count=$((count + 1))
    "$@" >/dev/null 2>&1 || printf 'not '
    echo "ok $count - $name"
}

expect 'the shipped trace is a trace'      0 stdout 'records               522249' info $short
expect 'its live frames are those of all'  0 stdout 'with those from before 92564' info $short
check  'it takes at most 700 KiB'          test "$(stat -c %s $short)" -le 716800

expect 'a window of it'                    0 stdout "$out/a.ptr.xz: " cut $short "$out/a.ptr.xz" --skip 100000 --records 2000
expect 'is a trace itself'                 0 stdout 'frees skipped         0' info "$out/a.ptr.xz"
expect 'by size'                           0 stdout "$out/b.ptr.xz: " cut "$out/a.ptr.xz" "$out/b.ptr.xz" --max-bytes 40K
check  'is not larger'                     test "$(stat -c %s "$out/b.ptr.xz")" -le 40960
expect 'a size that nothing fits'          1 stderr '--max-bytes is 100, expected more' cut "$out/a.ptr.xz" "$out/c.ptr.xz" --max-bytes 100
check  'leaves no file behind'             test -z "$(ls "$out" | grep c.ptr)"
expect 'a window beyond the end'           1 stderr 'is empty, expected one in its' cut "$out/a.ptr.xz" "$out/c.ptr.xz" --skip 99999999 --records 1
expect 'a folder that is not there'        1 stderr "can't be written: No such file" cut "$out/a.ptr.xz" "$out/no/c.ptr.xz" --records 1

xz -dc "$out/a.ptr.xz" >"$out/plain.ptr"
expect 'a plain file is read too'          0 stdout 'frees skipped         0' info "$out/plain.ptr"
head -c 5000 "$out/plain.ptr" >"$out/cut.ptr"
expect 'a truncated file is named'         1 stderr "$out/cut.ptr: offset 5000: size of the trace is 5000 bytes, expected" info "$out/cut.ptr"
head -c 5000 "$out/a.ptr.xz" >"$out/cut.ptr.xz"
expect 'a truncated .xz file is named'     1 stderr 'found the end of the file, expected more' info "$out/cut.ptr.xz"
expect 'a truncated file is not cut'       1 stderr 'offset 5000' cut "$out/cut.ptr" "$out/c.ptr.xz" --records 1
printf 'Hello' >"$out/hello"
expect 'something else'                    1 stderr 'offset 5: size of the file is 5, expected at least 1088' info "$out/hello"
head -c 2000 /dev/zero >"$out/zero"
expect 'another format'                    1 stderr "expected 'PGTRACE2'" info "$out/zero"
expect 'a file that is not there'          1 stderr '/nonexistent: No such file or directory' info /nonexistent

expect 'no action'                         2 stderr "expected 'info' or 'cut'"
expect 'an unknown action'                 2 stderr "unknown action 'look', expected 'info' or 'cut'" look
expect 'info without a file'               2 stderr 'expected one FILE, found 0' info
expect 'info with an option'               2 stderr "unknown option '--all'" info --all
expect 'cut without files'                 2 stderr 'expected IN and OUT, found 0' cut --records 1
expect 'cut without a length'              2 stderr 'expected either --records or --max-bytes' cut a b
expect 'cut with two lengths'              2 stderr 'expected either --records or --max-bytes' cut a b --records 1 --max-bytes 1
expect 'cut with a wrong number'           2 stderr "--records expects a number from 0 to 2^64 - 1, found '1x'" cut a b --records 1x
expect 'cut of nothing'                    2 stderr "--records expects at least 1, found '0'" cut a b --records 0
expect 'cut with a wrong size'             2 stderr "--max-bytes expects a size" cut a b --max-bytes 1Q
expect 'cut with an unknown option'        2 stderr "unknown option '--colour'" cut a b --colour
expect 'an option without its value'       2 stderr "'--records' needs a value" cut a b --records
expect 'help of an action'                 0 stdout '--max-bytes SIZE' cut --help
echo "1..$count"
