/* SPDX-License-Identifier: MIT
 *
 * Threads as CPUs, all at once: the workload allocates, frees and writes on every CPU while the drivers plug
 * and unplug, the core moves frames, a control thread asks and changes, and the guest is reset under way.
 * ThreadSanitizer sees the races; the stamps see the torn, lost and doubled frames.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "machine/layout.h"
#include "tests/support/whole_machine.h"

#define MILLISECOND UINT64_C(1000000)

struct heard {
    atomic_uint events[PLEAT_EVENT_KINDS], lines;
};

static void hear_event(void *context, const struct pleat_machine_event *event)
{
    struct heard *heard = context;

    atomic_fetch_add(&heard->events[event->kind], 1);
}

static void hear_line(void *context, uint64_t time_ns, int level, const char *source, const char *line)
{
    struct heard *heard = context;

    (void)time_ns;
    (void)level;
    (void)source;
    (void)line;
    atomic_fetch_add(&heard->lines, 1);
}

static struct pleat_machine *start(const char *line, struct heard *heard)
{
    const struct pleat_machine_listener listener = {hear_event, hear_line, heard};

    return whole_machine_start(line, &listener);
}

static uint64_t size_of(struct pleat_machine *machine, const char *id)
{
    struct pleat_memory_device_info info;

    assert_int_equal(pleat_machine_memory_device(machine, id, &info, NULL), PLEAT_OK);
    return info.size_bytes;
}

static void request(struct pleat_machine *machine, const char *id, uint64_t bytes)
{
    assert_int_equal(pleat_machine_set_requested_bytes(machine, id, bytes, NULL), PLEAT_OK);
}

static bool next_block(void *context, const struct pleat_machine_block *block)
{
    (void)block;
    ++*(unsigned *)context;
    return true;
}

static void ask_everything(struct pleat_machine *machine)
{
    struct pleat_zone_info zones[16];
    struct pleat_workload_info workload;
    struct pleat_driver_info driver;
    struct pleat_property_value value;
    unsigned blocks = 0;

    pleat_machine_zones(machine, zones, 16);
    pleat_machine_blocks(machine, next_block, &blocks);
    assert_true(blocks > 0);
    pleat_machine_workload_info(machine, &workload);
    assert_int_equal(workload.stamps_wrong, 0);
    assert_int_equal(pleat_machine_driver_info(machine, "vm0", &driver, NULL), PLEAT_OK);
    assert_int_equal(pleat_machine_property_get(machine, "vm1", "size", &value, NULL), PLEAT_OK);
}

#define TWO_NODES                                                                                            \
    "-m 256M,maxmem=4G -smp sockets=2,cores=2 -numa node -numa node "                                        \
    "-object memory-backend-memfd,id=mem0,size=512M -device virtio-mem-pci,id=vm0,memdev=mem0,node=0 "       \
    "-object memory-backend-ram,id=mem1,size=512M -device virtio-mem-pci,id=vm1,memdev=mem1,node=1 "

static void memory_moves_while_all_CPUs_work(void **state)
{
    (void)state;
    static struct heard heard;
    struct pleat_machine *machine =
        start(TWO_NODES "-workload synthetic,fill=60%,unmovable=1%,reclaimable=1%,speed=max", &heard);

    for (unsigned turn = 0; turn < 4; turn++) {
        request(machine, "vm0", 256 * PLEAT_MIB);
        request(machine, "vm1", 200 * PLEAT_MIB);
        pleat_machine_run_for(machine, 40 * MILLISECOND);
        ask_everything(machine);
        request(machine, "vm0", 0);
        request(machine, "vm1", 0);
        pleat_machine_run_for(machine, 40 * MILLISECOND);
        ask_everything(machine);
    }
    struct pleat_workload_info info;
    pleat_machine_workload_info(machine, &info);
    assert_true(info.operations > 1000);
    assert_true(atomic_load(&heard.events[PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE]) > 0);
    whole_machine_end(machine);
}

static void a_guest_is_reset_restarted_and_paused_under_way(void **state)
{
    (void)state;
    static struct heard heard;
    struct pleat_machine *machine =
        start(TWO_NODES "-workload synthetic,fill=40%,unmovable=0%,reclaimable=0%,speed=max", &heard);

    request(machine, "vm0", 128 * PLEAT_MIB);
    request(machine, "vm1", 64 * PLEAT_MIB);
    pleat_machine_run_for(machine, 20 * MILLISECOND);
    assert_int_equal(pleat_machine_guest_restart(machine, NULL), PLEAT_OK);
    pleat_machine_run_for(machine, 20 * MILLISECOND);
    pleat_machine_pause(machine);
    const uint64_t paused_bytes = size_of(machine, "vm0");
    request(machine, "vm0", paused_bytes ? 0 : 256 * PLEAT_MIB);
    pleat_machine_run_for(machine, 20 * MILLISECOND);
    ask_everything(machine);
    assert_int_equal(size_of(machine, "vm0"), paused_bytes);
    request(machine, "vm0", 128 * PLEAT_MIB);
    pleat_machine_continue(machine);
    assert_int_equal(pleat_machine_system_reset(machine, NULL), PLEAT_OK);
    assert_int_equal(pleat_machine_run_until(machine, whole_machine_is_settled, machine, 60000 * MILLISECOND),
                     PLEAT_OK);
    assert_int_equal(size_of(machine, "vm0"), 128 * PLEAT_MIB);
    assert_int_equal(size_of(machine, "vm1"), 64 * PLEAT_MIB);
    assert_int_equal(atomic_load(&heard.events[PLEAT_EVENT_RESET]), 2);
    whole_machine_end(machine);
}

/* A driver that waits after a fault is settled as well: it tries again when its pause is over. */
static bool vm0_is_empty(void *context)
{
    return whole_machine_is_settled(context) && !size_of(context, "vm0");
}

