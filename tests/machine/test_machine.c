/* SPDX-License-Identifier: MIT
 *
 * Proves the machine as a whole: what it shows after boot, that requests are followed or refused in QEMU's
 * words, resets and restarts, devices that come and go, every fault, and that the same seed gives the same
 * run. All of it deterministic, on one thread.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "machine/layout.h"
#include "tests/support/whole_machine.h"

#define SECOND UINT64_C(1000000000)

struct heard {
    char lines[65536];
    size_t used;
    unsigned events[PLEAT_EVENT_KINDS];
    uint64_t last_bytes;
    char last_path[PLEAT_MACHINE_PATH_BYTES], last_reason[256];
};

static void hear_event(void *context, const struct pleat_machine_event *event)
{
    struct heard *heard = context;

    heard->events[event->kind]++;
    heard->last_bytes = event->bytes;
    memcpy(heard->last_path, event->path, sizeof heard->last_path);
    snprintf(heard->last_reason, sizeof heard->last_reason, "%s", event->reason);
}

static void hear_line(void *context, uint64_t time_ns, int level, const char *source, const char *line)
{
    struct heard *heard = context;

    if (level <= PLEAT_LOG_DEBUG && heard->used < sizeof heard->lines - 1) {
        const int length = snprintf(heard->lines + heard->used, sizeof heard->lines - heard->used,
                                    "%" PRIu64 " %s: %s\n", time_ns, source, line);
        heard->used += length > 0 ? (size_t)length : 0;
    }
}

/* One machine at a time. */
static struct heard heard;

static void settle(struct pleat_machine *machine)
{
    assert_int_equal(pleat_machine_run_until(machine, whole_machine_is_settled, machine, 60 * SECOND),
                     PLEAT_OK);
}

static struct pleat_machine *start(const char *line)
{
    const struct pleat_machine_listener listener = {hear_event, hear_line, &heard};

    memset(&heard, 0, sizeof heard);
    struct pleat_machine *machine = whole_machine_start(line, &listener);
    settle(machine);
    return machine;
}

/* Ends a machine whose frames must all be there and whole. */
static void finish(struct pleat_machine *machine)
{
    whole_machine_end(machine);
    assert_int_equal(heard.events[PLEAT_EVENT_SHUTDOWN], 1);
}

static void request(struct pleat_machine *machine, const char *id, uint64_t bytes)
{
    struct pleat_message message = {{0}};

    if (pleat_machine_set_requested_bytes(machine, id, bytes, &message))
        fail_msg("%s", message.text);
}

static uint64_t size_of(struct pleat_machine *machine, const char *id)
{
    struct pleat_memory_device_info info;
    struct pleat_message message = {{0}};

    if (pleat_machine_memory_device(machine, id, &info, &message))
        fail_msg("%s", message.text);
    return info.size_bytes;
}

static struct pleat_driver_info driver_of(struct pleat_machine *machine, const char *id)
{
    struct pleat_driver_info info;

    assert_int_equal(pleat_machine_driver_info(machine, id, &info, NULL), PLEAT_OK);
    return info;
}

static void expect_line(const char *text)
{
    if (!strstr(heard.lines, text))
        fail_msg("no '%s' in:\n%s", text, heard.lines);
}

#define SMALL                                                                                                \
    "-m 256M,maxmem=4G -smp 2 -seed 1 -object memory-backend-memfd,id=mem0,size=1G "                         \
    "-device virtio-mem-pci,id=vm0,memdev=mem0"
#define BUSY " -workload synthetic,fill=30%,unmovable=2%,rate=100000"
/* Nothing that couldn't be moved. */
#define MOVING " -workload synthetic,fill=50%,unmovable=0%,reclaimable=0%,rate=20000"

static const char golden[] =
    "-m 4G,maxmem=20G -smp sockets=2,cores=2 -numa node,nodeid=0,cpus=0-1 -numa node,nodeid=1,cpus=2-3 "
    "-object memory-backend-ram,id=mem0,size=8G "
    "-device virtio-mem-pci,id=vm0,memdev=mem0,node=0,requested-size=128M "
    "-object memory-backend-ram,id=mem1,size=8G "
    "-device virtio-mem-pci,id=vm1,memdev=mem1,node=1,requested-size=80M -seed 1";

#define PROPERTIES_BYTES 4096u

static bool see_property(void *context, const struct pleat_property *property)
{
    char *text = context;
    const size_t used = strlen(text);

    snprintf(text + used, PROPERTIES_BYTES - used, "%s %s%s\n", property->name, property->type,
             property->writable ? " w" : "");
    return true;
}

/* ---- what it shows ---- */

static void the_golden_machine_shows_what_QEMU_showed(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(golden);
    struct pleat_memory_device_info devices[4];
    struct pleat_memory_size_summary summary;
    struct pleat_node_info node;

    assert_int_equal(pleat_machine_memory_devices(machine, devices, 4), 2);
    assert_string_equal(devices[0].id, "vm0");
    assert_int_equal(devices[0].memaddr, 0x140000000);
    assert_int_equal(devices[0].node, 0);
    assert_int_equal(devices[0].requested_bytes, 134217728);
    assert_int_equal(devices[0].size_bytes, 134217728);
    assert_int_equal(devices[0].max_bytes, 8589934592);
    assert_int_equal(devices[0].block_bytes, 2097152);
    assert_string_equal(devices[0].memdev, "/objects/mem0");
    assert_string_equal(devices[1].id, "vm1");
    assert_int_equal(devices[1].memaddr, 0x340000000);
    assert_int_equal(devices[1].node, 1);
    assert_int_equal(devices[1].size_bytes, 83886080);
    assert_int_equal(pleat_machine_memory_devices(machine, devices, 1), 2);

    pleat_machine_memory_size_summary(machine, &summary);
    assert_int_equal(summary.base_bytes, 4 * PLEAT_GIB);
    assert_int_equal(summary.plugged_bytes, 134217728 + 83886080);
    assert_int_equal(pleat_machine_node_count(machine), 2);
    assert_int_equal(pleat_machine_node_info(machine, 1, &node), PLEAT_OK);
    assert_int_equal(node.cpu_count, 2);
    assert_int_equal(node.cpus[0], 2);
    assert_int_equal(node.size_bytes, 2 * PLEAT_GIB + 83886080);
    assert_int_equal(node.plugged_bytes, 83886080);
    assert_int_equal(pleat_machine_node_info(machine, 2, &node), PLEAT_E_NOT_FOUND);
    finish(machine);
}

