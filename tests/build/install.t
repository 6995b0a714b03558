#!/bin/sh
# SPDX-License-Identifier: MIT
# What `make install` puts where, and that programs in C99 and C++11 can be built against it by
# pkg-config: shared, and static.
. tests/support/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
CC=${CC:-cc}
prefix=$dir/opt/pleat
ok 'make install' make install PACKAGES_CHECKED=1 BUILD="${BUILD:-build}" PREFIX=/opt/pleat DESTDIR="$dir"

is 'all public headers are there' "$(cd "$prefix/include" && find . -name '*.h' | sort)" \
    "$(cd include && find . -name '*.h' | sort)"
is 'nothing is outside the prefix' "$(find "$dir" -type f -not -path "$prefix/*")" ''
has 'the shared library has a soname' "$(readelf -d "$prefix/lib/libpleat.so")" 'SONAME.*\[libpleat.so.0\]'
ok 'the soname leads to the library' test -f "$prefix/lib/libpleat.so.0"
is 'it exports public names alone' \
    "$(nm -D --defined-only "$prefix/lib/libpleat.so" | awk '{ print $3 }' | grep -v '^pleat_')" ''

export PKG_CONFIG_SYSROOT_DIR="$dir" PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
version=$(pkg-config --modversion pleat)
has 'pkg-config knows the version' "$version" '^[0-9]+\.[0-9]+\.[0-9]+$'

# The program uses every public header. Those of the guest side take the embedder's pleat_port.h.
{
    (cd include && find pleat -name '*.h' | sort | sed 's/.*/#include <&>/')
    cat <<'END'
#include <stdio.h>
int main(void)
{
    printf("%s %s\n", PLEAT_VERSION, pleat_error_text(PLEAT_E_BUSY));
    return 0;
}
END
} >"$dir/consumer.c"
cp "$dir/consumer.c" "$dir/consumer.cc"
wanted="$version busy, try again later"
strict="-pedantic -Wall -Wextra -Werror"
flags=$(pkg-config --cflags --libs pleat)
ok 'a C99 program builds' $CC -std=c99 $strict "$dir/consumer.c" $flags -o "$dir/c99"
is 'and runs' "$(LD_LIBRARY_PATH=$prefix/lib "$dir/c99")" "$wanted"
ok 'a C++11 program builds' g++ -std=c++11 $strict "$dir/consumer.cc" $flags -o "$dir/cxx11"
is 'and runs' "$(LD_LIBRARY_PATH=$prefix/lib "$dir/cxx11")" "$wanted"
flags=$(pkg-config --static --cflags --libs pleat | sed 's/-lpleat/-l:libpleat.a/')
ok 'a program with the static library builds' $CC -std=c99 $strict "$dir/consumer.c" $flags -o "$dir/static"
is 'and runs without the shared one' "$("$dir/static")" "$wanted"

if [ -f docs/pleat.1 ]; then
    ok 'the man page is installed' test -f "$prefix/share/man/man1/pleat.1"
    is 'and mandoc finds nothing wrong with it' "$(mandoc -T lint -W warning docs/pleat.1 2>&1)" ''
fi
if ls cli/*.c >/dev/null 2>&1; then
    has 'the program says its version' "$("$prefix/bin/pleat" --version)" "$version"
fi
done_testing
