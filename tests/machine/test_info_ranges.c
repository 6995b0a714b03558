/* SPDX-License-Identifier: MIT
 *
 * `info ranges` where a guest has more than a virtio-mem device's blocks: ranges that are forced online
 * without memory, ranges that a policy left offline, and unpopulated frames.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include <pleat/unpopulated.h>

#include "machine/machine_parts.h"
#include "machine/monitor_control.h"
#include "machine/monitor_hmp.h"
#include "tests/support/whole_machine.h"

#define BLOCK  32768u
#define WINDOW UINT64_C(0x100000) /* PFN of vm0's region: 4 GiB */

static void give_nothing(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames,
                         struct pleat_online *online)
{
    (void)pleat;
    (void)context;
    (void)start_pfn;
    (void)frames;
    (void)online;
}

static void add(struct pleat *core, const char *name, uint64_t start_pfn, bool forced)
{
    static const struct pleat_range_ops ops = {.online_frames = give_nothing};
    const struct pleat_range_config range = {.name = name,
                                             .owner = name,
                                             .ops = forced ? &ops : NULL,
                                             .start_pfn = start_pfn,
                                             .frames = BLOCK,
                                             .memmap_mode = PLEAT_MEMMAP_NORMAL,
                                             .flags = forced ? PLEAT_ADD_FORCE_ONLINE : 0,
                                             .force_zone = PLEAT_ZONE_PREFER_MOVABLE};

    assert_int_equal(pleat_add(core, &range), 0);
}

static void has_line(const char *output, const char *line)
{
    const char *found = strstr(output, line);

    if (!found || found[strlen(line)] != '\n')
        fail_msg("no line \"%s\" in\n%s", line, output);
}

static void each_range_says_whose_it_is_and_how_it_goes_online(void **state)
{
    static const struct pleat_unpopulated_range named = {.start_pfn = 8 * WINDOW, .frames = 2 * BLOCK};
    const struct pleat_unpopulated_config config = {.ranges = &named, .range_count = 1};
    struct pleat_machine *machine =
        whole_machine_start("-m 512M,maxmem=4G -seed 1 -object memory-backend-memfd,id=mem0,size=1G "
                            "-device virtio-mem-pci,id=vm0,memdev=mem0",
                            NULL);
    struct pleat *core = pleat_guest_core(machine->guest);
    struct pleat_control control = {.machine = machine};
    struct pleat_hmp_output output = {.text = {0}};
    struct pleat_message message = {{0}};
    uint64_t pfns[3];

    (void)state;
    pleat_hosted_cpu_set(0);
    assert_int_equal(pleat_set_policy(core, PLEAT_POLICY_OFFLINE, 0), 0);
    add(core, "balloon", WINDOW, true);
    add(core, "others", WINDOW + 2 * BLOCK, false);
    assert_int_equal(pleat_unpopulated_init(core, &config), 0);
    assert_int_equal(pleat_alloc_unpopulated(core, 3, pfns, PLEAT_NO_TAG), 0);
    assert_int_equal(pleat_hmp_run(&control, "info ranges", &output, &message), 0);
    has_line(pleat_text_string(&output.text), "  100000000-107ffffff : balloon");
    has_line(pleat_text_string(&output.text), "800000000-807ffffff : unpopulated");
    has_line(pleat_text_string(&output.text),
             "  address    node    size  populated  withheld  memmap  go online  under          owner");
    has_line(
        pleat_text_string(&output.text),
        "  100000000     0    128M          0      128M  boot    by owner   force PreferMovable  balloon");
    has_line(pleat_text_string(&output.text),
             "  110000000     0    128M          0         0  boot    together   policy         others");
    has_line(pleat_text_string(&output.text),
             "  800000000     -    128M          0         0  boot    never   "
             "   -              unpopulated, 3 in use");
    pleat_text_free(&output.text);
    whole_machine_end(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_range_says_whose_it_is_and_how_it_goes_online),
    };
    return cmocka_run_group_tests_name("info ranges", tests, NULL, NULL);
}