struct seen {
    unsigned blocks, online, partly;
    unsigned ranges;
    char text[4096];
};

static bool see_block(void *context, const struct pleat_machine_block *block)
{
    struct seen *seen = context;

    assert_int_equal(block->number, seen->blocks++);
    seen->online += block->info.state == PLEAT_BLOCK_ONLINE;
    seen->partly += block->device[0] && block->plugged_frames && block->plugged_frames < block->info.frames;
    return true;
}

static bool see_range(void *context, const struct pleat_machine_range *range)
{
    struct seen *seen = context;
    const size_t used = strlen(seen->text);

    snprintf(seen->text + used, sizeof seen->text - used, "%*s%08" PRIx64 "-%08" PRIx64 " : %s\n",
             (int)range->depth * 2, "", range->start, range->end, range->name);
    return true;
}

static void blocks_zones_and_ranges_are_shown(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(golden);
    struct pleat_zone_info zones[8];
    struct seen seen = {0};

    pleat_machine_blocks(machine, see_block, &seen);
    assert_int_equal(seen.blocks, 0x540000000 / PLEAT_LAYOUT_BLOCK_BYTES);
    assert_int_equal(seen.online, 24 + 8 + 1 + 1); /* 3 GiB, 1 GiB, 128 MiB, 80 MiB */
    assert_int_equal(seen.partly, 1);

    const unsigned count = pleat_machine_zones(machine, zones, 8);
    assert_int_equal(count, 5);
    assert_string_equal(pleat_machine_zone_name(zones[0].kind), "DMA");
    assert_int_equal(zones[count - 1].node, 1);
    assert_string_equal(pleat_machine_zone_name(zones[count - 1].kind), "Normal");

    pleat_machine_ranges(machine, see_range, &seen);
    assert_string_equal(seen.text, "00000000-0009fbff : System RAM\n"
                                   "0009fc00-0009ffff : Reserved\n"
                                   "000f0000-000fffff : Reserved\n"
                                   "00100000-bffdffff : System RAM\n"
                                   "  01000000-027fffff : Kernel image\n"
                                   "bffe0000-bfffffff : Reserved\n"
                                   "100000000-13fffffff : System RAM\n"
                                   "140000000-33fffffff : vm0\n"
                                   "  140000000-147ffffff : System RAM (vm0)\n"
                                   "340000000-53fffffff : vm1\n"
                                   "  340000000-347ffffff : System RAM (vm1)\n");
    finish(machine);
}

/* ---- sizes ---- */

static void sizes_follow_requests_and_tell_it(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);

    request(machine, "vm0", 512 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 512 * PLEAT_MIB);
    assert_true(heard.events[PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE] > 0);
    assert_string_equal(heard.last_path, "/machine/peripheral/vm0");
    assert_int_equal(heard.events[PLEAT_EVENT_DRIVER], 2);
    request(machine, "/machine/peripheral/vm0", 0);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 0);
    assert_int_equal(heard.last_bytes, 0);
    finish(machine);
}

static void sizes_that_cannot_be_are_refused_in_the_words_of_QEMU(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);
    struct pleat_message message;

    assert_int_equal(pleat_machine_set_requested_bytes(machine, "vm0", PLEAT_MIB, &message), PLEAT_E_INVALID);
    assert_string_equal(message.text, "'requested-size' has to be multiples of 'block-size' (0x200000)");
    assert_int_equal(pleat_machine_set_requested_bytes(machine, "vm0", 2 * PLEAT_GIB, &message),
                     PLEAT_E_INVALID);
    assert_string_equal(message.text, "'requested-size' cannot exceed the memory backend size(0x40000000)");
    assert_int_equal(pleat_machine_set_requested_bytes(machine, "vm9", 0, &message), PLEAT_E_NOT_FOUND);
    assert_string_equal(message.text, "Device 'vm9' not found");
    assert_int_equal(size_of(machine, "vm0"), 0);
    finish(machine);
}

static void a_busy_guest_grows_and_shrinks_with_all_frames_whole(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL BUSY);
    struct pleat_workload_info info;

    for (unsigned turn = 0; turn < 3; turn++) {
        request(machine, "vm0", 512 * PLEAT_MIB);
        settle(machine);
        pleat_machine_run_for(machine, SECOND);
        request(machine, "vm0", 64 * PLEAT_MIB);
        settle(machine);
        pleat_machine_run_for(machine, SECOND / 4);
    }
    pleat_machine_workload_info(machine, &info);
    assert_true(info.operations > 100000);
    assert_true(info.migrated_frames > 0);
    assert_int_equal(info.stamps_wrong, 0);
    finish(machine);
}

static void a_shrink_that_cannot_be_met_says_whose_frames_where(void **state)
{
    (void)state;
    struct pleat_machine *machine =
        start("-m 128M,maxmem=4G -seed 1 -object memory-backend-memfd,id=mem0,size=1G "
              "-device virtio-mem-pci,id=vm0,memdev=mem0,requested-size=512M "
              "-workload synthetic,fill=95%,unmovable=60%,rate=1000000");
    pleat_machine_run_for(machine, SECOND);
    request(machine, "vm0", 0);
    settle(machine);
    const struct pleat_driver_info info = driver_of(machine, "vm0");
    assert_true(size_of(machine, "vm0") > 0);
    assert_non_null(strstr(info.reason, "unmovable, first at PFN 0x"));
    /* The workload's unmovable frames are of these two owners. */
    assert_true(strstr(info.reason, "\"kernel\"") || strstr(info.reason, "\"slab\""));
    finish(machine);
}

