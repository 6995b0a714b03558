/* SPDX-License-Identifier: MIT
 *
 * The balloon between a model memory and a scripted hypervisor and store. After each step the invariants of
 * the books are checked, and that what the guest uses is populated and was cleared; the hypervisor stops the
 * program at a populate over a populated frame, or a decrease of one in use or gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/xen_balloon.h>
#include <pleat/xen_grants.h>
#include <pleat/xen_store.h>

#include "tests/support/fake_xen.h"
#include "tests/support/random.h"

#define KIB       UINT64_C(1024)
#define MIB       (KIB * KIB)
#define BOOT      (32 * MIB)
#define BLOCK     (8 * MIB)
#define METADATA  (64 * KIB)
#define REGION    (96 * MIB)
#define SECOND_NS UINT64_C(1000000000)

struct bench {
    struct model_memory model;
    struct fake_xen fake;
    struct pleat_xen_balloon_config config;
    struct pleat_xen_balloon *balloon;
    struct pleat_xen_store *store;
    void *storage;
    void *store_storage;
    unsigned wakes;
    unsigned lent; /* holes, in pfns */
    uint64_t pfns[64];
    char line[256];
};

static bool always(void *context, uint64_t address, uint64_t bytes)
{
    (void)context;
    (void)address;
    (void)bytes;
    return true;
}

static void clear(void *context, uint64_t address, uint64_t bytes)
{
    struct bench *b = context;
    for (uint64_t pfn = address / 4096; pfn < (address + bytes) / 4096; pfn++) {
        assert_true(b->fake.populated[pfn]);
        assert_true(b->model.frame[pfn] == MODEL_WITHHELD || b->model.frame[pfn] == MODEL_NONE);
        b->fake.dirty[pfn] = false;
    }
}

static void woken(void *context)
{
    ((struct bench *)context)->wakes++;
}

/* A guest that was booted with 32 MiB and can grow by 64, not yet with a balloon. */
static struct bench *prepare(bool with_store)
{
    static const struct model_shape shape = {.address = 0,
                                             .bytes = REGION,
                                             .block_bytes = BLOCK,
                                             .piece_bytes = 2 * MIB,
                                             .metadata_bytes = METADATA};
    struct bench *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    model_memory_init(&b->model, &shape);
    b->model.elsewhere_free = 0;
    b->model.is_plugged = always;
    b->model.online_on_add = false;
    model_boot(&b->model, BOOT);
    fake_xen_init(&b->fake, &b->model, BOOT / 4096, with_store);
    const size_t bytes = pleat_xen_balloon_storage_bytes(&b->model.memory, BOOT, BOOT, REGION - BOOT);
    assert_true(bytes > 0);
    b->storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    b->config = (struct pleat_xen_balloon_config){.memory = &b->model.memory,
                                                  .xen = &b->fake.xen,
                                                  .storage = b->storage,
                                                  .storage_bytes = bytes,
                                                  .boot_bytes = BOOT,
                                                  .boot_end = BOOT,
                                                  .growth_address = BOOT,
                                                  .growth_bytes = REGION - BOOT,
                                                  .wake = woken,
                                                  .clear = clear,
                                                  .context = b,
                                                  .floor_bytes = 2 * MIB};
    if (with_store) {
        const size_t store_bytes = pleat_xen_store_storage_bytes(0, 0);
        b->store_storage = aligned_alloc(64, (store_bytes + 63) / 64 * 64);
        const struct pleat_xen_store_config config = {.xen = &b->fake.xen,
                                                      .memory = &b->model.memory,
                                                      .storage = b->store_storage,
                                                      .storage_bytes = store_bytes};
        assert_int_equal(pleat_xen_store_create(&config, &b->store), 0);
        b->config.store = b->store;
    }
    return b;
}

static void create(struct bench *b)
{
    assert_int_equal(pleat_xen_balloon_create(&b->config, &b->balloon), 0);
}

static struct bench *start(void)
{
    struct bench *b = prepare(false);
    create(b);
    return b;
}

static void check(const struct bench *b)
{
    assert_true(pleat_xen_balloon_is_valid(b->balloon));
    fake_xen_check(&b->fake);
    for (uint64_t pfn = 0; pfn < REGION / 4096; pfn++) {
        if (pleat_xen_balloon_is_populated(b->balloon, pfn) != b->fake.populated[pfn]) {
            fail_msg("frame 0x%lx isn't what the books say", pfn);
        }
    }
}

static void finish(struct bench *b)
{
    check(b);
    model_memory_free(&b->model);
    free(b->store_storage);
    free(b->storage);
    free(b);
}

static enum pleat_xen_wake step(struct bench *b)
{
    const enum pleat_xen_wake wake = pleat_xen_balloon_step(b->balloon, 0);
    check(b);
    return wake;
}

/* Until balloon and store wait for something; time doesn't go on. */
static void run(struct bench *b)
{
    bool more;
    unsigned steps = 0;
    do {
        const unsigned wakes = b->wakes;
        more = step(b) == PLEAT_XEN_WAKE_NOW;
        if (b->store != NULL) {
            more |= pleat_xen_store_step(b->store, 0) == PLEAT_XEN_WAKE_NOW;
            more |= fake_store_run(&b->fake) || b->wakes != wakes;
        }
        assert_true(++steps < 10000);
    } while (more);
}

