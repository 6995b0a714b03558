/* SPDX-License-Identifier: MIT
 *
 * The core over the hosted port: each kind of misuse of memory ends the process with a line that names the
 * frame, and its owner where it has one. Tried in children.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pleat_port.h"

#include <pleat/hosted.h>
#include <pleat/pleat.h>

#include "tests/support/child.h"

#define BLOCK_FRAMES 2048u /* of 4 pageblocks */
#define BOOT_BLOCKS  2u
#define BLOCKS       6u

/** A machine: two blocks from boot, one hot-added and online to MOVABLE (0x1000), one OFFLINE (0x1800). */
static struct pleat_hosted *hosted;
static struct pleat pleat;
static int owner;

/** The state of a frame's block and its range, as an embedder would say it. No other thread runs here. */
static void describe(void *context, uint64_t pfn, char *text, size_t bytes)
{
    static const char *const states[] = {"OFFLINE", "GOING_ONLINE", "ONLINE", "GOING_OFFLINE"};
    struct pleat_block_info block;
    struct pleat_range_info range;
    (void)context;
    if (pleat_block_info(&pleat, pfn, &block) || pleat_range_info(&pleat, pfn, &range))
        snprintf(text, bytes, "not added");
    else
        snprintf(text, bytes, "block 0x%llx, %s, of %s", (unsigned long long)block.start_pfn,
                 states[block.state], range.name);
}

static void check(int result)
{
    if (result) {
        fprintf(stderr, "the child's machine failed: %d\n", result);
        _exit(1);
    }
}

static void map(uint64_t pfn, uint64_t frames)
{
    const struct pleat_port *port = pleat_hosted_port(hosted);
    check(port->map(port->context, pfn, frames));
}

static int refuse_to_move(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
    return PLEAT_E_BUSY;
}

static int never_migrate(void *context, uint64_t from, uint64_t to, unsigned order, uint64_t cookie)
{
    (void)to;
    return refuse_to_move(context, from, order, cookie);
}

static void never_put_back(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)refuse_to_move(context, pfn, order, cookie);
}

static const struct pleat_owner_ops owner_ops = {refuse_to_move, never_migrate, never_put_back};

static void machine(void)
{
    static const struct pleat_boot_span boot = {.start_pfn = 0, .frames = BOOT_BLOCKS * BLOCK_FRAMES};
    struct pleat_hosted_config host = {
        .frames = BLOCKS * BLOCK_FRAMES, .log_levels = 1, .describe = describe};
    check(pleat_hosted_create(&hosted, &host));
    pleat_hosted_cpu_set(0);
    map(0, BOOT_BLOCKS * BLOCK_FRAMES);
    struct pleat_config config = {.port = pleat_hosted_port(hosted),
                                  .cpus = 1,
                                  .block_pageblocks = 4,
                                  .highest_pfn = BLOCKS * BLOCK_FRAMES,
                                  .watermark_frames = 1};
    check(pleat_init(&pleat, &config, &boot, 1));
    owner = pleat_owner_register(&pleat, "page cache", &owner_ops, NULL);
    map(0x1000, 2ul * BLOCK_FRAMES);
    struct pleat_range_config range = {.name = "virtio-mem vm0",
                                       .owner = &pleat,
                                       .start_pfn = 0x1000,
                                       .frames = BLOCK_FRAMES,
                                       .flags = PLEAT_ADD_FORCE_ONLINE,
                                       .force_zone = PLEAT_ZONE_MOVABLE};
    check(pleat_add(&pleat, &range));
    check(pleat_set_policy(&pleat, PLEAT_POLICY_OFFLINE, 0));
    range.name = "virtio-mem vm1";
    range.start_pfn = 0x1800;
    range.flags = 0;
    check(pleat_add(&pleat, &range));
}

/** One frame, or more, of the owner's in boot memory (which MOVABLE would win over). */
static uint64_t allocate(unsigned order)
{
    int64_t pfn = pleat_alloc(&pleat, order, PLEAT_UNMOVABLE, pleat_tag_make((unsigned)owner, 1));
    check(pfn < 0);
    return (uint64_t)pfn;
}

static void expect(uint64_t pfn)
{
    /* What the parent looks for. */
    fprintf(stderr, "expect 0x%llx\n", (unsigned long long)pfn);
}

/* --- Frees ---------------------------------------------------------------------------------------------- */

static void free_twice(void)
{
    machine();
    uint64_t pfn = allocate(0);
    check(pleat_free(&pleat, pfn, 0));
    expect(pfn);
    (void)pleat_free(&pleat, pfn, 0);
}

static void free_twice_order_three(void)
{
    machine();
    uint64_t pfn = allocate(3);
    check(pleat_free(&pleat, pfn, 3));
    expect(pfn);
    (void)pleat_free(&pleat, pfn, 3);
}

static void free_of_another_order(void)
{
    machine();
    uint64_t pfn = allocate(2);
    expect(pfn);
    (void)pleat_free(&pleat, pfn, 0);
}

