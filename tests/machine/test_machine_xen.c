/* SPDX-License-Identifier: MIT
 *
 * Proves the machine with a guest on Xen: it follows its target down, up and beyond its boot size, whatever
 * the policy is; faults of hypercalls, host and store delay it and lose nothing; frames that are exchanged
 * with another domain cost no memory. All of it deterministic, on one thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "machine/layout.h"
#include "tests/support/whole_machine.h"

#define SECOND UINT64_C(1000000000)

/* What the listener has heard, of one machine at a time. */
static unsigned events[PLEAT_EVENT_KINDS];
static uint64_t last_balloon_bytes;
static unsigned connections, lost_stores; /* that the log tells of */

static void hear(void *context, const struct pleat_machine_event *event)
{
    (void)context;
    events[event->kind]++;
    if (event->kind == PLEAT_EVENT_BALLOON_CHANGE)
        last_balloon_bytes = event->bytes;
}

static void hear_line(void *context, uint64_t time_ns, int level, const char *source, const char *line)
{
    (void)context;
    (void)time_ns;
    (void)level;
    if (strcmp(source, "xenstore"))
        return;
    connections += strstr(line, "asked for a new connection") != NULL;
    lost_stores += strstr(line, "the last target holds") != NULL;
}

static struct pleat_machine *start(const char *line)
{
    const struct pleat_machine_listener listener = {.event = hear, .log = hear_line};

    memset(events, 0, sizeof events);
    connections = lost_stores = 0;
    return whole_machine_start(line, &listener);
}

/* Ends a machine whose frames must all be there and whole. */
static void finish(struct pleat_machine *machine)
{
    struct pleat_message message = {{0}};
    struct pleat_balloon_info info;

    assert_int_equal(pleat_machine_balloon_info(machine, &info, &message), PLEAT_OK);
    assert_int_equal(info.leaked_frames, 0);
    whole_machine_end(machine);
}

static struct pleat_balloon_info balloon_of(struct pleat_machine *machine)
{
    struct pleat_balloon_info info;
    struct pleat_message message = {{0}};

    assert_int_equal(pleat_machine_balloon_info(machine, &info, &message), PLEAT_OK);
    return info;
}

static void ask(struct pleat_machine *machine, uint64_t mib)
{
    struct pleat_message message = {{0}};

    if (pleat_machine_balloon(machine, mib * PLEAT_MIB, &message))
        fail_msg("%s", message.text);
}

static bool is_there(void *context)
{
    const struct pleat_balloon_info info = balloon_of(context);

    return info.actual_bytes == info.target_bytes && pleat_machine_is_settled(context);
}

/* Until the guest has the size that was asked for last. */
static void reach(struct pleat_machine *machine)
{
    if (pleat_machine_run_until(machine, is_there, machine, 60 * SECOND))
        fail_msg("%s", balloon_of(machine).reason);
}

static void settle(struct pleat_machine *machine)
{
    assert_int_equal(pleat_machine_run_until(machine, whole_machine_is_settled, machine, 60 * SECOND),
                     PLEAT_OK);
}

static void fault(struct pleat_machine *machine, const char *text)
{
    struct pleat_message message = {{0}};

    if (pleat_machine_fault_add(machine, text, &message))
        fail_msg("%s", message.text);
}

static void no_fault(struct pleat_machine *machine, const char *name)
{
    assert_int_equal(pleat_machine_fault_delete(machine, name, NULL), PLEAT_OK);
}

/* Blocks that the guest has in a state, and those of them that belong to the balloon's range. */
struct blocks {
    unsigned online, offline, beyond_boot_online;
    uint64_t boot_bytes;
};

static bool count_block(void *context, const struct pleat_machine_block *block)
{
    struct blocks *blocks = context;

    blocks->online += block->info.state == PLEAT_BLOCK_ONLINE;
    blocks->offline += block->info.state == PLEAT_BLOCK_OFFLINE;
    blocks->beyond_boot_online += block->info.state == PLEAT_BLOCK_ONLINE &&
                                  block->number * PLEAT_LAYOUT_BLOCK_BYTES >= blocks->boot_bytes;
    return true;
}

