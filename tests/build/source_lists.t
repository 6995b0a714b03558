#!/bin/sh
# SPDX-License-Identifier: MIT
# The source lists of docs/EMBEDDING.md build: a program with core, driver, device and rings, over the
# smallest port, by make, and by CMake and Meson where they are installed.
. tests/support/tap.sh

CC=${CC:-cc}
export CC
root=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/pleat"
cp -r core drivers devices include "$dir/pleat"
cp -r ports/template "$dir/port"

cat >"$dir/main.c" <<'END'
#include <pleat/pleat.h>
#include <pleat/virtio_device_ring.h>
#include <pleat/virtio_driver_ring.h>
#include <pleat/virtio_mem_device.h>
#include <pleat/virtio_mem_driver.h>

#include "port.h"

static _Alignas(4096) unsigned char memory[8 << 20];
/* From every part something, so that it has to link. */
const void *volatile parts[] = {(void *)pleat_virtio_mem_driver_step, (void *)pleat_virtio_ring_add,
                                (void *)pleat_virtio_mem_device_handle, (void *)pleat_virtqueue_pop};

int main(void)
{
    static struct pleat pleat;
    static struct template_port port = {.direct_map = memory, .frame_shift = 12};
    const struct pleat_boot_span span = {.frames = sizeof(memory) / 4096};

    template_port_init(&port);
    const struct pleat_config config = {.port = &port.port, .cpus = 1, .highest_pfn = span.frames};
    return pleat_init(&pleat, &config, &span, 1) || pleat_alloc(&pleat, 0, PLEAT_UNMOVABLE, PLEAT_NO_TAG) < 0;
}
END

cd "$dir" || exit 1
{
    echo 'PLEAT := pleat'
    echo 'PLEAT_PORT := port'
    "$root/scripts/source-lists" make
    cat <<'END'
program: $(pleat_guest:.c=.o) $(pleat_host:.c=.o) port/port.o main.o
	$(CC) $^ -o $@
main.o port/port.o: CFLAGS += -Ipleat/include -Iport
END
} >Makefile
ok 'make builds a program' env -u MAKEFLAGS -u MAKELEVEL -u CFLAGS make -j2 program
ok 'and it runs' ./program

if command -v cmake >/dev/null; then
    {
        echo 'cmake_minimum_required(VERSION 3.20)'
        echo 'project(example C)'
        echo 'set(PLEAT ${CMAKE_SOURCE_DIR}/pleat)'
        echo 'set(PLEAT_PORT ${CMAKE_SOURCE_DIR}/port)'
        "$root/scripts/source-lists" cmake
        echo 'add_executable(program main.c port/port.c)'
        echo 'target_link_libraries(program pleat_guest pleat_host)'
    } >CMakeLists.txt
    ok 'CMake configures' cmake -S . -B cmake
    ok 'CMake builds a program' env -u MAKEFLAGS -u MAKELEVEL cmake --build cmake -j2
    ok 'and it runs' cmake/program
fi

if command -v meson >/dev/null; then
    {
        echo "project('example', 'c')"
        "$root/scripts/source-lists" meson
        cat <<'END'
executable('program', 'main.c', 'port/port.c',
  include_directories: include_directories('pleat/include', 'port'), link_with: [pleat_guest, pleat_host])
END
    } >meson.build
    ok 'Meson configures' meson setup meson
    ok 'Meson builds a program' meson compile -C meson
    ok 'and it runs' meson/program
fi
done_testing