/* ---- the same run ---- */

static char *run_logged(const char *line, size_t *length)
{
    char path[] = "/tmp/pleat-log-XXXXXX", text[1024];
    const int fd = mkstemp(path);

    assert_true(fd >= 0);
    close(fd);
    snprintf(text, sizeof text, "%s -log %s", line, path);
    struct pleat_machine *machine = start(text);
    request(machine, "vm0", 512 * PLEAT_MIB);
    settle(machine);
    pleat_machine_run_for(machine, SECOND / 2);
    request(machine, "vm0", 0);
    settle(machine);
    pleat_machine_run_for(machine, SECOND / 2);
    finish(machine);

    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *log = calloc(1, 1 << 20);
    assert_non_null(log);
    *length = fread(log, 1, (1 << 20) - 1, file);
    fclose(file);
    unlink(path);
    return log;
}

static void the_same_seed_gives_the_same_log_byte_for_byte(void **state)
{
    (void)state;
    static const char line[] = "-m 256M,maxmem=4G -smp 3 -object memory-backend-memfd,id=mem0,size=1G "
                               "-device virtio-mem-pci,id=vm0,memdev=mem0 "
                               "-workload synthetic,fill=70%,unmovable=5%,rate=400000 "
                               "-fault device-busy:every=7 -seed 5";
    size_t lengths[2];
    char *logs[2];

    for (unsigned i = 0; i < 2; i++)
        logs[i] = run_logged(line, &lengths[i]);
    assert_true(lengths[0] > 1000);
    assert_int_equal(lengths[0], lengths[1]);
    assert_memory_equal(logs[0], logs[1], lengths[0]);
    free(logs[1]);

    char other[sizeof line];
    memcpy(other, line, sizeof line);
    other[sizeof line - 2] = '6';
    logs[1] = run_logged(other, &lengths[1]);
    assert_string_not_equal(logs[0], logs[1]);
    free(logs[0]);
    free(logs[1]);
}

/* ---- reset, restart, pause ---- */

static void a_system_reset_unplugs_and_plugs_what_is_requested(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL BUSY);
    struct pleat_message message = {{0}};

    request(machine, "vm0", 256 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(pleat_machine_system_reset(machine, &message), PLEAT_OK);
    assert_int_equal(heard.events[PLEAT_EVENT_RESET], 1);
    assert_int_equal(size_of(machine, "vm0"), 0);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 256 * PLEAT_MIB);
    pleat_machine_run_for(machine, SECOND / 4);
    finish(machine);
}

static void a_restarted_guest_adopts_what_is_plugged(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL MOVING);
    struct pleat_message message = {{0}};

    request(machine, "vm0", 300 * PLEAT_MIB);
    settle(machine);
    const unsigned changes = heard.events[PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE];
    assert_int_equal(pleat_machine_guest_restart(machine, &message), PLEAT_OK);
    assert_string_equal(heard.last_reason, "guest-reset");
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 300 * PLEAT_MIB);
    assert_int_equal(heard.events[PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE], changes);
    expect_line("vm0: STATE 0x");
    const struct pleat_driver_info info = driver_of(machine, "vm0");
    assert_int_equal(info.added_bytes, 384 * PLEAT_MIB);
    /* And it can give it back. */
    request(machine, "vm0", 0);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 0);
    finish(machine);
}

static void without_reboot_a_reset_ends_the_machine(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL " -no-reboot");
    struct pleat_message message = {{0}};

    assert_int_equal(pleat_machine_system_reset(machine, &message), PLEAT_OK);
    assert_int_equal(heard.events[PLEAT_EVENT_SHUTDOWN], 1);
    assert_string_equal(heard.last_reason, "host-qmp-system-reset");
    assert_int_equal(pleat_machine_guest_restart(machine, &message), PLEAT_E_STATE);
    assert_int_equal(pleat_machine_set_requested_bytes(machine, "vm0", 0, &message), PLEAT_OK);
    pleat_machine_destroy(machine);
}

static void a_paused_guest_does_nothing_and_its_memory_follows_later(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL BUSY " -S");
    struct pleat_workload_info info;

    assert_false(pleat_machine_is_running(machine));
    pleat_machine_run_for(machine, SECOND / 10);
    pleat_machine_workload_info(machine, &info);
    assert_int_equal(info.operations, 0);
    request(machine, "vm0", 128 * PLEAT_MIB);
    assert_true(pleat_machine_is_settled(machine));
    pleat_machine_run_for(machine, SECOND);
    assert_int_equal(size_of(machine, "vm0"), 0);
    pleat_machine_continue(machine);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 128 * PLEAT_MIB);
    pleat_machine_run_for(machine, SECOND / 10);
    pleat_machine_pause(machine);
    pleat_machine_workload_info(machine, &info);
    assert_true(info.operations > 0);
    assert_int_equal(heard.events[PLEAT_EVENT_RESUME], 1);
    assert_int_equal(heard.events[PLEAT_EVENT_STOP], 1);

    /* Asked to go while the guest can't answer: it does once it goes on. A reset stays stopped. */
    request(machine, "vm0", 0);
    pleat_machine_run_for(machine, SECOND);
    assert_int_equal(size_of(machine, "vm0"), 128 * PLEAT_MIB);
    assert_int_equal(pleat_machine_system_reset(machine, NULL), PLEAT_OK);
    assert_int_equal(size_of(machine, "vm0"), 0);
    assert_int_equal(pleat_machine_device_delete(machine, "vm0", NULL), PLEAT_OK);
    pleat_machine_run_for(machine, SECOND);
    assert_int_equal(heard.events[PLEAT_EVENT_DEVICE_DELETED], 0);
    pleat_machine_continue(machine);
    pleat_machine_run_for(machine, SECOND);
    assert_int_equal(heard.events[PLEAT_EVENT_DEVICE_DELETED], 1);
    finish(machine);
}