/* The same, with time going on, for so long. */
static void run_for(struct bench *b, uint64_t ns)
{
    const uint64_t end = b->model.clock_ns + ns;
    for (;;) {
        run(b);
        const uint64_t next = pleat_xen_balloon_wake_ns(b->balloon);
        if (next == 0 || next > end) {
            b->model.clock_ns = end;
            run(b);
            return;
        }
        b->model.clock_ns = next > b->model.clock_ns ? next : b->model.clock_ns + 1;
    }
}

static void set_target(struct bench *b, uint64_t bytes)
{
    pleat_xen_balloon_set_target(b->balloon, bytes);
    run(b);
}

static enum pleat_xen_balloon_reason reason(struct bench *b)
{
    return pleat_xen_balloon_reason(b->balloon, b->line, sizeof(b->line));
}

static void assert_says(struct bench *b, const char *text)
{
    (void)reason(b);
    if (strstr(b->line, text) == NULL) {
        fail_msg("\"%s\" isn't in \"%s\"", text, b->line);
    }
}

static struct pleat_xen_balloon_statistics statistics(const struct bench *b)
{
    struct pleat_xen_balloon_statistics statistics;
    pleat_xen_balloon_statistics(b->balloon, &statistics);
    return statistics;
}

static struct pleat_xen_balloon_status status(const struct bench *b)
{
    struct pleat_xen_balloon_status status;
    pleat_xen_balloon_status(b->balloon, &status);
    return status;
}

static uint64_t populated(const struct bench *b)
{
    return b->fake.populated_frames * 4096;
}

static void assert_at(struct bench *b, uint64_t bytes)
{
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_NONE);
    assert_int_equal(populated(b), bytes);
    assert_int_equal(status(b).populated_bytes, bytes);
}

/* --- Out and in ---------------------------------------------------------------------------------------- */

static void memory_goes_and_comes_in_pieces(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 12 * MIB);
    assert_at(b, 12 * MIB);
    assert_int_equal(statistics(b).decrease_calls[1], 1);
    assert_int_equal(statistics(b).decrease_calls[0], 0);
    assert_int_equal(status(b).whole_holes, 10);
    set_target(b, 32 * MIB);
    assert_at(b, 32 * MIB);
    assert_int_equal(statistics(b).populate_calls[0], 0);
    assert_true(statistics(b).populate_calls[1] <= 2);
    assert_int_equal(statistics(b).cleared_frames, 20 * MIB / 4096);
    assert_int_equal(model_count(&b->model, MODEL_FREE), BOOT / 4096);
    finish(b);
}

static void targets_are_met_to_the_frame(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 20 * MIB + 12 * KIB);
    assert_at(b, 20 * MIB + 12 * KIB);
    assert_int_equal(statistics(b).decrease_calls[0], 1);
    set_target(b, 22 * MIB + 4 * KIB);
    assert_at(b, 22 * MIB + 4 * KIB);
    /* Less than a frame doesn't count. */
    set_target(b, 22 * MIB + 4 * KIB + 3);
    assert_at(b, 22 * MIB + 4 * KIB);
    finish(b);
}

static void single_frames_go_where_no_piece_is_free(void **state)
{
    (void)state;
    struct bench *b = start();
    /* One frame of each piece is used. */
    for (uint64_t at = 0; at < BOOT; at += 2 * MIB) {
        model_use(&b->model, at + 68 * KIB, 4096, MODEL_UNMOVABLE);
    }
    set_target(b, 24 * MIB);
    assert_at(b, 24 * MIB);
    assert_int_equal(statistics(b).decrease_calls[1], 0);
    assert_int_equal(statistics(b).decrease_calls[0], 4);
    set_target(b, 32 * MIB);
    assert_at(b, 32 * MIB);
    finish(b);
}

static void frames_come_into_broken_pieces_before_whole_ones(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 20 * MIB + 4 * KIB);
    set_target(b, 20 * MIB + 40 * KIB);
    /* The 2044 KiB of the broken one are enough for it. */
    assert_int_equal(status(b).whole_holes, 5);
    assert_at(b, 20 * MIB + 40 * KIB);
    finish(b);
}

static void the_batch_is_what_the_config_says(void **state)
{
    (void)state;
    struct bench *b = prepare(false);
    b->config.batch = 16;
    create(b);
    model_use(&b->model, 0, BOOT, MODEL_MOVABLE);
    (void)model_release(&b->model, 1, 2048);
    for (uint64_t at = 0; at < BOOT; at += 2 * MIB) {
        model_use(&b->model, at, 4096, MODEL_FREE);
        model_use(&b->model, at, 4096, MODEL_UNMOVABLE);
    }
    b->config.floor_bytes = PLEAT_XEN_OFF;
    set_target(b, 32 * MIB - 128 * 4096);
    assert_at(b, 32 * MIB - 128 * 4096);
    assert_int_equal(statistics(b).decrease_calls[0], 8);
    finish(b);
}

