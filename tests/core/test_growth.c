/* SPDX-License-Identifier: MIT
 *
 * A balloon grows its guest beyond what it booted with: blocks are added before there is memory for them, but
 * for their memmaps, and their frames go into the allocator as the hypervisor gives them.
 */
#include "core_fixture.h"

#define PAGEBLOCK PLEAT_PAGEBLOCK_FRAMES

static void plug(struct fixture *f, uint64_t pfn, uint64_t frames)
{
    assert_int_equal(f->config.port->map(f->config.port->context, pfn, frames), 0);
    /* What comes may hold anything. */
    memset(pleat_hosted_pointer(f->hosted, pfn), 0xa5, frames << 12);
}

/* The balloon gives nothing when a block goes online: it has nothing yet. */
static void online_nothing(void *context, uint64_t address, uint64_t bytes, pleat_memory_give_fn *give,
                           void *give_context)
{
    unsigned *onlined = context;

    (void)address;
    (void)give;
    (void)give_context;
    assert_int_equal(bytes, (uint64_t)BLOCK_FRAMES << 12);
    ++*onlined;
}

/* Boot memory is all in use, and nothing above it is there. */
static struct fixture *full_machine(enum pleat_online_policy policy)
{
    struct fixture *f = fixture_new_strict(NULL, 0, NULL, true);

    assert_int_equal(pleat_set_policy(&f->pleat, policy, 0), 0);
    while (pleat_alloc(&f->pleat, PLEAT_PAGEBLOCK_ORDER, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0)
        ;
    while (pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0)
        ;
    assert_int_equal(pleat_free_frames(&f->pleat), 0);
    return f;
}

static void grow_block(struct fixture *f, const struct pleat_memory *memory,
                       const struct pleat_memory_owner *owner)
{
    const struct pleat_memory_range range = {.address = (uint64_t)GIB_FRAMES << 12,
                                             .bytes = memory->block_bytes,
                                             .name = "balloon",
                                             .owner = owner,
                                             .memmap_mode = PLEAT_MEMMAP_BLOCK,
                                             .flags = PLEAT_ADD_FORCE_ONLINE,
                                             .force_zone = PLEAT_ZONE_NORMAL};
    struct pleat_block_info info;

    plug(f, GIB_FRAMES, pleat_memmap_frames(&f->pleat));
    assert_int_equal(memory->ops->add(memory->context, &range), 0);
    assert_int_equal(pleat_block_info(&f->pleat, GIB_FRAMES, &info), 0);
    assert_int_equal(info.state, PLEAT_BLOCK_ONLINE);
    assert_int_equal(info.zone, PLEAT_ZONE_NORMAL);
    assert_int_equal(info.memmap_frames, pleat_memmap_frames(&f->pleat));
    assert_int_equal(info.fake_offline_frames, BLOCK_FRAMES - info.memmap_frames);
    assert_int_equal(pleat_free_frames(&f->pleat), 0);
    assert_int_equal(pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG), PLEAT_E_NO_MEMORY);
}

static void give_frames(struct fixture *f, const struct pleat_memory_owner *owner)
{
    uint64_t first = GIB_FRAMES + pleat_memmap_frames(&f->pleat), pageblock = GIB_FRAMES + 5 * PAGEBLOCK;

    /* One frame, and then it is there for somebody. */
    plug(f, first, 1);
    assert_int_equal(pleat_give(&f->pleat, owner, first, 1), 0);
    assert_int_equal(pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG), first);
    memset(pleat_hosted_pointer(f->hosted, first), 0, 4096);
    /* 2 MiB at once. */
    plug(f, pageblock, PAGEBLOCK);
    assert_int_equal(pleat_give(&f->pleat, owner, pageblock, PAGEBLOCK), 0);
    assert_int_equal(pleat_alloc(&f->pleat, PLEAT_PAGEBLOCK_ORDER, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG),
                     pageblock);
    /* A pageblock of single frames, the last ones first, is a whole one in the end. */
    pageblock += PAGEBLOCK;
    for (unsigned i = PAGEBLOCK; i-- > 0;) {
        plug(f, pageblock + i, 1);
        assert_int_equal(pleat_give(&f->pleat, owner, pageblock + i, 1), 0);
        assert_int_equal(pleat_free_frames(&f->pleat), PAGEBLOCK - i);
    }
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(pleat_alloc(&f->pleat, PLEAT_PAGEBLOCK_ORDER, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG),
                     pageblock);
    /* Nothing came from anywhere else. */
    assert_int_equal(pleat_free_frames(&f->pleat), 0);
}

/* A range of somebody else's, under the same policy; returns its block. */
static struct pleat_block_info other_range(struct fixture *f)
{
    static const char other;
    const struct pleat_range_config range = {
        .name = "other", .owner = &other, .start_pfn = 2 * GIB_FRAMES, .frames = BLOCK_FRAMES};
    struct pleat_block_info info;

    plug(f, 2 * GIB_FRAMES, pleat_memmap_frames(&f->pleat));
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_block_info(&f->pleat, 2 * GIB_FRAMES, &info), 0);
    return info;
}

static void grow(enum pleat_online_policy policy, enum pleat_block_state others, enum pleat_zone_kind zone)
{
    struct fixture *f = full_machine(policy);
    unsigned onlined = 0;
    const struct pleat_memory_owner owner = {.context = &onlined, .online = online_nothing};
    struct pleat_memory memory;
    struct pleat_block_info info;

    pleat_memory_init(&f->pleat, &memory);
    grow_block(f, &memory, &owner);
    assert_int_equal(onlined, 1);
    give_frames(f, &owner);
    info = other_range(f);
    assert_int_equal(info.state, others);
    if (others == PLEAT_BLOCK_ONLINE)
        assert_int_equal(info.zone, zone);
    fixture_free(f);
}

static void it_grows_in_full_memory_whatever_the_policy_is(void **state)
{
    (void)state;
    grow(PLEAT_POLICY_ONLINE, PLEAT_BLOCK_ONLINE, PLEAT_ZONE_NORMAL);
}

static void it_grows_where_the_policy_is_offline_and_others_stay_offline(void **state)
{
    (void)state;
    grow(PLEAT_POLICY_OFFLINE, PLEAT_BLOCK_OFFLINE, PLEAT_ZONE_NORMAL);
}

static void it_grows_kernel_memory_where_the_policy_is_online_movable(void **state)
{
    (void)state;
    grow(PLEAT_POLICY_ONLINE_MOVABLE, PLEAT_BLOCK_ONLINE, PLEAT_ZONE_MOVABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_grows_in_full_memory_whatever_the_policy_is),
        cmocka_unit_test(it_grows_where_the_policy_is_offline_and_others_stay_offline),
        cmocka_unit_test(it_grows_kernel_memory_where_the_policy_is_online_movable),
    };
    return cmocka_run_group_tests_name("growth without memory", tests, NULL, NULL);
}
