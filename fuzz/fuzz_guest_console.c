/* SPDX-License-Identifier: MIT
 *
 * A guest that says anything on its console: what is handed out can be in a picture, and after an error no
 * more is read.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/input.h"
#include "machine/guest_console.h"

struct heard {
    uint64_t block_bytes;
};

static int begin(void *context, uint64_t block_bytes, uint64_t boot_blocks, struct pleat_message *message)
{
    struct heard *heard = context;

    (void)message;
    demand(block_bytes >= 1 << 21 && block_bytes <= UINT64_C(1) << 40 && !(block_bytes & (block_bytes - 1)));
    demand(boot_blocks >= 1 && boot_blocks <= PLEAT_GUEST_CONSOLE_BOOT_BLOCKS_MAX);
    demand(!heard->block_bytes || heard->block_bytes == block_bytes);
    heard->block_bytes = block_bytes;
    return PLEAT_OK;
}

static void take_block(void *context, uint64_t address, const struct pleat_picture_cell *cell)
{
    const struct heard *heard = context;

    demand(heard->block_bytes && address % heard->block_bytes == 0 && address < UINT64_C(1) << 56);
    demand(cell->state <= PLEAT_BLOCK_NONE && cell->zone < PLEAT_ZONE_KINDS);
    demand(cell->partly_plugged <= 1 && cell->holds_unmovable <= 1);
    demand(cell->state == PLEAT_BLOCK_ONLINE || !(cell->partly_plugged | cell->holds_unmovable));
}

static void take_free(void *context, uint64_t bytes)
{
    const struct heard *heard = context;

    demand(heard->block_bytes && bytes < UINT64_C(1) << 56);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pleat_guest_console_ops ops = {begin, take_block, take_free};
    struct pleat_guest_console *console;
    struct pleat_message message = {""};
    struct heard heard = {0};
    char path[64];
    const int file = memfd_create("console", MFD_CLOEXEC);

    demand(file >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    demand(!pleat_guest_console_open(&console, path, &ops, &heard, &message));
    /* In two pieces, at a place that the input chooses. */
    const size_t first = size ? data[0] % size : 0;
    demand(write(file, data, first) == (ssize_t)first);
    int error = pleat_guest_console_read(console, &message);
    demand(write(file, data + first, size - first) == (ssize_t)(size - first));
    if (!error)
        error = pleat_guest_console_read(console, &message);
    demand(!error || (error == PLEAT_E_PROTOCOL && message.text[0]));
    pleat_guest_console_close(console);
    close(file);
    return 0;
}
