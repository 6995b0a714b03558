/* SPDX-License-Identifier: MIT
 *
 * An owner of movable frames: a table of buffers, one frame each, whose content goes elsewhere when the
 * memory under it is taken back. Every user of a buffer finds it through the table, so that moving one is a
 * copy and a new entry.
 *
 * The program fills an added memory block with buffers, pins one, and asks for the block: that fails, with
 * the reason. When nothing is pinned any more the same request succeeds, and all buffers are intact.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>

enum { HALF = 128 << 20, FRAMES = HALF / 4096, BUFFERS = 10000, PINNED = 1234 };
static _Alignas(4096) unsigned char memory[2 * HALF];
static struct pleat pleat;
static struct {
    uint64_t pfn;
    bool pinned;
} buffers[BUFFERS];

static void *frame_pointer(void *context, uint64_t pfn)
{
    return (unsigned char *)context + pfn * 4096;
}

/* The owner's side. The cookie, set at allocation, says which buffer a frame is. */
static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    return buffers[cookie].pinned ? PLEAT_E_BUSY : PLEAT_OK;
}

static int migrate(void *context, uint64_t from_pfn, uint64_t to_pfn, unsigned order, uint64_t cookie)
{
    memcpy(frame_pointer(context, to_pfn), frame_pointer(context, from_pfn), (size_t)4096 << order);
    buffers[cookie].pfn = to_pfn;
    return PLEAT_OK;
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie; /* isolate() has changed nothing, so there is nothing to undo */
}

static const struct pleat_owner_ops mover = {.isolate = isolate, .migrate = migrate, .putback = putback};

static int take_block(void)
{
    const struct pleat_take_config config = {
        .start_pfn = FRAMES, .frames = FRAMES, .goal = PLEAT_TAKE_TO_OFFLINE, .owner = memory};
    struct pleat_take take;
    struct pleat_look look;
    uint64_t moved;
    int result = pleat_take_begin(&pleat, &take, &config);

    if (!result) {
        do
            result = pleat_take_step(&pleat, &take, 512);
        while (result == PLEAT_MORE);
    }
    pleat_take_report(&take, &moved, &look);
    printf("take: %s; %d frames moved\n", pleat_error_text(result), (int)moved);
    if (look.pinned)
        printf("      %d pinned, owner \"%s\", the first is %s\n", (int)look.pinned,
               pleat_owner_name(&pleat, look.first_obstacle_owner),
               look.first_obstacle_pfn == buffers[PINNED].pfn ? "our pinned one" : "another");
    return result;
}

int main(void)
{
    const struct pleat_port port = {.context = memory, .frame_pointer = frame_pointer};
    const struct pleat_config config = {
        .port = &port, .cpus = 1, .highest_pfn = 2 * FRAMES, .policy = PLEAT_POLICY_ONLINE_MOVABLE};
    const struct pleat_boot_span boot = {.start_pfn = 0, .frames = FRAMES};
    const struct pleat_range_config range = {
        .name = "plugged", .owner = memory, .start_pfn = FRAMES, .frames = FRAMES};

    pleat_hosted_cpu_set(0);
    if (pleat_init(&pleat, &config, &boot, 1) || pleat_add(&pleat, &range))
        return 1;
    const int owner = pleat_owner_register(&pleat, "buffers", &mover, memory);
    if (owner < 0)
        return 1;
    for (unsigned i = 0; i < BUFFERS; i++) {
        const int64_t pfn = pleat_alloc(&pleat, 0, PLEAT_MOVABLE, pleat_tag_make((unsigned)owner, i));
        if (pfn < 0)
            return 1;
        buffers[i].pfn = (uint64_t)pfn;
        memset(frame_pointer(memory, buffers[i].pfn), (int)(i & 0xff), 4096);
    }
    buffers[PINNED].pinned = true;
    if (take_block() != PLEAT_E_UNMOVABLE)
        return 1;
    buffers[PINNED].pinned = false;
    if (take_block() || pleat_remove(&pleat, memory, FRAMES, FRAMES))
        return 1;
    for (unsigned i = 0; i < BUFFERS; i++) {
        const unsigned char *content = frame_pointer(memory, buffers[i].pfn);
        if (buffers[i].pfn >= FRAMES || content[0] != (i & 0xff) || content[4095] != (i & 0xff))
            return 1;
    }
    printf("all %d buffers are intact, below the block\n", BUFFERS);
    return pleat_is_valid(&pleat) ? 0 : 1;
}