static void what_goes_is_cleared_when_asked_for(void **state)
{
    (void)state;
    struct bench *b = prepare(false);
    b->config.clear_what_goes = true;
    create(b);
    set_target(b, 28 * MIB);
    assert_int_equal(statistics(b).cleared_frames, 1024);
    finish(b);
}

/* --- The floor, and nothing free ----------------------------------------------------------------------- */

static void a_shrink_stops_at_the_floor_and_goes_on_when_memory_is_freed(void **state)
{
    (void)state;
    struct bench *b = start();
    (void)model_allocate(&b->model, 0, 5120, MODEL_MOVABLE); /* 20 of 32 MiB */
    set_target(b, 8 * MIB);
    assert_int_equal(populated(b), 22 * MIB);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_FLOOR);
    assert_string_equal(b->line, "shrink stopped at 22 MiB of 8 MiB wanted: the guest would have less than "
                                 "2 MiB free; again in 50 ms");
    (void)model_release(&b->model, 0, 5120);
    pleat_xen_balloon_memory_changed(b->balloon);
    run(b);
    assert_at(b, 8 * MIB);
    finish(b);
}

static void pauses_double_to_the_longest(void **state)
{
    (void)state;
    struct bench *b = start();
    (void)model_allocate(&b->model, 0, 8192, MODEL_MOVABLE);
    set_target(b, 8 * MIB);
    uint64_t expected = 50000000;
    for (unsigned i = 0; i < 14; i++) {
        const uint64_t next = pleat_xen_balloon_wake_ns(b->balloon);
        assert_int_equal(next - b->model.clock_ns, expected);
        expected = expected * 2 < 30 * SECOND_NS ? expected * 2 : 30 * SECOND_NS;
        b->model.clock_ns = next;
        run(b);
    }
    assert_int_equal(statistics(b).retries, 15);
    assert_int_equal(b->model.lines, 1); /* the same stop is said once */
    finish(b);
}

static void without_withhold_the_balloon_only_grows(void **state)
{
    (void)state;
    struct bench *b = prepare(false);
    b->model.ops.withhold = NULL;
    create(b);
    set_target(b, 8 * MIB);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_NO_FREE);
    assert_says(b, "can't take memory out of use");
    set_target(b, 40 * MIB);
    assert_at(b, 40 * MIB);
    finish(b);
}

/* --- What Xen does otherwise --------------------------------------------------------------------------- */

static void partial_results_are_taken_as_they_are(void **state)
{
    (void)state;
    struct bench *b = start();
    b->fake.most[FAKE_DECREASE][1] = 3;
    b->fake.most[FAKE_POPULATE][1] = 2;
    b->fake.most[FAKE_POPULATE][0] = 5;
    set_target(b, 12 * MIB);
    assert_at(b, 12 * MIB);
    assert_int_equal(statistics(b).decrease_calls[1], 4);
    set_target(b, 24 * MIB + 100 * KIB);
    assert_at(b, 24 * MIB + 100 * KIB);
    assert_true(statistics(b).partial_results >= 7);
    finish(b);
}

static void without_pieces_of_xen_single_frames_are_tried(void **state)
{
    (void)state;
    struct bench *b = start();
    b->fake.most[FAKE_DECREASE][1] = 0;
    b->fake.most[FAKE_POPULATE][1] = 0;
    set_target(b, 28 * MIB);
    assert_at(b, 28 * MIB);
    assert_int_equal(statistics(b).decrease_calls[1], 1);
    assert_int_equal(statistics(b).decrease_calls[0], 2);
    set_target(b, 32 * MIB);
    assert_at(b, 32 * MIB);
    assert_int_equal(statistics(b).populate_calls[1], 1);
    finish(b);
}

static void over_the_maximum_growth_waits_and_says_what_it_is(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 16 * MIB);
    b->fake.maximum_frames = 5000;
    set_target(b, 32 * MIB);
    assert_int_equal(populated(b), 5000 * 4096);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_HOST);
    assert_says(b, "Xen gives no more, maximum 5000 frames; again in 50 ms");
    const uint64_t calls = statistics(b).populate_calls[0];
    run_for(b, 10 * SECOND_NS);
    assert_true(statistics(b).populate_calls[0] < calls + 10);
    b->fake.maximum_frames = FAKE_XEN_FRAMES;
    run_for(b, 30 * SECOND_NS);
    assert_at(b, 32 * MIB);
    finish(b);
}

static void errors_of_hypercalls_change_nothing_and_are_tried_again(void **state)
{
    (void)state;
    struct bench *b = start();
    b->fake.error[FAKE_DECREASE] = PLEAT_E_REFUSED;
    b->fake.times[FAKE_DECREASE] = 2;
    set_target(b, 16 * MIB);
    assert_int_equal(populated(b), 32 * MIB);
    assert_int_equal(model_count(&b->model, MODEL_FREE), BOOT / 4096);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_ERROR);
    assert_says(b, pleat_error_text(PLEAT_E_REFUSED));
    run_for(b, SECOND_NS);
    assert_at(b, 16 * MIB);
    b->fake.error[FAKE_POPULATE] = PLEAT_E_DEVICE;
    b->fake.times[FAKE_POPULATE] = 3;
    set_target(b, 32 * MIB);
    assert_int_equal(populated(b), 16 * MIB);
    run_for(b, SECOND_NS);
    assert_at(b, 32 * MIB);
    assert_int_equal(statistics(b).call_errors, 5);
    finish(b);
}

