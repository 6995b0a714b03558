#!/bin/sh
# SPDX-License-Identifier: MIT
# The program's own command line: help, version, and exit codes for what isn't a command.
pleat=${BUILD:-build}/pleat
count=0
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT

# expect NAME CODE STREAM TEXT ARGUMENT...: pleat ARGUMENT... exits with CODE and STREAM has TEXT.
expect() {
    name=$1 code=$2 stream=$3 text=$4
    shift 4
    count=$((count + 1))
    "$pleat" "$@" >"$out/stdout" 2>"$out/stderr" </dev/null
    found=$?
    if [ $found -eq "$code" ] && grep -qF -e "$text" "$out/$stream"; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        echo "# pleat $*: exit code $found, expected $code; expected '$text' in $stream:"
        sed 's/^/#   /' "$out/stdout" "$out/stderr"
    fi
}

expect 'no command is wrong usage'         2 stderr 'Usage: pleat COMMAND'
expect 'help lists the commands'           0 stdout 'trace ' help
expect '--help lists the commands'         0 stdout 'trace ' --help
expect '--version'                         0 stdout 'pleat ' --version
expect 'help of a command is its own page' 0 stdout 'Usage: pleat trace info FILE' help trace
expect 'help of help is the list'          0 stdout 'trace ' help help
expect 'an unknown command is named'       2 stderr "unknown command 'fold', expected one of " fold
expect 'help of an unknown command'        2 stderr "unknown command 'fold'" help fold
expect 'help takes one command'            2 stderr 'expected one command' help trace trace
expect 'a command is shown as one line'    2 stderr "unknown command 'a\\x0ab'" "$(printf 'a\nb')"

count=$((count + 1))
if [ -w /dev/full ]; then
    "$pleat" help >/dev/full 2>"$out/stderr"
    [ $? -eq 1 ] && grep -q "can't write the output" "$out/stderr" || printf 'not '
    echo "ok $count - a full disk is a failure"
else
    echo "ok $count - a full disk is a failure # SKIP there is no /dev/full"
fi
echo "1..$count"