static void free_of_a_whole_pageblock_as_less(void)
{
    machine();
    uint64_t pfn = allocate(9);
    expect(pfn);
    (void)pleat_free(&pleat, pfn, 8);
}

static void free_in_the_middle(void)
{
    machine();
    uint64_t pfn = allocate(4) + 4;
    expect(pfn);
    (void)pleat_free(&pleat, pfn, 2);
}

static void free_of_what_nobody_allocated(void)
{
    machine();
    expect(0x1400);
    (void)pleat_free(&pleat, 0x1400, 0);
}

static void free_of_a_memmap(void)
{
    machine();
    expect(0x1000);
    (void)pleat_free(&pleat, 0x1000, 0);
}

static void free_in_an_offline_block(void)
{
    machine();
    expect(0x1a00);
    (void)pleat_free(&pleat, 0x1a00, 0);
}

static void free_where_nothing_is(void)
{
    machine();
    expect(0x2000);
    (void)pleat_free(&pleat, 0x2000, 0);
}

static void free_of_no_such_order(void)
{
    machine();
    uint64_t pfn = allocate(0);
    expect(pfn);
    (void)pleat_free(&pleat, pfn, 16);
}

static void free_of_an_unaligned_pfn(void)
{
    machine();
    expect(0x1401);
    (void)pleat_free(&pleat, 0x1401, 3);
}

/** The line is to name the frame that the child has announced. */
static void is_named(void (*run)(void), const char *order, const char *why)
{
    struct child_ending ending = {.status = 0};
    char line[128];
    unsigned long long pfn = 0;
    child_stops(run, "pleat: misuse: free of PFN 0x", why);
    child_run(run, &ending);
    assert_int_equal(sscanf(ending.heard, "expect 0x%llx", &pfn), 1);
    snprintf(line, sizeof(line), "misuse: free of PFN 0x%llx, order %s: %s", pfn, order, why);
    if (!strstr(ending.heard, line))
        fail_msg("\"%s\" is missing in: %s", line, ending.heard);
}

static void wrong_frees_end_the_process_by_name(void **state)
{
    (void)state;
    is_named(free_twice, "0", "it isn't allocated, or was freed already (last owner \"page cache\")\n");
    is_named(free_twice_order_three, "3",
             "it isn't allocated, or was freed already (last owner \"page cache\")\n");
    is_named(free_of_another_order, "0",
             "it was allocated with another order (owner \"page cache\", order 2)\n");
    is_named(free_of_a_whole_pageblock_as_less, "8", "it isn't allocated with this order");
    is_named(free_in_the_middle, "2", "it isn't allocated, or was freed already\n");
    is_named(free_of_what_nobody_allocated, "0", "it isn't allocated\n");
    is_named(free_of_a_memmap, "0", "it isn't allocated\n");
    is_named(free_in_an_offline_block, "0", "the memory block is offline\n");
    is_named(free_where_nothing_is, "0", "there is no memory\n");
    is_named(free_of_no_such_order, "16", "there is no such order\n");
    is_named(free_of_an_unaligned_pfn, "3", "the PFN isn't aligned to the order\n");
}

/* --- Touches -------------------------------------------------------------------------------------------- */

static void take(uint64_t pfn, uint64_t frames, enum pleat_take_goal goal)
{
    struct pleat_take storage;
    struct pleat_take_config config = {.start_pfn = pfn, .frames = frames, .goal = goal, .owner = &pleat};
    int result;
    check(pleat_take_begin(&pleat, &storage, &config));
    do
        result = pleat_take_step(&pleat, &storage, 1000);
    while (result == PLEAT_MORE);
    check(result);
}

static void touch(uint64_t pfn)
{
    *(volatile unsigned char *)pleat_hosted_pointer(hosted, pfn) = 1;
}

static void touch_of_a_piece_that_was_unplugged(void)
{
    machine();
    const struct pleat_port *port = pleat_hosted_port(hosted);
    take(0x1200, 512, PLEAT_TAKE_TO_FAKE_OFFLINE);
    touch(0x1234);
    port->unmap(port->context, 0x1200, 512);
    touch(0x1234);
}

static void touch_of_a_block_that_went_offline(void)
{
    machine();
    const struct pleat_port *port = pleat_hosted_port(hosted);
    take(0x1000, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE);
    port->unmap(port->context, 0x1200, 512);
    touch(0x1234);
}

static void touch_of_a_block_that_was_removed(void)
{
    machine();
    const struct pleat_port *port = pleat_hosted_port(hosted);
    take(0x1000, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE);
    check(pleat_remove(&pleat, &pleat, 0x1000, BLOCK_FRAMES));
    port->unmap(port->context, 0x1000, BLOCK_FRAMES);
    touch(0x1000);
}