static bool never(void *context)
{
    (void)context;
    return false;
}

static void a_wait_ends_by_its_time_or_when_it_is_woken(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);
    const uint64_t before = pleat_machine_time_ns(machine);

    assert_int_equal(pleat_machine_run_until(machine, never, NULL, SECOND), PLEAT_E_TIMEOUT);
    assert_int_equal(pleat_machine_time_ns(machine), before + SECOND);
    pleat_machine_wake(machine);
    assert_int_equal(pleat_machine_run_until(machine, never, NULL, SECOND), PLEAT_E_CANCELLED);
    finish(machine);
}

/* ---- devices and objects that come and go ---- */

static void a_device_is_added_used_and_deleted(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);
    struct pleat_message message = {{0}};
    struct pleat_memory_device_info info;

    assert_int_equal(pleat_machine_object_add(machine, "memory-backend-ram,id=mem1,size=512M", &message),
                     PLEAT_OK);
    assert_int_equal(
        pleat_machine_device_add(machine, "virtio-mem-pci,id=vm1,memdev=mem1,requested-size=130M", &message),
        PLEAT_OK);
    settle(machine);
    assert_int_equal(pleat_machine_memory_device(machine, "vm1", &info, &message), PLEAT_OK);
    assert_int_equal(info.memaddr, 0x140000000);
    assert_int_equal(info.size_bytes, 130 * PLEAT_MIB);

    assert_int_equal(pleat_machine_object_delete(machine, "mem1", &message), PLEAT_E_INVALID);
    assert_string_equal(message.text, "object 'mem1' is in use, can not be deleted");
    assert_int_equal(pleat_machine_device_delete(machine, "vm1", &message), PLEAT_E_INVALID);
    assert_string_equal(message.text,
                        "virtio-mem device cannot get unplugged while some of its memory is still plugged");
    request(machine, "vm1", 0);
    settle(machine);
    assert_int_equal(pleat_machine_device_delete(machine, "vm1", &message), PLEAT_OK);
    assert_int_equal(pleat_machine_device_delete(machine, "vm1", &message), PLEAT_E_STATE);
    assert_string_equal(message.text, "Device vm1 is already in the process of unplug");
    settle(machine);
    assert_int_equal(heard.events[PLEAT_EVENT_DEVICE_DELETED], 1);
    assert_string_equal(heard.last_path, "/machine/peripheral/vm1");
    assert_int_equal(pleat_machine_device_delete(machine, "vm1", &message), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_machine_object_delete(machine, "mem1", &message), PLEAT_OK);
    assert_int_equal(pleat_machine_object_delete(machine, "mem1", &message), PLEAT_E_INVALID);
    assert_string_equal(message.text, "object 'mem1' not found");
    finish(machine);
}

static void a_device_without_an_id_has_a_path_by_its_number(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);
    struct pleat_message message = {{0}};
    struct pleat_memory_device_info info;
    struct pleat_property_value value;
    static const char path[] = "/machine/peripheral-anon/device[0]";
    char text[256] = "";

    assert_int_equal(pleat_machine_object_add(machine, "memory-backend-ram,id=m1,size=512M", &message),
                     PLEAT_OK);
    assert_int_equal(
        pleat_machine_device_add(machine, "virtio-mem-pci,memdev=m1,requested-size=128M", &message),
        PLEAT_OK);
    settle(machine);
    assert_string_equal(heard.last_path, path);
    assert_int_equal(pleat_machine_memory_device(machine, path, &info, &message), PLEAT_OK);
    assert_string_equal(info.id, "");
    assert_string_equal(info.path, path);
    assert_int_equal(info.size_bytes, 128 * PLEAT_MIB);
    assert_true(driver_of(machine, path).bound);
    assert_int_equal(pleat_machine_property_get(machine, "device[0]", "memdev", &value, &message), PLEAT_OK);
    assert_string_equal(value.text, "/objects/m1");
    assert_int_equal(
        pleat_machine_properties(machine, "/machine/peripheral-anon", see_property, text, &message),
        PLEAT_OK);
    assert_string_equal(text, "type string\ndevice[0] child<virtio-mem-pci>\n");
    assert_int_equal(pleat_machine_property_set_text(machine, path, "requested-size", "0", &message),
                     PLEAT_OK);
    settle(machine);
    assert_int_equal(pleat_machine_device_delete(machine, path, &message), PLEAT_OK);
    settle(machine);
    assert_int_equal(heard.events[PLEAT_EVENT_DEVICE_DELETED], 1);
    assert_int_equal(pleat_machine_memory_device(machine, path, &info, &message), PLEAT_E_NOT_FOUND);
    finish(machine);
}

static void what_cannot_be_added_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);
    struct pleat_message message;
    static const struct {
        const char *text, *because;
        bool object;
    } cases[] = {
        {"memory-backend-ram,id=mem0,size=1G", "attempt to add duplicate property 'mem0'", true},
        {"memory-backend-ram,id=mem1", "Parameter 'size' is missing", true},
        {"rng-random,id=mem1", "Parameter 'qom-type' does not accept value 'rng-random'", true},
        {"memory-backend-file,id=f,size=1G,mem-path=/nowhere/x",
         "f: /nowhere/x can't be opened: No such file or directory", true},
        {"memory-backend-file,id=f,size=1G,mem-path=/dev/null", "f: /dev/null is no file", true},
        {"virtio-mem-pci,id=vm0,memdev=mem0", "Duplicate device ID 'vm0'", false},
        {"virtio-mem-pci,id=vm1,memdev=mem0", "'memdev' property specifies a busy memdev: mem0", false},
        {"virtio-mem-pci,id=vm1,memdev=mem7", "Device 'mem7' not found", false},
        {"virtio-mem-pci,id=vm1", "'memdev' property must be set", false},
        {"pc-dimm,id=d", "'pc-dimm' is not a valid device model name", false},
        {"virtio-mem-pci,id=vm1,memdev=big", "not enough space, currently 0x40000000 in use", false},
        {"virtio-mem-pci,id=vm1,memdev=f", "Device 'f' not found", false},
    };

    assert_int_equal(pleat_machine_object_add(machine, "memory-backend-ram,id=big,size=8G", &message),
                     PLEAT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        message.text[0] = '\0';
        const int error = cases[i].object ? pleat_machine_object_add(machine, cases[i].text, &message)
                                          : pleat_machine_device_add(machine, cases[i].text, &message);
        assert_true(error < 0);
        if (!strstr(message.text, cases[i].because))
            fail_msg("found '%s', expected '%s'", message.text, cases[i].because);
        assert_true(message.text[0] != '\0' && message.text[0] != '-');
    }
    assert_int_equal(pleat_machine_memory_devices(machine, NULL, 0), 1);
    finish(machine);
}

