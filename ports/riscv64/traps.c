/* SPDX-License-Identifier: MIT
 *
 * Traps. This port enables no interrupt, so a trap is an exception: one of riscv_touch(), which says so to
 * its caller, or a bug, which is printed with all that says where it is.
 */
#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "riscv.h"

static const char *name_of(uint64_t cause)
{
    static const char *const names[] = {[0] = "instruction address misaligned",
                                        [1] = "instruction access fault",
                                        [2] = "illegal instruction",
                                        [3] = "breakpoint",
                                        [4] = "load address misaligned",
                                        [5] = "load access fault",
                                        [6] = "store address misaligned",
                                        [7] = "store access fault",
                                        [8] = "call from user mode",
                                        [12] = "instruction page fault",
                                        [13] = "load page fault",
                                        [15] = "store page fault"};
    return cause < sizeof(names) / sizeof(names[0]) && names[cause] ? names[cause] : "unexpected trap";
}

static void print_place(uint64_t address)
{
    uint64_t guard = (uintptr_t)riscv_stack_guard;
    if (address >= RISCV_DIRECT_MAP && address - RISCV_DIRECT_MAP < RISCV_DIRECT_MAP_BYTES)
        print("  at 0x%lx: frame 0x%lx, which is not mapped\n", address, (address - RISCV_DIRECT_MAP) / 4096);
    else
        print("  at 0x%lx%s\n", address,
              address < 4096                               ? ": a null pointer"
              : address >= guard && address < guard + 4096 ? ": the end of the stack"
                                                           : "");
}

static _Noreturn void die(const struct riscv_frame *frame)
{
    static bool dying;
    /* A fault in the middle of the story ends it. */
    if (dying)
        platform_exit(PLATFORM_EXIT_EXCEPTION);
    dying = true;
    print("exception %lu (%s) at PC 0x%lx\n", frame->cause, name_of(frame->cause), frame->x[0]);
    if (frame->cause != 2 && frame->cause != 3)
        print_place(frame->value);
    for (unsigned i = 1; i + 2 < 32; i += 3)
        print("  x%-2u %016lx x%-2u %016lx x%-2u %016lx\n", i, frame->x[i], i + 1, frame->x[i + 1], i + 2,
              frame->x[i + 2]);
    print("  x31 %016lx\n", frame->x[31]);
    platform_exit(PLATFORM_EXIT_EXCEPTION);
}

void riscv_trap(struct riscv_frame *frame)
{
    bool page_fault = frame->cause == 13 || frame->cause == 15 || frame->cause == 5 || frame->cause == 7;
    if (page_fault && frame->x[0] >= (uintptr_t)riscv_touch_begin && frame->x[0] < (uintptr_t)riscv_touch_end)
        frame->x[0] = (uintptr_t)riscv_touch_failed;
    else
        die(frame);
}

bool platform_touch(volatile unsigned char *byte, bool write)
{
    return riscv_touch(byte, write);
}