static void faults_come_and_go_under_way(void **state)
{
    (void)state;
    static struct heard heard;
    struct pleat_machine *machine = start(
        TWO_NODES "-workload synthetic,fill=60%,unmovable=0%,reclaimable=0%,rate=200000 "
                  "-fault migrate-fails:every=5 -fault isolate-fails:every=7 -fault device-busy:every=3 "
                  "-fault guest-touches-unplugged:every=2",
        &heard);

    for (unsigned turn = 0; turn < 3; turn++) {
        request(machine, "vm0", 192 * PLEAT_MIB);
        pleat_machine_run_for(machine, 60 * MILLISECOND);
        request(machine, "vm0", 0);
        pleat_machine_run_for(machine, 60 * MILLISECOND);
    }
    assert_int_equal(pleat_machine_fault_delete(machine, "device-busy", NULL), PLEAT_OK);
    assert_int_equal(pleat_machine_fault_delete(machine, "migrate-fails", NULL), PLEAT_OK);
    assert_int_equal(pleat_machine_fault_delete(machine, "isolate-fails", NULL), PLEAT_OK);
    assert_int_equal(pleat_machine_run_until(machine, vm0_is_empty, machine, 60000 * MILLISECOND), PLEAT_OK);
    whole_machine_end(machine);
}

static void a_balloon_works_while_all_CPUs_do(void **state)
{
    (void)state;
    static struct heard heard;
    struct pleat_machine *machine =
        start("-M xenpvh -m 256M,maxmem=512M -smp 3 "
              "-workload synthetic,fill=40%,unmovable=2%,reclaimable=2%,speed=max "
              "-fault xen-populate-partial:every=3 -fault xen-hypercall-fails:every=5",
              &heard);
    struct pleat_balloon_info info;

    for (unsigned turn = 0; turn < 4; turn++) {
        assert_int_equal(pleat_machine_balloon(machine, (turn % 2 ? 180 : 400) * PLEAT_MIB, NULL), PLEAT_OK);
        pleat_machine_run_for(machine, 60 * MILLISECOND);
        assert_int_equal(pleat_machine_balloon_info(machine, &info, NULL), PLEAT_OK);
        (void)pleat_machine_guest_exchange(machine, 20, NULL); /* a fault may meet it */
    }
    assert_int_equal(pleat_machine_fault_delete(machine, "xen-hypercall-fails", NULL), PLEAT_OK);
    assert_int_equal(pleat_machine_guest_exchange(machine, 100, NULL), PLEAT_OK);
    assert_int_equal(pleat_machine_system_reset(machine, NULL), PLEAT_OK);
    assert_int_equal(pleat_machine_balloon(machine, 300 * PLEAT_MIB, NULL), PLEAT_OK);
    assert_int_equal(pleat_machine_run_until(machine, whole_machine_is_settled, machine, 60000 * MILLISECOND),
                     PLEAT_OK);
    assert_int_equal(pleat_machine_balloon_info(machine, &info, NULL), PLEAT_OK);
    assert_int_equal(info.leaked_frames, 0);
    assert_true(atomic_load(&heard.events[PLEAT_EVENT_BALLOON_CHANGE]) > 0);
    whole_machine_end(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_moves_while_all_CPUs_work),
        cmocka_unit_test(a_guest_is_reset_restarted_and_paused_under_way),
        cmocka_unit_test(faults_come_and_go_under_way),
        cmocka_unit_test(a_balloon_works_while_all_CPUs_do),
    };
    return cmocka_run_group_tests_name("machine concurrency", tests, NULL, NULL);
}