static struct blocks blocks_of(struct pleat_machine *machine)
{
    struct blocks blocks = {.boot_bytes = pleat_machine_config(machine)->ram_bytes};

    pleat_machine_blocks(machine, count_block, &blocks);
    return blocks;
}

/* ---- sizes ---- */

static void it_follows_its_target_down_up_and_beyond_boot(void **state)
{
    static const uint64_t targets[] = {160, 250, 512, 300, 100, 256, 511};

    (void)state;
    struct pleat_machine *machine =
        start("-M xenpvh -m 256M,maxmem=512M -seed 1 -workload synthetic,fill=10%");
    settle(machine);
    assert_int_equal(balloon_of(machine).actual_bytes, 256 * PLEAT_MIB);
    for (unsigned i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        ask(machine, targets[i]);
        reach(machine);
        assert_int_equal(last_balloon_bytes, targets[i] * PLEAT_MIB);
    }
    assert_int_equal(balloon_of(machine).added_bytes, 256 * PLEAT_MIB);
    assert_true(events[PLEAT_EVENT_BALLOON_CHANGE] >= sizeof targets / sizeof targets[0]);
    finish(machine);
}

static void a_target_costs_a_hypercall_for_512_extents(void **state)
{
    (void)state;
    struct pleat_machine *machine = start("-M xenpvh -m 256M -seed 1");
    settle(machine);
    ask(machine, 160);
    reach(machine);
    /* 96 MiB are 24,576 frames; in pieces of 2 MiB they are 48 extents. */
    assert_int_equal(balloon_of(machine).decreased_frames, 24576);
    assert_true(balloon_of(machine).decreases <= 5);
    finish(machine);
}

static void the_floor_holds(void **state)
{
    (void)state;
    struct pleat_machine *machine = start("-M xenpvh -m 256M -seed 1 -floor 64M");
    settle(machine);
    ask(machine, 16);
    settle(machine);
    const struct pleat_balloon_info info = balloon_of(machine);
    assert_true(info.actual_bytes >= 64 * PLEAT_MIB && info.actual_bytes < 128 * PLEAT_MIB);
    assert_non_null(strstr(info.reason, "shrink stopped at"));
    ask(machine, 256);
    reach(machine);
    finish(machine);
}

static void balloon_blocks_go_online_whatever_the_policy_is(void **state)
{
    static const struct {
        const char *policy;
        unsigned device_offline;
    } policies[] = {{"offline", 1}, {"online_movable", 0}};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct pleat_message message = {{0}};
        char line[256];
        snprintf(line, sizeof line,
                 "-M xenpvh -m 256M,maxmem=512M -seed 1 -policy %s "
                 "-object memory-backend-ram,id=mem0,size=256M -device virtio-mem-pci,id=vm0,memdev=mem0",
                 policies[i].policy);
        struct pleat_machine *machine = start(line);
        settle(machine);
        assert_int_equal(pleat_machine_set_requested_bytes(machine, "vm0", 128 * PLEAT_MIB, &message),
                         PLEAT_OK);
        ask(machine, 512);
        reach(machine);
        const struct blocks blocks = blocks_of(machine);
        assert_int_equal(blocks.offline, policies[i].device_offline);
        assert_int_equal(blocks.beyond_boot_online, 3 - policies[i].device_offline);
        struct pleat_zone_info zones[8];
        const unsigned count = pleat_machine_zones(machine, zones, 8);
        uint64_t normal = 0, movable = 0;
        for (unsigned zone = 0; zone < count && zone < 8; zone++) {
            normal += zones[zone].kind == PLEAT_ZONE_NORMAL ? zones[zone].blocks : 0;
            movable += zones[zone].kind == PLEAT_ZONE_MOVABLE ? zones[zone].blocks : 0;
        }
        assert_int_equal(normal, 2); /* the balloon's */
        assert_int_equal(movable, 1 - policies[i].device_offline);
        finish(machine);
    }
}