static void touches_of_unplugged_memory_end_the_process_by_name(void **state)
{
    (void)state;
    child_stops(touch_of_a_piece_that_was_unplugged, "touch of guest memory: ",
                " PFN 0x1234 (guest address 0x1234000), which isn't mapped: block 0x1000, ONLINE, of "
                "virtio-mem vm0\n");
    child_stops(touch_of_a_block_that_went_offline, "touch of guest memory: ",
                " PFN 0x1234 (guest address 0x1234000), which isn't mapped: block 0x1000, OFFLINE, of "
                "virtio-mem vm0\n");
    child_stops(touch_of_a_block_that_was_removed, "touch of guest memory: ",
                " PFN 0x1000 (guest address 0x1000000), which isn't mapped: not added\n");
}

static void add_without_plugging(void)
{
    machine();
    struct pleat_range_config range = {
        .name = "virtio-mem vm2", .owner = &pleat, .start_pfn = 0x2000, .frames = BLOCK_FRAMES};
    (void)pleat_add(&pleat, &range);
}

static void a_memmap_in_unplugged_memory_ends_the_process(void **state)
{
    (void)state;
    child_stops(add_without_plugging, "misuse: frame_pointer: PFN 0x2000 isn't mapped\n", "test_hosted_core");
}

/* --- The wrong context ---------------------------------------------------------------------------------- */

static int call_back_in(void *context, enum pleat_event event, uint64_t start_pfn, uint64_t frames,
                        unsigned node, enum pleat_zone_kind zone)
{
    (void)context;
    (void)event;
    (void)frames;
    (void)node;
    return pleat_online(&pleat, start_pfn, BLOCK_FRAMES, zone);
}

static void listener_that_calls_back_in(void)
{
    machine();
    struct pleat_listener listener = {.event = call_back_in};
    pleat_listener_add(&pleat, &listener);
    pleat_hosted_spin_limit(200);
    (void)pleat_online(&pleat, 0x1800, BLOCK_FRAMES, PLEAT_ZONE_NORMAL);
}

static void a_callback_that_takes_the_lock_again_ends_the_process(void **state)
{
    (void)state;
    child_stops(listener_that_calls_back_in, "misuse: spins without an end: a callback called what takes",
                "test_hosted_core");
}

/* Only where the core is compiled strict: a release build pays nothing for it. */
#ifdef PLEAT_STRICT
static void allocate_on_no_cpu(void)
{
    machine();
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
    (void)pleat_alloc(&pleat, 0, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
}

static void free_on_no_cpu(void)
{
    machine();
    uint64_t pfn = allocate(0);
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
    (void)pleat_free(&pleat, pfn, 0);
}

static void allocate_while_pinned(void)
{
    machine();
    pleat_port_pin();
    (void)pleat_alloc(&pleat, 0, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
}

static void free_while_pinned(void)
{
    machine();
    uint64_t pfn = allocate(0);
    pleat_port_pin();
    (void)pleat_free(&pleat, pfn, 0);
}

#ifdef PLEAT_DEBUG
static void allocate_on_a_cpu_beyond_the_count(void)
{
    machine();
    pleat_hosted_cpu_set(1);
    (void)pleat_alloc(&pleat, 0, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
}

static void *allocate_on_the_same_cpu(void *unused)
{
    pleat_hosted_cpu_set(0);
    while (true)
        (void)pleat_free(&pleat, (uint64_t)pleat_alloc(&pleat, 0, PLEAT_UNMOVABLE, PLEAT_NO_TAG), 0);
    return unused;
}

static void allocate_on_one_cpu_twice(void)
{
    pthread_t other;
    machine();
    check(pthread_create(&other, NULL, allocate_on_the_same_cpu, NULL));
    (void)allocate_on_the_same_cpu(NULL);
}
#endif

static void calls_from_the_wrong_context_end_the_process(void **state)
{
    (void)state;
    child_stops(allocate_on_no_cpu, "misuse: ", "a thread that is no CPU\n");
    child_stops(free_on_no_cpu, "misuse: ", "a thread that is no CPU\n");
    child_stops(allocate_while_pinned, "misuse: pin inside of a pin\n", "test_hosted_core");
    child_stops(free_while_pinned, "misuse: pin inside of a pin\n", "test_hosted_core");
#ifdef PLEAT_DEBUG
    child_stops(allocate_on_a_cpu_beyond_the_count, "misuse: a call on a CPU whose number isn't below",
                "test_hosted_core");
    child_stops(allocate_on_one_cpu_twice, "misuse: two threads are one CPU", "test_hosted_core");
#endif
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_frees_end_the_process_by_name),
        cmocka_unit_test(touches_of_unplugged_memory_end_the_process_by_name),
        cmocka_unit_test(a_memmap_in_unplugged_memory_ends_the_process),
        cmocka_unit_test(a_callback_that_takes_the_lock_again_ends_the_process),
#ifdef PLEAT_STRICT
        cmocka_unit_test(calls_from_the_wrong_context_end_the_process),
#endif
    };
    return cmocka_run_group_tests_name("core over the hosted port", tests, NULL, NULL);
}