static void frames_that_xen_doesnt_take_stay_in_use(void **state)
{
    (void)state;
    struct bench *b = start();
    b->fake.most[FAKE_DECREASE][0] = 0;
    b->fake.most[FAKE_DECREASE][1] = 0;
    set_target(b, 16 * MIB);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_REFUSED);
    assert_int_equal(model_count(&b->model, MODEL_FREE), BOOT / 4096);
    finish(b);
}

static void frames_that_the_guest_doesnt_take_are_held_and_given_later(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 16 * MIB);
    model_fail(&b->model, MODEL_GIVE, PLEAT_E_BUSY, 0, 3);
    set_target(b, 20 * MIB);
    assert_true(status(b).held_bytes > 0);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_ERROR);
    run_for(b, SECOND_NS);
    assert_at(b, 20 * MIB);
    assert_int_equal(status(b).held_bytes, 0);
    finish(b);
}

static void a_guest_without_single_frames_goes_by_pieces(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 23 * MIB);
    model_fail(&b->model, MODEL_WITHHOLD, PLEAT_E_UNSUPPORTED, 4, 1);
    set_target(b, 15 * MIB - 4 * KIB);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_NONE);
    assert_int_equal(populated(b), 15 * MIB);
    finish(b);
}

/* --- Growth beyond the boot map ------------------------------------------------------------------------ */

static void growth_adds_blocks_that_bring_their_metadata(void **state)
{
    (void)state;
    struct bench *b = start();
    /* All that there is, is in use: growing takes nothing from it. */
    (void)model_allocate(&b->model, 0, BOOT / 4096, MODEL_UNMOVABLE);
    set_target(b, 43 * MIB);
    assert_at(b, 43 * MIB);
    assert_int_equal(status(b).blocks_added, 2);
    assert_int_equal(status(b).capacity_bytes, 48 * MIB);
    assert_int_equal(model_count(&b->model, MODEL_FREE), (11 * MIB - 2 * METADATA) / 4096);
    /* The policy was offline: these went online all the same. */
    assert_int_equal(model_state(&b->model, BOOT), PLEAT_BLOCK_ONLINE);
    finish(b);
}

static void holes_are_used_before_blocks_are_added(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 48 * MIB);
    set_target(b, 12 * MIB);
    assert_at(b, 12 * MIB);
    assert_int_equal(status(b).blocks_added, 2);
    set_target(b, 48 * MIB);
    assert_at(b, 48 * MIB);
    assert_int_equal(statistics(b).blocks_added, 2);
    finish(b);
}

static void growth_that_fails_leaves_nothing_half_done(void **state)
{
    (void)state;
    static const enum model_call calls[] = {MODEL_MAP, MODEL_ADD};
    for (unsigned i = 0; i < 2; i++) {
        struct bench *b = start();
        model_fail(&b->model, calls[i], PLEAT_E_NO_MEMORY, 0, 1);
        set_target(b, 40 * MIB);
        assert_int_equal(populated(b), 32 * MIB);
        assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_NO_MEMORY);
        assert_int_equal(model_state(&b->model, BOOT), PLEAT_BLOCK_NONE);
        assert_false(b->model.mapped[BOOT / (2 * MIB)]);
        run_for(b, SECOND_NS);
        assert_at(b, 40 * MIB);
        assert_int_equal(statistics(b).add_failures, 1);
        finish(b);
    }
}

static void metadata_that_xen_gives_in_part_goes_back(void **state)
{
    (void)state;
    struct bench *b = start();
    b->fake.maximum_frames = BOOT / 4096 + 5;
    set_target(b, 40 * MIB);
    assert_int_equal(populated(b), 32 * MIB);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_HOST);
    assert_says(b, "for the metadata of a block");
    assert_int_equal(model_state(&b->model, BOOT), PLEAT_BLOCK_NONE);
    /* Where Xen doesn't even take it back, it is known, and used later. */
    b->fake.most[FAKE_DECREASE][0] = 0;
    run_for(b, 200000000);
    assert_int_equal(populated(b), 32 * MIB + 5 * 4096);
    b->fake.maximum_frames = FAKE_XEN_FRAMES;
    run_for(b, SECOND_NS);
    assert_at(b, 40 * MIB);
    finish(b);
}

static void room_that_somebody_else_has_is_left_out(void **state)
{
    (void)state;
    struct bench *b = start();
    /* The second block is a DIMM's. */
    b->model.block[5].state = PLEAT_BLOCK_OFFLINE;
    set_target(b, 48 * MIB);
    assert_at(b, 48 * MIB);
    assert_int_equal(model_state(&b->model, BOOT + 2 * BLOCK), PLEAT_BLOCK_ONLINE);
    set_target(b, 90 * MIB);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_NO_ROOM);
    assert_says(b, "no block is left to add in 64 MiB");
    assert_int_equal(populated(b), 88 * MIB);
    finish(b);
}

