#!/bin/sh
# SPDX-License-Identifier: MIT
# The package check: what it installs, whom it asks, and what it says when it can't ask. The system's
# commands are replaced by ones that write down how they were called.
. tests/support/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/bin"
command_is() {
    printf '#!/bin/sh\n%s\n' "$2" >"$dir/bin/$1"
    chmod +x "$dir/bin/$1"
}
# A machine where of all packages only those in the file `there` are installed.
command_is dpkg-query 'for p; do grep -qxe "$p" "'"$dir"'/there" && echo "$p installed"; done; exit 1'
command_is apt-get 'echo "apt-get $*" >>"'"$dir"'/calls"; cat "'"$dir"'/apt-exit" >/dev/null 2>&1 && exit 1; exit 0'
command_is sudo 'echo "sudo" >>"'"$dir"'/calls"; exec "$@"'
user() { command_is id "echo $1"; }

awk '/^[^#]/ { print $2 }' scripts/packages.txt >"$dir/all"
check() {
    rm -f "$dir/calls"
    PATH=$dir/bin:$PATH YES=${answer_for_all:-} scripts/packages "$@" 2>&1 </dev/null
    echo "exit $?"
}
# on_terminal ANSWER COMMAND: what it says. That goes into a file, because socat may miss the last of it.
on_terminal() {
    rm -f "$dir/calls"
    printf '%s\n' "$1" |
        env -u MAKEFLAGS -u MAKELEVEL -u PACKAGES_CHECKED PATH="$dir/bin:$PATH" YES= \
            socat -t 60 - "SYSTEM:{ $2; echo exit \$?; } >$dir/said 2>&1,pty,setsid,ctty" >/dev/null 2>&1
    cat "$dir/said"
}
calls() { cat "$dir/calls" 2>/dev/null; }

user 1000
cp "$dir/all" "$dir/there"
is 'says nothing when all is there' "$(check build run test bench check)" 'exit 0'
is 'is told a group that does not exist' "$(check nonesuch)" 'packages: no package in the groups: nonesuch
exit 1'

grep -vx -e jq -e clang "$dir/all" >"$dir/there"
is 'groups that were not asked for may be missing' "$(check build)" 'exit 0'
out=$(check build test)
has 'lists what is missing with its reason' "$out" '^ +jq +reads the answers'
has 'without a terminal the error says what to do' "$out" 'no terminal to ask on; set YES=1'
has 'and fails' "$out" '^exit 1$'
is 'and has called nobody' "$(calls)" ''
has 'a package of another group is not listed' "$(check build test | grep -c clang)" '^0$'

out=$(answer_for_all=1 check build test)
has 'YES=1 goes on' "$out" '^exit 0$'
has 'through sudo' "$(calls)" '^sudo$'
has 'updates first' "$(calls | sed -n 2p)" 'apt-get .* update$'
has 'then installs the missing one alone' "$(calls)" 'install -y --no-install-recommends jq$'

out=$(on_terminal n 'scripts/packages build test')
has 'asks on a terminal' "$out" 'Install them by sudo'
has 'no is no' "$out" 'exit 1'
is 'and calls nobody' "$(calls)" ''
out=$(on_terminal y 'scripts/packages build test')
has 'yes is yes' "$(calls)" 'install -y --no-install-recommends jq$'

# make runs several recipes at once, of which one alone has the terminal.
out=$(on_terminal n "make -j4 BUILD=$dir/build all test")
has 'make asks too' "$out" 'Install them by sudo'
is 'before it does anything else' "$(ls "$dir/build" 2>/dev/null)" ''

user 0
out=$(check build test)
has 'root is not asked' "$out" '^exit 0$'
is 'and needs no sudo' "$(calls | grep -c sudo)" 0
touch "$dir/apt-exit"
out=$(check build test)
has 'a failed installation is an error' "$out" '^exit 1$'
has 'which says how to do it by hand' "$out" 'by hand: apt-get install .* jq'

is 'every package is listed once' "$(sort "$dir/all" | uniq -d)" ''
is 'every package has groups and a reason' "$(awk '/^[^#]/ && NF < 3' scripts/packages.txt)" ''
done_testing
