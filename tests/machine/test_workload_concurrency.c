/* SPDX-License-Identifier: MIT
 *
 * A CPU of the workload at work while another thread reclaims its frames: none gets lost between the two.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>

#include "machine/workload.h"

#define FRAMES 4096u
#define SLOTS  4u
#define ROUNDS 100000u

struct lab {
    struct pleat core;
    struct pleat_workload *workload;
    atomic_bool is_over;
};

static void *reclaim(void *context)
{
    struct lab *lab = context;

    pleat_hosted_cpu_set(1);
    while (!atomic_load(&lab->is_over))
        pleat_workload_reclaim(lab->workload, SLOTS);
    return NULL;
}

/* What is reclaimed is gone for the CPU that held it: it fills the slot anew while the other is still at it.
 */
static void a_slot_is_filled_anew_while_it_is_reclaimed(void **state)
{
    static struct lab lab;
    struct pleat_hosted *hosted;
    struct pleat_clock clock;
    struct pleat_operations operations = {.count = 0};
    struct pleat_message message = {{0}};
    const struct pleat_hosted_config memory = {.frames = FRAMES, .accessible = true};
    const struct pleat_boot_span span = {0, FRAMES, 0, PLEAT_BOOT_FREE};
    pthread_t thread;
    uint64_t held;

    (void)state;
    assert_int_equal(pleat_hosted_create(&hosted, &memory), PLEAT_OK);
    const struct pleat_config config = {
        .port = pleat_hosted_port(hosted), .cpus = 2, .highest_pfn = FRAMES, .block_pageblocks = 4};
    pleat_hosted_cpu_set(0);
    assert_int_equal(pleat_init(&lab.core, &config, &span, 1), PLEAT_OK);
    const uint64_t used_before = pleat_online_frames(&lab.core) - pleat_free_frames(&lab.core);
    for (uint32_t i = 0; i < 2 * SLOTS; i++) {
        const struct pleat_operation operation = {
            .slot = i / 2, .flags = PLEAT_RECLAIMABLE, .is_free = i % 2 == 1};
        assert_int_equal(pleat_operations_append(&operations, &operation, i), PLEAT_OK);
    }
    pleat_clock_start(&clock, true);
    struct pleat_faults *faults = pleat_faults_create();
    const struct pleat_workload_setup setup = {.core = &lab.core,
                                               .memory = pleat_hosted_pointer(hosted, 0),
                                               .cpus = 1,
                                               .frames = FRAMES,
                                               .name = "test",
                                               .repeat = true,
                                               .clock = &clock,
                                               .faults = faults,
                                               .operations = &operations};
    assert_int_equal(pleat_workload_create(&setup, &lab.workload, &message), PLEAT_OK);
    assert_int_equal(pthread_create(&thread, NULL, reclaim, &lab), 0);
    for (unsigned i = 0; i < ROUNDS; i++)
        pleat_workload_run(lab.workload, 0, 16);
    atomic_store(&lab.is_over, true);
    pthread_join(thread, NULL);
    if (pleat_workload_check(lab.workload, &held, &message))
        fail_msg("%s", message.text);
    pleat_drain(&lab.core);
    assert_int_equal(pleat_online_frames(&lab.core) - pleat_free_frames(&lab.core) - used_before, held);
    pleat_workload_destroy(lab.workload);
    pleat_operations_free(&operations);
    pleat_faults_destroy(faults);
    pleat_hosted_destroy(hosted);
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_slot_is_filled_anew_while_it_is_reclaimed)};

    return cmocka_run_group_tests_name("workload concurrency", tests, NULL, NULL);
}