/* ---- properties ---- */

static void properties_are_listed_read_and_written(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);
    struct pleat_message message = {{0}};
    struct pleat_property_value value;
    char text[PROPERTIES_BYTES] = "";

    assert_int_equal(pleat_machine_properties(machine, "/machine/peripheral", see_property, text, &message),
                     PLEAT_OK);
    assert_string_equal(text, "type string\nvm0 child<virtio-mem-pci>\n");
    text[0] = '\0';
    assert_int_equal(pleat_machine_properties(machine, "vm0", see_property, text, &message), PLEAT_OK);
    assert_non_null(strstr(text, "size size\n"));
    assert_non_null(strstr(text, "requested-size size w\n"));
    assert_non_null(strstr(text, "memdev link<memory-backend>\n"));
    text[0] = '\0';
    assert_int_equal(pleat_machine_properties(machine, "/objects/mem0", see_property, text, &message),
                     PLEAT_OK);
    assert_non_null(strstr(text, "hugetlb bool\n"));
    assert_null(strstr(text, "mem-path"));
    assert_int_equal(pleat_machine_properties(machine, "/", see_property, text, &message), PLEAT_OK);
    assert_int_equal(
        pleat_machine_properties(machine, "/machine/peripheral/vm7", see_property, text, &message),
        PLEAT_E_NOT_FOUND);
    assert_string_equal(message.text, "Device '/machine/peripheral/vm7' not found");

    assert_int_equal(pleat_machine_property_get(machine, "vm0", "memdev", &value, &message), PLEAT_OK);
    assert_int_equal(value.kind, PLEAT_PROPERTY_LINK);
    assert_string_equal(value.text, "/objects/mem0");
    assert_int_equal(pleat_machine_property_get(machine, "/machine", "type", &value, &message), PLEAT_OK);
    assert_string_equal(value.text, "pc-i440fx-7.2-machine");
    assert_int_equal(pleat_machine_property_get(machine, "/machine/peripheral", "type", &value, &message),
                     PLEAT_OK);
    assert_string_equal(value.text, "container");
    assert_int_equal(pleat_machine_property_get(machine, "/machine/peripheral", "vm0", &value, &message),
                     PLEAT_OK);
    assert_string_equal(value.text, "/machine/peripheral/vm0");
    assert_int_equal(pleat_machine_property_get(machine, "/objects/mem0", "size", &value, &message),
                     PLEAT_OK);
    assert_int_equal(value.number, PLEAT_GIB);
    assert_int_equal(pleat_machine_property_get(machine, "vm0", "colour", &value, &message), PLEAT_E_INVALID);
    assert_string_equal(message.text, "Property 'virtio-mem-pci.colour' not found");

    assert_int_equal(pleat_machine_property_set_text(machine, "/machine/peripheral/vm0", "requested-size",
                                                     "128M", &message),
                     PLEAT_OK);
    settle(machine);
    assert_int_equal(pleat_machine_property_get(machine, "vm0", "size", &value, &message), PLEAT_OK);
    assert_int_equal(value.number, 128 * PLEAT_MIB);
    value = (struct pleat_property_value){.kind = PLEAT_PROPERTY_NUMBER, .number = 0};
    assert_int_equal(pleat_machine_property_set(machine, "vm0", "requested-size", &value, &message),
                     PLEAT_OK);

    assert_int_equal(pleat_machine_property_set_text(machine, "vm0", "requested-size", "lots", &message),
                     PLEAT_E_INVALID);
    assert_non_null(strstr(message.text, "'requested-size' expects a size"));
    assert_int_equal(pleat_machine_property_set_text(machine, "vm0", "requested-size", "3M", &message),
                     PLEAT_E_INVALID);
    assert_int_equal(pleat_machine_property_set_text(machine, "vm0", "size", "128M", &message),
                     PLEAT_E_INVALID);
    assert_string_equal(message.text, "Property 'virtio-mem.size' is not writable");
    assert_int_equal(pleat_machine_property_set_text(machine, "mem0", "size", "128M", &message),
                     PLEAT_E_INVALID);
    value = (struct pleat_property_value){.kind = PLEAT_PROPERTY_TEXT, .text = "1G"};
    assert_int_equal(pleat_machine_property_set(machine, "vm0", "requested-size", &value, &message),
                     PLEAT_E_INVALID);
    assert_non_null(strstr(message.text, "'requested-size' expects uint64"));
    finish(machine);
}

/* ---- memory blocks ---- */

