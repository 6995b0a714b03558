#!/bin/sh
# SPDX-License-Identifier: MIT
# What is built anew, and what isn't: tried on a small copy of the tree.
. tests/support/tap.sh

root=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/core" "$dir/tests/core" "$dir/ports/hosted" "$dir/images"
cp -r Makefile include scripts "$dir"
cp core/error.c "$dir/core"
cp tests/core/test_error.c "$dir/tests/core"
cp ports/hosted/*.h "$dir/ports/hosted"
cp images/build.mk "$dir/images"
cd "$dir" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL BUILD
build() { make PACKAGES_CHECKED=1 "$@" 2>&1; }

has 'the first time compiles' "$(build)" 'CC +core/error.c'
is 'the second time does nothing' "$(build | grep -v 'Nothing to be done')" ''
sleep 0.01
touch include/pleat/error.h
has 'a changed header compiles its users' "$(build)" 'CC +core/error.c'
has 'other flags compile everything' "$(build CFLAGS=-O1)" 'CC +tests/core/test_error.c'
is 'the same flags again do nothing' "$(build CFLAGS=-O1 | grep -v 'Nothing to be done')" ''
echo 'extern int pleat_more; int pleat_more = 1;' >core/more.c
build CFLAGS=-O1 >/dev/null
has 'a new source gets into the library' "$(ar t build/libpleat.a)" '^more.o$'
rm core/more.c
build CFLAGS=-O1 >/dev/null
is 'a removed source leaves it' "$(ar t build/libpleat.a)" 'error.o'
is 'a debug build stays apart' "$(build DEBUG=1 | grep -c 'CC')" 2
has 'and defines PLEAT_DEBUG' "$(cat build/debug/flags)" 'DPLEAT_DEBUG'
echo 'int bad(void) { return 1; }' >core/more.c
has 'a warning ends the build' "$(build CFLAGS=-O1)" 'Error 1'
cd "$root"
done_testing