static void targets_that_cant_be_are_refused(void **state)
{
    struct pleat_message message = {{0}};

    (void)state;
    struct pleat_machine *machine = start("-M xenpvh -m 256M,maxmem=512M -seed 1");
    assert_int_equal(pleat_machine_balloon(machine, 0, &message), PLEAT_E_INVALID);
    assert_int_equal(pleat_machine_balloon(machine, 513 * PLEAT_MIB, &message), PLEAT_E_INVALID);
    assert_int_equal(pleat_machine_guest_restart(machine, &message), PLEAT_E_UNSUPPORTED);
    finish(machine);
    machine = start("-m 256M -seed 1");
    struct pleat_balloon_info info;
    assert_int_equal(pleat_machine_balloon(machine, 128 * PLEAT_MIB, &message), PLEAT_E_NOT_FOUND);
    assert_string_equal(message.text, "No balloon device has been activated");
    assert_int_equal(pleat_machine_balloon_info(machine, &info, &message), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_machine_guest_exchange(machine, 1, &message), PLEAT_E_NOT_FOUND);
    pleat_machine_destroy(machine);
}

/* ---- populate-on-demand ---- */

/* The start is a shrink that may touch nothing: a balloon that cleared what goes, or that reckoned by Xen's
 * count of frames (which is the target from the start), would have the domain ended. */
static void it_survives_a_start_with_less_than_its_map(void **state)
{
    (void)state;
    struct pleat_machine *machine =
        start("-M xenpvh,memory=96M -m 512M,maxmem=640M -seed 1 -workload synthetic,fill=5%");
    assert_int_equal(balloon_of(machine).actual_bytes, 96 * PLEAT_MIB);
    reach(machine);
    const struct pleat_balloon_info info = balloon_of(machine);
    assert_int_equal(info.actual_bytes, 96 * PLEAT_MIB);
    assert_int_equal(info.hole_bytes, 416 * PLEAT_MIB);
    assert_int_equal(info.decreased_frames, 416 * PLEAT_MIB / 4096);
    /* What it hasn't touched is all there, and what it has is the workload's and the core's alone. */
    assert_int_equal(info.on_demand_bytes, info.pool_bytes);
    assert_true(info.actual_bytes - info.pool_bytes < 60 * PLEAT_MIB);
    static const uint64_t targets[] = {300, 80, 640, 96};
    for (unsigned i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        ask(machine, targets[i]);
        reach(machine);
    }
    finish(machine);
}

/* The target goes up before the balloon has begun. */
static void a_target_while_it_starts_is_no_loss(void **state)
{
    (void)state;
    struct pleat_machine *machine = start("-M xenpvh,memory=64M -m 256M -seed 1");
    ask(machine, 256);
    reach(machine);
    assert_int_equal(balloon_of(machine).hole_bytes, 0);
    ask(machine, 64);
    reach(machine);
    finish(machine);
}

static bool has_ended(void *context)
{
    (void)context;
    return events[PLEAT_EVENT_GUEST_PANICKED] > 0;
}

static void a_guest_that_touches_more_than_the_pool_is_ended(void **state)
{
    struct pleat_message message = {{0}};

    (void)state;
    /* The floor keeps the balloon from making room. */
    struct pleat_machine *machine =
        start("-M xenpvh,memory=64M -m 256M -seed 1 -floor 240M -workload synthetic,fill=60%");
    assert_int_equal(pleat_machine_run_until(machine, has_ended, NULL, 60 * SECOND), PLEAT_OK);
    const struct pleat_balloon_info info = balloon_of(machine);
    assert_int_equal(info.pool_bytes, 0);
    assert_true(info.on_demand_bytes > 0);
    assert_int_not_equal(pleat_machine_stop(machine, "host-qmp-quit", &message), PLEAT_OK);
    assert_non_null(strstr(message.text, "populate-on-demand pool"));
    pleat_machine_destroy(machine);
}