static void less_than_a_block_can_use_isnt_grown_for(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 32 * MIB + METADATA);
    assert_at(b, 32 * MIB);
    set_target(b, 32 * MIB + METADATA + 4096);
    assert_at(b, 32 * MIB + METADATA + 4096);
    finish(b);
}

static void an_administrator_may_offline_and_online_a_block(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 37 * MIB);
    assert_int_equal(model_offline(&b->model, BOOT), 0);
    set_target(b, 40 * MIB);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_OFFLINE);
    /* What is populated in it comes into use, what isn't doesn't. */
    assert_int_equal(model_online(&b->model, BOOT), 0);
    check(b);
    assert_int_equal(model_bytes(&b->model, BOOT, BLOCK, MODEL_FREE), 5 * MIB - METADATA);
    run(b);
    assert_at(b, 40 * MIB);
    finish(b);
}

static void the_balloon_shrinks_out_of_its_own_blocks_too(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 64 * MIB);
    (void)model_allocate(&b->model, 0, 4096, MODEL_UNMOVABLE); /* the lowest 16 MiB */
    set_target(b, 24 * MIB);
    assert_at(b, 24 * MIB);
    finish(b);
}

/* --- The store ----------------------------------------------------------------------------------------- */

static struct bench *start_with_store(const char *static_max, const char *target)
{
    struct bench *b = prepare(true);
    fake_store_write(&b->fake, "memory/static-max", static_max);
    fake_store_write(&b->fake, "memory/target", target);
    create(b);
    run(b);
    return b;
}

static void the_target_follows_the_store(void **state)
{
    (void)state;
    struct bench *b = start_with_store("32768", "32768");
    assert_at(b, 32 * MIB);
    fake_store_write(&b->fake, "memory/target", "16384");
    run(b);
    assert_at(b, 16 * MIB);
    fake_store_write(&b->fake, "memory/target", "40960");
    run(b);
    assert_at(b, 40 * MIB);
    finish(b);
}

static void the_size_is_static_max_less_target_and_no_count_of_xens(void **state)
{
    (void)state;
    /* The toolstack keeps 1 MiB for itself, and the guest is booted with populate-on-demand: what Xen counts
     * is the target already. */
    struct bench *b = prepare(true);
    fake_store_write(&b->fake, "memory/static-max", "33792");
    fake_store_write(&b->fake, "memory/target", "17408");
    b->fake.maximum_frames = 16 * MIB / 4096;
    create(b);
    run(b);
    assert_at(b, 16 * MIB);
    finish(b);
}

static void without_a_target_the_guest_stays_as_it_is(void **state)
{
    (void)state;
    struct bench *b = prepare(true);
    create(b);
    run(b);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_STARTING);
    assert_int_equal(populated(b), 32 * MIB);
    fake_store_write(&b->fake, "memory/target", "20480\n");
    run(b);
    assert_at(b, 20 * MIB);
    finish(b);
}

static void a_target_that_is_none_is_refused_and_the_last_one_holds(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "x", "12 MiB", "-4", "0x100", "99999999999999999999", "\n"};
    struct bench *b = start_with_store("32768", "16384");
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        fake_store_write(&b->fake, "memory/target", wrong[i]);
        run(b);
        assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_TARGET);
        assert_int_equal(populated(b), 16 * MIB);
        assert_int_equal(statistics(b).targets_refused, i + 1);
    }
    fake_store_write(&b->fake, "memory/target", "24576");
    run(b);
    assert_at(b, 24 * MIB);
    finish(b);
}

static void a_target_of_nothing_is_stopped_by_the_floor(void **state)
{
    (void)state;
    struct bench *b = start_with_store("32768", "0");
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_FLOOR);
    assert_int_equal(populated(b), 2 * MIB);
    finish(b);
}

static void without_its_store_the_balloon_goes_on(void **state)
{
    (void)state;
    struct bench *b = start_with_store("32768", "16384");
    b->fake.page.response_produced += 4000;
    pleat_xen_store_event(b->store);
    (void)pleat_xen_store_step(b->store, 0);
    step(b);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_STORE);
    assert_says(b, "index of the response ring is out of range");
    pleat_xen_balloon_set_target(b->balloon, 20 * MIB);
    while (step(b) == PLEAT_XEN_WAKE_NOW) {
    }
    assert_int_equal(populated(b), 20 * MIB);
    /* When it is back, its target counts again. */
    assert_int_equal(pleat_xen_store_reconnect(b->store), 0);
    (void)pleat_xen_store_step(b->store, 0);
    fake_store_return(&b->fake);
    run(b);
    assert_at(b, 16 * MIB);
    fake_store_write(&b->fake, "memory/target", "24576");
    run(b);
    assert_at(b, 24 * MIB);
    finish(b);
}

static void a_store_that_leaves_in_the_middle_is_asked_again(void **state)
{
    (void)state;
    struct bench *b = prepare(true);
    fake_store_write(&b->fake, "memory/target", "16384");
    create(b);
    step(b);
    (void)pleat_xen_store_step(b->store, 0);
    fake_store_leave(&b->fake);
    (void)pleat_xen_store_step(b->store, 0);
    step(b);
    fake_store_return(&b->fake);
    run_for(b, SECOND_NS);
    assert_at(b, 16 * MIB);
    finish(b);
}

