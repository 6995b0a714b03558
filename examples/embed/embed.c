/* SPDX-License-Identifier: MIT
 *
 * Embedding the core: memory is added to a running program, used, emptied and taken away again. */
#include <stdio.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>

enum { HALF = 128 << 20, FRAMES = HALF / 4096 };
static _Alignas(4096) unsigned char memory[2 * HALF]; /* 128 MiB at boot, one memory block to add */
static struct pleat pleat;

static void *frame_pointer(void *context, uint64_t pfn)
{
    return (unsigned char *)context + pfn * 4096;
}

int main(void)
{
    const struct pleat_port port = {.context = memory, .frame_pointer = frame_pointer};
    const struct pleat_config config = {.port = &port, .cpus = 1, .highest_pfn = 2 * FRAMES};
    const struct pleat_boot_span boot = {.start_pfn = 0, .frames = FRAMES};
    const struct pleat_range_config range = {
        .name = "plugged", .owner = memory, .start_pfn = FRAMES, .frames = FRAMES};
    const struct pleat_take_config all = {
        .start_pfn = FRAMES, .frames = FRAMES, .goal = PLEAT_TAKE_TO_OFFLINE, .owner = memory};
    struct pleat_take take;

    pleat_hosted_cpu_set(0); /* this thread is CPU 0 */
    if (pleat_init(&pleat, &config, &boot, 1) || pleat_add(&pleat, &range))
        return 1; /* the policy of a zeroed config is to put what is added online */
    const int64_t pfn = pleat_alloc(&pleat, 9, PLEAT_UNMOVABLE, PLEAT_NO_TAG); /* 2 MiB */
    printf("%d MiB are online\n", (int)(pleat_online_frames(&pleat) >> 8));    /* less two memmaps */
    if (pfn < 0 || pleat_free(&pleat, (uint64_t)pfn, 9) || pleat_take_begin(&pleat, &take, &all))
        return 1;
    int result;
    while ((result = pleat_take_step(&pleat, &take, 512)) == PLEAT_MORE)
        ; /* a bounded piece of work each time */
    return result || pleat_remove(&pleat, memory, FRAMES, FRAMES) || !pleat_is_valid(&pleat);
}
