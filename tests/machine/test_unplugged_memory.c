/* SPDX-License-Identifier: MIT
 *
 * Proves that a guest which grows and shrinks keeps away from what isn't plugged. Such memory is inaccessible
 * in the machine, and a touch of it by the core, the driver or the workload is caught and named; a buffer in
 * it that the driver gives to the device would cost the request its answer. The driver has accepted
 * UNPLUGGED_INACCESSIBLE here; what it does depends on that nowhere, so this is also how it behaves without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "machine/layout.h"
#include "tests/support/random.h"
#include "tests/support/whole_machine.h"

#define SECOND UINT64_C(1000000000)
enum { TURNS = 16 };

static unsigned touches;

static void hear_line(void *context, uint64_t time_ns, int level, const char *source, const char *line)
{
    (void)context;
    (void)time_ns;
    (void)level;
    (void)source;
    touches += strstr(line, "isn't mapped") != NULL;
}

static void V_OP1_V_OP2_V_OP3_V_OP4_V_OP5_unplugged_memory_is_neither_touched_nor_told(void **state)
{
    (void)state;
    const struct pleat_machine_listener listener = {.log = hear_line};
    struct pleat_machine *machine =
        whole_machine_start("-m 256M,maxmem=4G -smp 2 -seed 1 "
                            "-object memory-backend-memfd,id=mem0,size=1G "
                            "-device virtio-mem-pci,id=vm0,memdev=mem0 "
                            "-workload synthetic,fill=50%,unmovable=2%,rate=50000",
                            &listener);
    struct pleat_workload_info workload;
    struct pleat_driver_info driver;
    struct pleat_message message = {{0}};
    struct test_random random;

    test_random_seed(&random, 1);
    touches = 0;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        const uint64_t bytes = test_random_below(&random, 257) * 2 * PLEAT_MIB;

        assert_int_equal(pleat_machine_set_requested_bytes(machine, "vm0", bytes, &message), PLEAT_OK);
        pleat_machine_run_until(machine, whole_machine_is_settled, machine, SECOND);
        pleat_machine_run_for(machine, SECOND / 8);
    }
    pleat_machine_workload_info(machine, &workload);
    assert_int_equal(pleat_machine_driver_info(machine, "vm0", &driver, &message), PLEAT_OK);
    assert_true(workload.migrated_frames > 0);
    assert_int_equal(touches, 0);
    assert_true(driver.requests > TURNS);
    assert_int_equal(driver.timeouts, 0);
    assert_int_equal(driver.resets, 0);
    whole_machine_end(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(V_OP1_V_OP2_V_OP3_V_OP4_V_OP5_unplugged_memory_is_neither_touched_nor_told),
    };
    return cmocka_run_group_tests_name("unplugged memory", tests, NULL, NULL);
}