static void a_start_by_less_than_nothing_is_refused(void **state)
{
    static const char *const lines[] = {"-M xenpvh,memory=257M -m 256M", "-M pc,memory=128M -m 256M",
                                        "-M xenpvh,memory=0 -m 256M", "-M xenpvh,memory=1000 -m 256M"};

    (void)state;
    for (unsigned i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        static struct pleat_machine_config config;
        struct pleat_message message = {{0}};
        assert_int_equal(whole_machine_parse(lines[i], &config, &message), PLEAT_E_INVALID);
        assert_non_null(strstr(message.text, "memory"));
    }
}

/* ---- faults ---- */

static void each_fault_delays_and_loses_nothing(void **state)
{
    static const char *const faults[] = {
        "xen-populate-partial:count=20,size=64k",
        "xen-populate-partial:every=3",
        "host-out-of-memory:count=3",
        "xen-hypercall-fails:every=2",
        "xen-store-again:count=2",
        "xen-store-slow",
        "add-refused:count=2",
        "allocation-refused:every=2",
    };

    (void)state;
    for (unsigned i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct pleat_machine *machine =
            start("-M xenpvh -m 256M,maxmem=512M -seed 1 -workload synthetic,fill=10%");
        settle(machine);
        fault(machine, faults[i]);
        ask(machine, 512);
        reach(machine);
        ask(machine, 192);
        reach(machine);
        ask(machine, 320);
        reach(machine);
        finish(machine);
    }
}

static void a_host_that_stays_short_is_named_and_tried_again(void **state)
{
    (void)state;
    struct pleat_machine *machine = start("-M xenpvh -m 256M,maxmem=512M -seed 1");
    settle(machine);
    fault(machine, "host-out-of-memory:after=3");
    ask(machine, 512);
    settle(machine);
    assert_true(balloon_of(machine).actual_bytes < 512 * PLEAT_MIB);
    assert_non_null(strstr(balloon_of(machine).reason, "Xen gives no more"));
    no_fault(machine, "host-out-of-memory");
    reach(machine);
    assert_string_equal(balloon_of(machine).reason, "");
    finish(machine);
}

static void a_store_that_is_gone_leaves_the_last_target(void **state)
{
    (void)state;
    struct pleat_machine *machine = start("-M xenpvh -m 256M -seed 1");
    settle(machine);
    fault(machine, "xen-store-gone");
    ask(machine, 128);
    pleat_machine_run_for(machine, 10 * SECOND);
    assert_int_equal(balloon_of(machine).actual_bytes, 256 * PLEAT_MIB);
    no_fault(machine, "xen-store-gone");
    reach(machine);
    finish(machine);
}

static void a_store_that_sends_garbage_is_asked_for_a_new_connection(void **state)
{
    (void)state;
    struct pleat_machine *machine = start("-M xenpvh -m 256M -seed 1");
    settle(machine);
    /* Each kind of garbage, twice. */
    fault(machine, "xen-store-garbage:count=6");
    ask(machine, 128);
    pleat_machine_run_for(machine, SECOND / 20);
    assert_int_equal(balloon_of(machine).actual_bytes, 256 * PLEAT_MIB);
    reach(machine);
    ask(machine, 200);
    reach(machine);
    /* One that never stops is asked less and less often. */
    no_fault(machine, "xen-store-garbage");
    fault(machine, "xen-store-garbage");
    ask(machine, 100);
    pleat_machine_run_for(machine, 600 * SECOND);
    assert_int_equal(balloon_of(machine).actual_bytes, 200 * PLEAT_MIB);
    assert_true(connections > 10 && connections < 40);
    no_fault(machine, "xen-store-garbage");
    reach(machine);
    finish(machine);
}

static void a_store_that_cant_connect_again_is_left_alone(void **state)
{
    (void)state;
    struct pleat_machine *machine = start("-M xenpvh -m 256M -seed 1 -fault xen-store-old");
    settle(machine);
    ask(machine, 200);
    reach(machine);
    fault(machine, "xen-store-garbage:count=1");
    ask(machine, 128);
    pleat_machine_run_for(machine, 10 * SECOND);
    assert_int_equal(balloon_of(machine).actual_bytes, 200 * PLEAT_MIB);
    assert_int_equal(lost_stores, 1);
    assert_int_equal(connections, 0);
    assert_true(pleat_machine_is_running(machine));
    finish(machine);
}