static void a_silent_store_is_asked_again(void **state)
{
    (void)state;
    struct bench *b = prepare(true);
    fake_store_write(&b->fake, "memory/target", "16384");
    b->fake.store_silent = true;
    create(b);
    run(b);
    b->model.clock_ns += 31 * SECOND_NS;
    run(b);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_STORE);
    assert_says(b, "doesn't answer");
    finish(b);
}

/* --- Release under pressure ---------------------------------------------------------------------------- */

static void a_guest_that_runs_short_gets_frames_back_for_a_while(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 16 * MIB);
    (void)model_allocate(&b->model, 0, 4000, MODEL_MOVABLE);
    const unsigned wakes = b->wakes;
    assert_int_equal(pleat_xen_balloon_release(b->balloon, 1024), 1024);
    assert_true(b->wakes > wakes);
    run(b);
    assert_int_equal(populated(b), 20 * MIB);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_PRESSURE);
    assert_says(b, "4 MiB over the target");
    /* As long as the guest needs it. */
    (void)model_allocate(&b->model, 0, 500, MODEL_MOVABLE);
    run_for(b, 60 * SECOND_NS);
    assert_int_equal(populated(b), 20 * MIB);
    /* And for as long again. */
    (void)model_release(&b->model, 0, 3000);
    run_for(b, 5 * SECOND_NS);
    assert_int_equal(populated(b), 20 * MIB);
    run_for(b, 6 * SECOND_NS);
    assert_at(b, 16 * MIB);
    assert_int_equal(statistics(b).released_frames, 1024);
    finish(b);
}

static void release_has_limits(void **state)
{
    (void)state;
    struct bench *b = prepare(false);
    b->config.release_limit_bytes = 3 * MIB;
    create(b);
    /* Nothing is ballooned out. */
    run(b);
    assert_int_equal(pleat_xen_balloon_release(b->balloon, 5), 0);
    set_target(b, 16 * MIB);
    assert_int_equal(pleat_xen_balloon_release(b->balloon, 10000), 768);
    assert_int_equal(pleat_xen_balloon_release(b->balloon, 10000), 768);
    run(b);
    assert_int_equal(populated(b), 19 * MIB);
    assert_int_equal(pleat_xen_balloon_release(b->balloon, 1), 0);
    /* Never over static-max. */
    set_target(b, 31 * MIB);
    assert_int_equal(populated(b), 32 * MIB);
    assert_int_equal(pleat_xen_balloon_release(b->balloon, 1), 0);
    finish(b);
}

static void release_can_be_off(void **state)
{
    (void)state;
    struct bench *b = prepare(false);
    b->config.release_limit_bytes = PLEAT_XEN_OFF;
    create(b);
    set_target(b, 16 * MIB);
    assert_int_equal(pleat_xen_balloon_release(b->balloon, 1), 0);
    assert_int_equal(statistics(b).release_requests, 1);
    finish(b);
}

static void a_host_that_gives_nothing_isnt_fought_with(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 16 * MIB);
    b->fake.maximum_frames = 16 * MIB / 4096 + 1;
    for (unsigned i = 0; i < 1000; i++) {
        (void)pleat_xen_balloon_release(b->balloon, 64);
        run_for(b, 1000000);
    }
    /* One frame came; in a second, some attempts with pauses that double. */
    assert_int_equal(populated(b), 16 * MIB + 4096);
    assert_true(statistics(b).populate_calls[0] < 12);
    finish(b);
}

static void a_guest_on_its_way_down_keeps_what_it_asks_for(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 24 * MIB);
    pleat_xen_balloon_set_target(b->balloon, 16 * MIB);
    assert_int_equal(pleat_xen_balloon_release(b->balloon, 256), 256);
    run(b);
    assert_int_equal(populated(b), 25 * MIB);
    finish(b);
}

/* --- Holes to lend ------------------------------------------------------------------------------------- */

static void holes_are_lent_and_not_populated_meanwhile(void **state)
{
    (void)state;
    struct bench *b = start();
    struct pleat_xen_holes holes;
    uint64_t pfns[1024];
    pleat_xen_balloon_holes(b->balloon, &holes);
    set_target(b, 30 * MIB);
    assert_int_equal(holes.alloc(holes.context, 600, pfns), 0);
    check(b);
    /* 512 were holes, 88 were ballooned out; the target is met with what is left. */
    assert_int_equal(status(b).lent_bytes, 600 * 4096);
    for (unsigned i = 0; i < 600; i++) {
        assert_true(pfns[i] != 0 && !b->fake.populated[pfns[i]]);
        b->fake.foreign[pfns[i]] = true;
    }
    set_target(b, 32 * MIB);
    assert_int_equal(populated(b), 32 * MIB - 600 * 4096);
    assert_int_equal(reason(b), PLEAT_XEN_BALLOON_REASON_LENT);
    assert_says(b, "600 frames");
    for (unsigned i = 0; i < 600; i++) {
        b->fake.foreign[pfns[i]] = false;
    }
    holes.free(holes.context, 600, pfns);
    run(b);
    assert_at(b, 32 * MIB);
    assert_int_equal(status(b).blocks_added, 0);
    finish(b);
}

