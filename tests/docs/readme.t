#!/bin/sh
# SPDX-License-Identifier: MIT
# Every command in the README works: make's targets are there, programs run and end well.
. tests/support/tap.sh
BUILD=${BUILD:-build}

# Commands are the lines that are indented by four spaces; a line that ends in \ goes on.
commands=$(awk '/^```/ { code = !code } !code && /^    / {
        line = substr($0, 5)
        sub(/ +#.*/, "", line)
        while (line ~ /\\$/ && (getline more) > 0)
            line = substr(line, 1, length(line) - 1) more
        print line
    }' README.md)
ok 'there are commands' test -n "$commands"
machine=
prompt=
while read -r command; do
    case $command in
    'git clone '* | 'cd '*) ;;
    # What is typed at the monitor's prompt.
    '(pleat) '*) prompt=$prompt${command#(pleat) }\\n ;;
    'make '*)
        target=${command#make }
        ok "$command is a target that help names" sh -c "scripts/help | grep -q '^  $target ' && grep -q '^$target:' Makefile"
        ;;
    'build/pleat run '*) machine=$BUILD/${command#build/} ;;
    build/*) ok "$command" sh -c "timeout 60 $BUILD/${command#build/} </dev/null" ;;
    *) ok "$command: no such command is known here" false ;;
    esac
done <<END
$commands
END
ok 'there is a machine' test -n "$machine"
out=$(printf "${prompt}quit\n" | timeout 60 $machine)
is 'it ends well' $? 0
has 'it does what is typed' "$out" 'requested-size: 1073741824'
done_testing