/* ---- exchanges ---- */

static void exchanged_frames_cost_no_memory(void **state)
{
    struct pleat_message message = {{0}};

    (void)state;
    struct pleat_machine *machine = start("-M xenpvh -m 256M -seed 1 -workload synthetic,fill=10%");
    settle(machine);
    for (unsigned i = 0; i < 10; i++) {
        if (pleat_machine_guest_exchange(machine, 50 * (i + 1), &message))
            fail_msg("%s", message.text);
        assert_int_equal(balloon_of(machine).actual_bytes, 256 * PLEAT_MIB);
        assert_int_equal(balloon_of(machine).decreases, 0);
        pleat_machine_run_for(machine, SECOND / 100);
    }
    assert_int_equal(pleat_machine_guest_exchange(machine, 0, &message), PLEAT_E_INVALID);
    assert_int_equal(pleat_machine_guest_exchange(machine, 1000, &message), PLEAT_E_INVALID);
    finish(machine);
}

static void an_exchange_that_fails_leaves_all_as_it_was(void **state)
{
    struct pleat_message message = {{0}};

    (void)state;
    struct pleat_machine *machine = start("-M xenpvh -m 256M -seed 1");
    settle(machine);
    /* The first hypercall maps, later ones unmap. */
    for (unsigned after = 0; after < 4; after++) {
        char text[64];
        snprintf(text, sizeof text, "xen-hypercall-fails:after=%u,count=1", after);
        fault(machine, text);
        const int error = pleat_machine_guest_exchange(machine, 200, &message);
        assert_true(after ? !error || error == PLEAT_E_DEVICE : error == PLEAT_E_DEVICE);
        no_fault(machine, "xen-hypercall-fails");
        assert_int_equal(pleat_machine_guest_exchange(machine, 400, &message), PLEAT_OK);
    }
    finish(machine);
}

/* ---- resets ---- */

static void a_reset_gives_a_new_domain_of_the_boot_size(void **state)
{
    struct pleat_message message = {{0}};

    (void)state;
    struct pleat_machine *machine =
        start("-M xenpvh -m 256M,maxmem=512M -seed 1 -workload synthetic,fill=10%");
    settle(machine);
    ask(machine, 400);
    reach(machine);
    assert_int_equal(pleat_machine_system_reset(machine, &message), PLEAT_OK);
    reach(machine);
    assert_int_equal(balloon_of(machine).actual_bytes, 256 * PLEAT_MIB);
    assert_int_equal(balloon_of(machine).added_bytes, 0);
    ask(machine, 300);
    reach(machine);
    finish(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_follows_its_target_down_up_and_beyond_boot),
        cmocka_unit_test(a_target_costs_a_hypercall_for_512_extents),
        cmocka_unit_test(the_floor_holds),
        cmocka_unit_test(balloon_blocks_go_online_whatever_the_policy_is),
        cmocka_unit_test(targets_that_cant_be_are_refused),
        cmocka_unit_test(it_survives_a_start_with_less_than_its_map),
        cmocka_unit_test(a_target_while_it_starts_is_no_loss),
        cmocka_unit_test(a_guest_that_touches_more_than_the_pool_is_ended),
        cmocka_unit_test(a_start_by_less_than_nothing_is_refused),
        cmocka_unit_test(each_fault_delays_and_loses_nothing),
        cmocka_unit_test(a_host_that_stays_short_is_named_and_tried_again),
        cmocka_unit_test(a_store_that_is_gone_leaves_the_last_target),
        cmocka_unit_test(a_store_that_sends_garbage_is_asked_for_a_new_connection),
        cmocka_unit_test(a_store_that_cant_connect_again_is_left_alone),
        cmocka_unit_test(exchanged_frames_cost_no_memory),
        cmocka_unit_test(an_exchange_that_fails_leaves_all_as_it_was),
        cmocka_unit_test(a_reset_gives_a_new_domain_of_the_boot_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