static void no_holes_are_made_below_the_floor(void **state)
{
    (void)state;
    struct bench *b = start();
    struct pleat_xen_holes holes;
    uint64_t pfns[16];
    pleat_xen_balloon_holes(b->balloon, &holes);
    set_target(b, 32 * MIB);
    (void)model_allocate(&b->model, 0, 8192 - 512 - 10, MODEL_MOVABLE);
    assert_int_equal(holes.alloc(holes.context, 16, pfns), PLEAT_E_NO_MEMORY);
    run(b);
    assert_at(b, 32 * MIB);
    assert_int_equal(holes.alloc(holes.context, 10, pfns), 0);
    holes.free(holes.context, 10, pfns);
    run(b);
    /* A frame that comes back twice is refused. */
    holes.free(holes.context, 10, pfns);
    assert_at(b, 32 * MIB);
    finish(b);
}

/* --- Life ---------------------------------------------------------------------------------------------- */

static void configs_that_cant_be_are_refused(void **state)
{
    (void)state;
    struct bench *b = prepare(false);
    struct pleat_xen_balloon *balloon = NULL;
    const struct pleat_xen_balloon_config good = b->config;
    struct pleat_xen_balloon_config bad[7];
    for (unsigned i = 0; i < 7; i++) {
        bad[i] = good;
    }
    bad[0].boot_bytes = 0;
    bad[1].boot_bytes = BOOT + 4096;
    bad[2].storage_bytes--;
    bad[3].storage = (char *)bad[3].storage + 8;
    bad[4].batch = 513;
    bad[5].growth_address = BOOT - 4096;
    bad[6].memory = NULL;
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(pleat_xen_balloon_create(&bad[i], &balloon), PLEAT_E_INVALID);
    }
    b->model.memory.frame_bytes = 16384;
    assert_int_equal(pleat_xen_balloon_create(&good, &balloon), PLEAT_E_UNSUPPORTED);
    assert_null(balloon);
    b->model.memory.frame_bytes = 4096;
    create(b);
    finish(b);
}

static void without_a_clock_each_step_tries_again(void **state)
{
    (void)state;
    struct bench *b = prepare(false);
    b->model.ops.clock_ns = NULL;
    create(b);
    b->fake.maximum_frames = 0;
    set_target(b, 16 * MIB);
    set_target(b, 32 * MIB);
    assert_int_equal(pleat_xen_balloon_wake_ns(b->balloon), 0);
    assert_int_equal(step(b), PLEAT_XEN_WAKE_AT_TIME);
    b->fake.maximum_frames = FAKE_XEN_FRAMES;
    step(b);
    step(b);
    assert_at(b, 32 * MIB);
    finish(b);
}

static void small_budgets_make_small_steps(void **state)
{
    (void)state;
    struct bench *b = start();
    set_target(b, 16 * MIB);
    pleat_xen_balloon_set_target(b->balloon, 32 * MIB);
    unsigned steps = 0;
    while (pleat_xen_balloon_step(b->balloon, 1) == PLEAT_XEN_WAKE_NOW) {
        check(b);
        steps++;
    }
    assert_true(steps >= 8);
    assert_at(b, 32 * MIB);
    finish(b);
}

static void each_reason_has_a_text(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PLEAT_XEN_BALLOON_REASONS; i++) {
        assert_true(strlen(pleat_xen_balloon_reason_text(i)) > 3);
    }
    assert_string_equal(pleat_xen_balloon_reason_text(PLEAT_XEN_BALLOON_REASONS), "unknown");
}

/* --- At random ----------------------------------------------------------------------------------------- */

static void disturb(struct bench *b, struct test_random *random)
{
    struct pleat_xen_holes holes;
    switch (test_random_below(random, 12)) {
    case 0:
    case 1:
        pleat_xen_balloon_set_target(b->balloon, test_random_below(random, REGION / 4096) * 4096);
        break;
    case 2:
        (void)model_allocate(&b->model, test_random_below(random, REGION / 4096),
                             test_random_below(random, 4096), MODEL_MOVABLE);
        break;
    case 3:
        (void)model_release(&b->model, test_random_below(random, REGION / 4096),
                            test_random_below(random, 8192));
        pleat_xen_balloon_memory_changed(b->balloon);
        break;
    case 4:
        b->fake.most[test_random_below(random, 2)][test_random_below(random, 2)] =
            test_random_below(random, 2) ? UINT64_MAX : test_random_below(random, 40);
        break;
    case 5: {
        const enum fake_xen_call call = (enum fake_xen_call)test_random_below(random, 2);
        b->fake.error[call] = PLEAT_E_NO_MEMORY;
        b->fake.times[call] = (unsigned)test_random_below(random, 4);
        break;
    }
    case 6:
        b->fake.maximum_frames =
            test_random_below(random, 2) ? FAKE_XEN_FRAMES : test_random_below(random, FAKE_XEN_FRAMES);
        break;
    case 7:
        model_fail(&b->model, (enum model_call)test_random_below(random, MODEL_CALLS), PLEAT_E_NO_MEMORY,
                   (unsigned)test_random_below(random, 5), 1 + (unsigned)test_random_below(random, 3));
        break;
    case 8:
        (void)pleat_xen_balloon_release(b->balloon, test_random_below(random, 3000));
        break;
    case 9:
        (void)model_offline(&b->model, BOOT + test_random_below(random, 8) * BLOCK);
        break;
    case 10:
        (void)model_online(&b->model, BOOT + test_random_below(random, 8) * BLOCK);
        break;
    default:
        pleat_xen_balloon_holes(b->balloon, &holes);
        if (b->lent > 0) {
            holes.free(holes.context, b->lent, b->pfns);
            b->lent = 0;
        } else if (holes.alloc(holes.context, 48, b->pfns) == 0) {
            b->lent = 48;
        }
        break;
    }
}