static void blocks_go_offline_and_online_by_hand(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL " -policy offline");
    struct pleat_message message = {{0}};
    const uint64_t first = 0x100000000 / PLEAT_LAYOUT_BLOCK_BYTES;

    request(machine, "vm0", 256 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(pleat_machine_block_online(machine, first, PLEAT_ZONE_MOVABLE, &message), PLEAT_OK);
    assert_int_equal(pleat_machine_block_online(machine, first, PLEAT_ZONE_MOVABLE, &message), PLEAT_E_STATE);
    assert_non_null(strstr(message.text, "memory32 can't go online"));
    assert_int_equal(pleat_machine_block_offline(machine, first, &message), PLEAT_OK);
    assert_int_equal(pleat_machine_block_offline(machine, first, &message), PLEAT_E_STATE);
    assert_int_equal(pleat_machine_block_online(machine, 9999, PLEAT_ZONE_NORMAL, &message),
                     PLEAT_E_NOT_FOUND);
    assert_non_null(strstr(message.text, "no such memory block"));
    assert_int_equal(pleat_machine_block_offline(machine, UINT64_MAX, &message), PLEAT_E_NOT_FOUND);
    finish(machine);
}

static void pinned_frames_stop_a_shrink_until_they_are_unpinned(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL MOVING);
    struct pleat_message message = {{0}};

    request(machine, "vm0", 256 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(pleat_machine_guest_pin(machine, 33, 600, &message), PLEAT_OK);
    assert_int_equal(pleat_machine_guest_pin(machine, 33, 1, &message), PLEAT_E_EXISTS);
    assert_int_equal(pleat_machine_guest_pin(machine, 34, 1, &message), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_machine_guest_pin(machine, 32, 0, &message), PLEAT_E_INVALID);
    assert_int_equal(pleat_machine_guest_pin(machine, 32, 20000, &message), PLEAT_E_INVALID);
    request(machine, "vm0", 0);
    settle(machine);
    /* 600 frames from the middle of a block on touch two pieces of 2 MiB, and the first one has its memmap.
     */
    assert_int_equal(size_of(machine, "vm0"), 6 * PLEAT_MIB);
    const struct pleat_driver_info info = driver_of(machine, "vm0");
    if (!strstr(info.reason, "600 frames unmovable, first at PFN 0x10c") ||
        !strstr(info.reason, "owner \"dma\""))
        fail_msg("%s", info.reason);
    assert_int_equal(pleat_machine_guest_unpin(machine, 33, &message), PLEAT_OK);
    assert_int_equal(pleat_machine_guest_unpin(machine, 33, &message), PLEAT_E_NOT_FOUND);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 0);
    finish(machine);
}

static void a_driver_that_may_read_unplugged_memory_is_served(void **state)
{
    (void)state;
    struct pleat_machine *machine =
        start(SMALL ",unplugged-inaccessible=off -fault guest-touches-unplugged:count=1");
    struct pleat_message message = {{0}};

    request(machine, "vm0", 128 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 128 * PLEAT_MIB);
    pleat_machine_run_for(machine, SECOND);
    expect_line("vm0: unplugged memory was read");
    request(machine, "vm0", 0);
    settle(machine);
    assert_int_equal(pleat_machine_device_delete(machine, "vm0", &message), PLEAT_E_INVALID);
    assert_non_null(strstr(message.text, "'unplugged-inaccessible' != 'on'"));
    finish(machine);
}

static void a_recorded_trace_runs_and_a_picture_is_drawn(void **state)
{
    (void)state;
    char stem[] = "/tmp/pleat-picture-XXXXXX", path[64];
    struct pleat_machine *machine = start(
        "-m 1G,maxmem=4G -smp 2 -seed 1 -object memory-backend-memfd,id=mem0,size=1G "
        "-device virtio-mem-pci,id=vm0,memdev=mem0 -workload trace=traces/a-compile-short.ptr.xz,speed=4");
    struct pleat_message message = {{0}};
    struct pleat_workload_info info;

    assert_non_null(mkdtemp(stem));
    request(machine, "vm0", 512 * PLEAT_MIB);
    pleat_machine_run_for(machine, SECOND / 2);
    request(machine, "vm0", 0);
    settle(machine);
    pleat_machine_workload_info(machine, &info);
    assert_string_equal(info.name, "traces/a-compile-short.ptr.xz");
    assert_true(info.operations > 1000);
    snprintf(path, sizeof path, "%s/run", stem);
    if (pleat_machine_picture(machine, path, &message))
        fail_msg("%s", message.text);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/run.%s", stem, i ? "svg" : "png");
        assert_int_equal(unlink(path), 0);
    }
    rmdir(stem);
    finish(machine);
}

struct obstacles {
    unsigned count;
    uint64_t first_pfn;
    char owner[32];
};

static bool see_obstacle(void *context, const struct pleat_machine_obstacle *obstacle)
{
    struct obstacles *seen = context;

    if (!seen->count++) {
        seen->first_pfn = obstacle->pfn;
        memcpy(seen->owner, obstacle->owner, sizeof seen->owner);
    }
    return true;
}

static void a_block_with_unmovable_frames_says_which_whose_and_where(void **state)
{
    (void)state;
    struct pleat_machine *machine =
        start("-m 128M,maxmem=4G -seed 1 -object memory-backend-memfd,id=mem0,size=1G "
              "-device virtio-mem-pci,id=vm0,memdev=mem0,requested-size=128M "
              "-workload synthetic,fill=95%,unmovable=90%,reclaimable=0%,rate=1000000");
    struct pleat_message message = {{0}};
    struct obstacles seen = {0};
    char expected[64];

    pleat_machine_run_for(machine, SECOND);
    pleat_machine_obstacles(machine, 0x100000000, PLEAT_LAYOUT_BLOCK_BYTES, see_obstacle, &seen);
    assert_true(seen.count > 0);
    assert_string_equal(seen.owner, "kernel");
    assert_int_equal(pleat_machine_block_offline(machine, 32, &message), PLEAT_E_UNMOVABLE);
    snprintf(expected, sizeof expected, "the first at PFN 0x%" PRIx64 ", owner \"kernel\"", seen.first_pfn);
    if (!strstr(message.text, expected))
        fail_msg("found '%s', expected '%s'", message.text, expected);
    finish(machine);
}

/* ---- faults ---- */

struct wanted {
    struct pleat_machine *machine;
    uint64_t bytes;
};

static bool size_is_there(void *context)
{
    const struct wanted *wanted = context;

    return size_of(wanted->machine, "vm0") == wanted->bytes;
}

