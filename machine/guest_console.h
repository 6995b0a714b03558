/* SPDX-License-Identifier: MIT
 *
 * What a guest tells of its memory on its console: follows a file, or a pipe, into which the console goes,
 * and hands out the states of memory blocks that stand in it.
 *
 * Lines that begin with "pleat-blocks: " are meant; images/guest/blocks.h says what is in them. All others
 * are somebody else's, and may be anything. A guest isn't trusted: a line of ours that can't be ends the
 * following of the console, with its number and what is wrong with it, and how much is read at a time has a
 * limit.
 */
#ifndef PLEAT_MACHINE_GUEST_CONSOLE_H
#define PLEAT_MACHINE_GUEST_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

#include "machine/message.h"
#include "machine/picture.h"

/** Memory blocks of one line. */
#define PLEAT_GUEST_CONSOLE_BLOCKS_MAX 64
/** Memory blocks of boot memory. */
#define PLEAT_GUEST_CONSOLE_BOOT_BLOCKS_MAX 16384

/** What is done with what the guest tells. */
struct pleat_guest_console_ops {
    /**
     * The guest begins to tell, or begins anew after a reset, with the same numbers: none of its blocks is
     * there yet. BLOCK_BYTES is a power of two from 2 MiB to 1 TiB; BOOT_BLOCKS, 1 to
     * PLEAT_GUEST_CONSOLE_BOOT_BLOCKS_MAX, lie between address 0 and the end of boot memory. An error ends
     * the following; the message is the callee's.
     */
    int (*begin)(void *context, uint64_t block_bytes, uint64_t boot_blocks, struct pleat_message *message);
    /** The block at ADDRESS, a multiple of the block's size that is below 2^56, is as CELL says. */
    void (*block)(void *context, uint64_t address, const struct pleat_picture_cell *cell);
    /** So much is free, less than 2^56. */
    void (*free)(void *context, uint64_t bytes);
};

struct pleat_guest_console;

/**
 * Opens PATH: a file, a pipe or a terminal. Nothing is read yet. OPS and CONTEXT must outlive it. Errors,
 * with *CONSOLE NULL: NOT_FOUND (it can't be opened; what the host says), INVALID (it is something else),
 * NO_MEMORY.
 */
int pleat_guest_console_open(struct pleat_guest_console **console, const char *path,
                             const struct pleat_guest_console_ops *ops, void *context,
                             struct pleat_message *message);

/** Closes it and gives all back; NULL is fine. */
void pleat_guest_console_close(struct pleat_guest_console *console);

/**
 * Reads what has come, 1 MiB at most, without waiting, and hands out what complete lines tell. Errors, after
 * which it must not be called again: PROTOCOL (a line that can't be; PATH:LINE and what was expected), DEVICE
 * (it can't be read; what the host says), STATE (the file became shorter), and those of begin().
 */
int pleat_guest_console_read(struct pleat_guest_console *console, struct pleat_message *message);

#endif