static void run_seed(uint64_t seed)
{
    struct test_random random;
    struct bench *b = prepare(false);
    test_random_seed(&random, seed);
    b->config.floor_bytes = PLEAT_XEN_OFF;
    create(b);
    for (unsigned i = 0; i < 300; i++) {
        disturb(b, &random);
        (void)pleat_xen_balloon_step(b->balloon, test_random_below(&random, 4) * MIB);
        check(b);
        b->model.clock_ns += test_random_below(&random, SECOND_NS);
    }
    finish(b);
}

static void whatever_happens_the_books_are_true(void **state)
{
    (void)state;
    uint64_t seed;
    for (unsigned i = 0; test_random_seed_number(i, 1, 6, &seed) != 0; i++) {
        test_random_seed_runs(seed);
        run_seed(seed);
        test_random_seed_done();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_goes_and_comes_in_pieces),
        cmocka_unit_test(targets_are_met_to_the_frame),
        cmocka_unit_test(single_frames_go_where_no_piece_is_free),
        cmocka_unit_test(frames_come_into_broken_pieces_before_whole_ones),
        cmocka_unit_test(the_batch_is_what_the_config_says),
        cmocka_unit_test(what_goes_is_cleared_when_asked_for),
        cmocka_unit_test(a_shrink_stops_at_the_floor_and_goes_on_when_memory_is_freed),
        cmocka_unit_test(pauses_double_to_the_longest),
        cmocka_unit_test(without_withhold_the_balloon_only_grows),
        cmocka_unit_test(partial_results_are_taken_as_they_are),
        cmocka_unit_test(without_pieces_of_xen_single_frames_are_tried),
        cmocka_unit_test(over_the_maximum_growth_waits_and_says_what_it_is),
        cmocka_unit_test(errors_of_hypercalls_change_nothing_and_are_tried_again),
        cmocka_unit_test(frames_that_xen_doesnt_take_stay_in_use),
        cmocka_unit_test(frames_that_the_guest_doesnt_take_are_held_and_given_later),
        cmocka_unit_test(a_guest_without_single_frames_goes_by_pieces),
        cmocka_unit_test(growth_adds_blocks_that_bring_their_metadata),
        cmocka_unit_test(holes_are_used_before_blocks_are_added),
        cmocka_unit_test(growth_that_fails_leaves_nothing_half_done),
        cmocka_unit_test(metadata_that_xen_gives_in_part_goes_back),
        cmocka_unit_test(room_that_somebody_else_has_is_left_out),
        cmocka_unit_test(less_than_a_block_can_use_isnt_grown_for),
        cmocka_unit_test(an_administrator_may_offline_and_online_a_block),
        cmocka_unit_test(the_balloon_shrinks_out_of_its_own_blocks_too),
        cmocka_unit_test(the_target_follows_the_store),
        cmocka_unit_test(the_size_is_static_max_less_target_and_no_count_of_xens),
        cmocka_unit_test(without_a_target_the_guest_stays_as_it_is),
        cmocka_unit_test(a_target_that_is_none_is_refused_and_the_last_one_holds),
        cmocka_unit_test(a_target_of_nothing_is_stopped_by_the_floor),
        cmocka_unit_test(without_its_store_the_balloon_goes_on),
        cmocka_unit_test(a_store_that_leaves_in_the_middle_is_asked_again),
        cmocka_unit_test(a_silent_store_is_asked_again),
        cmocka_unit_test(a_guest_that_runs_short_gets_frames_back_for_a_while),
        cmocka_unit_test(release_has_limits),
        cmocka_unit_test(release_can_be_off),
        cmocka_unit_test(a_host_that_gives_nothing_isnt_fought_with),
        cmocka_unit_test(a_guest_on_its_way_down_keeps_what_it_asks_for),
        cmocka_unit_test(holes_are_lent_and_not_populated_meanwhile),
        cmocka_unit_test(no_holes_are_made_below_the_floor),
        cmocka_unit_test(configs_that_cant_be_are_refused),
        cmocka_unit_test(without_a_clock_each_step_tries_again),
        cmocka_unit_test(small_budgets_make_small_steps),
        cmocka_unit_test(each_reason_has_a_text),
        cmocka_unit_test(whatever_happens_the_books_are_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