static void reach(struct pleat_machine *machine, uint64_t bytes, const char *fault)
{
    struct wanted wanted = {machine, bytes};

    request(machine, "vm0", bytes);
    if (pleat_machine_run_until(machine, size_is_there, &wanted, 200 * SECOND))
        fail_msg("%s: %" PRIu64 " of %" PRIu64 " bytes: %s", fault, size_of(machine, "vm0"), bytes,
                 driver_of(machine, "vm0").reason);
    settle(machine);
}

/* With each of these the request is met in the end. */
static void a_fault_that_ends_is_overcome(void **state)
{
    (void)state;
    static const char *const faults[] = {
        "device-busy:count=3",        "device-error:after=1,count=2", "device-silent:count=1",
        "host-out-of-memory:count=2", "host-out-of-mappings:count=3", "host-discard-fails:count=2",
        "add-refused:count=2",        "listener-refuses:count=2",     "migrate-fails:count=20",
        "isolate-fails:count=20",     "allocation-refused:every=3",   "guest-touches-unplugged:count=3",
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        char line[512];
        struct pleat_fault_info list[1];
        snprintf(line, sizeof line, "%s -fault %s", SMALL MOVING, faults[i]);
        struct pleat_machine *machine = start(line);
        reach(machine, 256 * PLEAT_MIB, faults[i]);
        pleat_machine_run_for(machine, SECOND);
        reach(machine, 0, faults[i]);
        assert_int_equal(pleat_machine_faults(machine, list, 1), 1);
        if (!list[0].hits)
            fail_msg("%s never hit", faults[i]);
        finish(machine);
    }
}

static void a_fault_of_one_device_leaves_the_other_alone(void **state)
{
    (void)state;
    struct pleat_machine *machine =
        start("-m 256M,maxmem=4G -seed 1 -object memory-backend-ram,id=mem0,size=256M "
              "-object memory-backend-ram,id=mem1,size=256M "
              "-device virtio-mem-pci,id=vm0,memdev=mem0,fault=device-nack:after=1 "
              "-device virtio-mem-pci,id=vm1,memdev=mem1");

    request(machine, "vm0", 256 * PLEAT_MIB);
    request(machine, "vm1", 256 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 128 * PLEAT_MIB);
    assert_int_equal(size_of(machine, "vm1"), 256 * PLEAT_MIB);
    finish(machine);
}

static void a_config_change_in_mid_request_is_followed(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL " -fault config-change-in-request:count=1:size=64M");

    request(machine, "vm0", 512 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 64 * PLEAT_MIB);
    finish(machine);
}

static void a_device_that_never_answers_leaves_a_guest_that_says_so(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);
    struct pleat_message message = {{0}};

    request(machine, "vm0", 128 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(pleat_machine_fault_add(machine, "device-silent:device=vm0", &message), PLEAT_OK);
    request(machine, "vm0", 256 * PLEAT_MIB);
    pleat_machine_run_for(machine, 1000 * SECOND);
    assert_int_equal(size_of(machine, "vm0"), 128 * PLEAT_MIB);
    const struct pleat_driver_info info = driver_of(machine, "vm0");
    assert_true(info.timeouts > 0);
    assert_true(info.reason[0] != '\0');
    finish(machine);
}

static void a_device_that_says_no_is_not_asked_for_ever(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);
    struct pleat_message message = {{0}};

    assert_int_equal(pleat_machine_fault_add(machine, "device-nack:count=1", &message), PLEAT_OK);
    request(machine, "vm0", 256 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(driver_of(machine, "vm0").nacks, 1);
    assert_true(driver_of(machine, "vm0").reason[0] != '\0');
    /* A change of the config is what it waits for. */
    request(machine, "vm0", 128 * PLEAT_MIB);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 128 * PLEAT_MIB);
    finish(machine);
}

static void a_guest_that_refuses_an_unplug_is_reported(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL " -fault guest-refuses-unplug:count=1");
    struct pleat_message message = {{0}};

    assert_int_equal(pleat_machine_device_delete(machine, "vm0", &message), PLEAT_OK);
    settle(machine);
    assert_int_equal(heard.events[PLEAT_EVENT_DEVICE_UNPLUG_GUEST_ERROR], 1);
    assert_int_equal(pleat_machine_device_delete(machine, "vm0", &message), PLEAT_OK);
    settle(machine);
    assert_int_equal(heard.events[PLEAT_EVENT_DEVICE_DELETED], 1);
    assert_int_equal(pleat_machine_memory_devices(machine, NULL, 0), 0);
    finish(machine);
}

static void a_touch_of_unplugged_memory_is_caught_and_named(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL " -fault guest-touches-unplugged:count=1");

    pleat_machine_run_for(machine, SECOND);
    expect_line(
        "vm0: caught: read of PFN 0x100000 (guest address 0x100000000), which isn't mapped: region of vm0");
    finish(machine);
}

static void broken_frames_make_the_run_fail(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *because;
    } cases[] = {{"frame-torn:count=1", "holds 0x"}, {"frame-lost:count=1", "frames are lost: "}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[512];
        struct pleat_message message = {{0}};
        snprintf(line, sizeof line, "%s -fault %s", SMALL BUSY, cases[i].fault);
        struct pleat_machine *machine = start(line);
        pleat_machine_run_for(machine, SECOND);
        assert_int_equal(pleat_machine_stop(machine, "host-qmp-quit", &message), PLEAT_E_PROTOCOL);
        if (!strstr(message.text, cases[i].because))
            fail_msg("found '%s'", message.text);
        assert_int_equal(heard.events[PLEAT_EVENT_GUEST_PANICKED], 1);
        pleat_machine_destroy(machine);
    }
}

static void faults_are_turned_on_and_off_while_it_runs(void **state)
{
    (void)state;
    struct pleat_machine *machine = start(SMALL);
    struct pleat_message message = {{0}};

    assert_int_equal(pleat_machine_fault_add(machine, "device-lazy", &message), PLEAT_E_INVALID);
    assert_non_null(strstr(message.text, "no such fault"));
    assert_int_equal(pleat_machine_fault_add(machine, "device-busy", &message), PLEAT_OK);
    request(machine, "vm0", 128 * PLEAT_MIB);
    pleat_machine_run_for(machine, 10 * SECOND);
    assert_int_equal(size_of(machine, "vm0"), 0);
    assert_true(driver_of(machine, "vm0").busies > 1);
    assert_int_equal(pleat_machine_fault_delete(machine, "device-busy", &message), PLEAT_OK);
    settle(machine);
    assert_int_equal(size_of(machine, "vm0"), 128 * PLEAT_MIB);
    assert_int_equal(pleat_machine_fault_delete(machine, "device-busy", &message), PLEAT_E_NOT_FOUND);
    finish(machine);
}

/* ---- what the host can't do ---- */

static void a_host_that_cannot_is_named_at_create(void **state)
{
    (void)state;
    static const char *const lines[] = {
        ("-m 1G,maxmem=8G -object memory-backend-file,id=m,size=1G,mem-path=/nowhere/x "
         "-device virtio-mem-pci,id=v,memdev=m"),
        "-m 1G -object memory-backend-file,id=m,size=1G,mem-path=/nowhere/x -numa node,memdev=m",
        "-m 1G -object memory-backend-file,id=m,size=1G,mem-path=/nowhere/x", /* and nobody uses it */
        "-m 1G -workload trace=/nowhere/x",
        "-m 1G -log /nowhere/x",
    };

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        static struct pleat_machine_config config;
        struct pleat_machine *machine;
        struct pleat_message message = {{0}};
        assert_int_equal(whole_machine_parse(lines[i], &config, &message), PLEAT_OK);
        assert_true(pleat_machine_create(&config, &machine, &message) < 0);
        assert_null(machine);
        if (!strstr(message.text, "/nowhere/x") && !strstr(message.text, "m: "))
            fail_msg("found '%s'", message.text);
    }
}

static void a_backend_of_any_kind_serves(void **state)
{
    (void)state;
    static const char *const backends[] = {
        "memory-backend-ram,id=mem0,size=512M",
        "memory-backend-ram,id=mem0,size=512M,share=on",
        "memory-backend-memfd,id=mem0,size=512M",
        "memory-backend-file,id=mem0,size=512M,mem-path=/dev/shm,share=on",
    };

    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        char line[512];
        snprintf(
            line, sizeof line,
            "-m 256M,maxmem=4G -seed 1 -object %s -device virtio-mem-pci,id=vm0,memdev=mem0,block-size=4M "
            "-object memory-backend-ram,id=boot,size=256M -numa node,memdev=boot"
            " -workload synthetic,fill=50%%,unmovable=0%%,reclaimable=0%%,rate=20000 -policy prefer_movable",
            backends[i]);
        struct pleat_machine *machine = start(line);
        request(machine, "vm0", 300 * PLEAT_MIB);
        settle(machine);
        pleat_machine_run_for(machine, SECOND / 4);
        request(machine, "vm0", 0);
        settle(machine);
        assert_int_equal(size_of(machine, "vm0"), 0);
        finish(machine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_golden_machine_shows_what_QEMU_showed),
        cmocka_unit_test(blocks_zones_and_ranges_are_shown),
        cmocka_unit_test(sizes_follow_requests_and_tell_it),
        cmocka_unit_test(sizes_that_cannot_be_are_refused_in_the_words_of_QEMU),
        cmocka_unit_test(a_busy_guest_grows_and_shrinks_with_all_frames_whole),
        cmocka_unit_test(a_shrink_that_cannot_be_met_says_whose_frames_where),
        cmocka_unit_test(the_same_seed_gives_the_same_log_byte_for_byte),
        cmocka_unit_test(a_system_reset_unplugs_and_plugs_what_is_requested),
        cmocka_unit_test(a_restarted_guest_adopts_what_is_plugged),
        cmocka_unit_test(without_reboot_a_reset_ends_the_machine),
        cmocka_unit_test(a_paused_guest_does_nothing_and_its_memory_follows_later),
        cmocka_unit_test(a_wait_ends_by_its_time_or_when_it_is_woken),
        cmocka_unit_test(a_device_is_added_used_and_deleted),
        cmocka_unit_test(a_device_without_an_id_has_a_path_by_its_number),
        cmocka_unit_test(what_cannot_be_added_is_refused_and_changes_nothing),
        cmocka_unit_test(properties_are_listed_read_and_written),
        cmocka_unit_test(blocks_go_offline_and_online_by_hand),
        cmocka_unit_test(pinned_frames_stop_a_shrink_until_they_are_unpinned),
        cmocka_unit_test(a_driver_that_may_read_unplugged_memory_is_served),
        cmocka_unit_test(a_recorded_trace_runs_and_a_picture_is_drawn),
        cmocka_unit_test(a_block_with_unmovable_frames_says_which_whose_and_where),
        cmocka_unit_test(a_fault_that_ends_is_overcome),
        cmocka_unit_test(a_fault_of_one_device_leaves_the_other_alone),
        cmocka_unit_test(a_config_change_in_mid_request_is_followed),
        cmocka_unit_test(a_device_that_never_answers_leaves_a_guest_that_says_so),
        cmocka_unit_test(a_device_that_says_no_is_not_asked_for_ever),
        cmocka_unit_test(a_guest_that_refuses_an_unplug_is_reported),
        cmocka_unit_test(a_touch_of_unplugged_memory_is_caught_and_named),
        cmocka_unit_test(broken_frames_make_the_run_fail),
        cmocka_unit_test(faults_are_turned_on_and_off_while_it_runs),
        cmocka_unit_test(a_host_that_cannot_is_named_at_create),
        cmocka_unit_test(a_backend_of_any_kind_serves),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
