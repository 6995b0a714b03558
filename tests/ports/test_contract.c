/* SPDX-License-Identifier: MIT
 *
 * The hosted port keeps the contract of <pleat/port.h>, in each of its forms; and the contract's checks find
 * ports that break it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <pleat/error.h>
#include <pleat/hosted.h>

/* Compiled into this program, against the inline functions at hand. */
#include "contract.c" /* NOLINT(bugprone-suspicious-include) */

/* --- What the checks can't do by themselves ------------------------------------------------------------- */

static sigjmp_buf after_touch;
static char last_line[128];

static void touched(void *context, const struct pleat_hosted_touch *touch)
{
    (void)context;
    (void)touch;
    siglongjmp(after_touch, 1);
}

static bool touch_byte(void *context, volatile unsigned char *byte, bool write)
{
    (void)context;
    /* The test framework has put its own handler on top. */
    pleat_hosted_guard();
    if (sigsetjmp(after_touch, 1))
        return false;
    if (write)
        *byte = 1;
    else
        (void)*byte;
    return true;
}

static void hear(void *context, enum pleat_log_level level, const char *line)
{
    (void)context;
    (void)level;
    snprintf(last_line, sizeof(last_line), "%s", line);
}

static const char *heard(void *context)
{
    (void)context;
    return last_line[0] ? last_line : NULL;
}

static const unsigned four_cpus = 4;

static void on_four_cpus(void *context, void (*run)(void *argument, unsigned cpu), void *argument)
{
    (void)context;
    assert_int_equal(pleat_hosted_run_cpus(four_cpus, run, argument), PLEAT_OK);
}

static struct contract contract_of(const struct pleat_port *port, unsigned frame_shift)
{
    return (struct contract){
        .port = port,
        .frame_shift = frame_shift,
        .start_pfn = 0x40,
        .frames = 24,
        .cpus = four_cpus,
        .on_all_cpus = on_four_cpus,
        .touch = touch_byte,
        .last_line = heard,
    };
}

/** Runs all checks; the first broken promise fails the test. */
static void keeps(const struct contract *contract)
{
    last_line[0] = 0;
    for (const struct contract_check *check = contract_checks; check->name; check++) {
        const char *broken = check->check(contract);
        if (broken)
            fail_msg("%s: %s", check->name, broken);
    }
}

/** Returns the name of the first check that finds something, or NULL. */
static const char *breaks(const struct contract *contract)
{
    for (const struct contract_check *check = contract_checks; check->name; check++) {
        if (check->check(contract))
            return check->name;
    }
    return NULL;
}

static struct pleat_hosted *create(struct pleat_hosted_config config)
{
    struct pleat_hosted *hosted;
    config.frames = 0x80;
    config.touched = touched;
    config.log = hear;
    assert_int_equal(pleat_hosted_create(&hosted, &config), PLEAT_OK);
    return hosted;
}

/* --- The hosted port ------------------------------------------------------------------------------------ */

static void hosted_port_over_its_own_memory_keeps_the_contract(void **state)
{
    (void)state;
    for (unsigned shift = 12; shift <= 16; shift += 2) {
        struct pleat_hosted *hosted = create((struct pleat_hosted_config){.frame_shift = shift});
        struct contract contract = contract_of(pleat_hosted_port(hosted), shift);
        keeps(&contract);
        pleat_hosted_destroy(hosted);
    }
}

static void hosted_port_that_maps_nothing_keeps_the_contract(void **state)
{
    (void)state;
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.accessible = true});
    struct contract contract = contract_of(pleat_hosted_port(hosted), 12);
    assert_null(contract.port->map);
    keeps(&contract);
    pleat_hosted_destroy(hosted);
}

static void *callers_memory;

static int callers_map(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    return mprotect((char *)callers_memory + ((pfn - 0x20) << 12), frames << 12, PROT_READ | PROT_WRITE)
               ? PLEAT_E_NO_MEMORY
               : PLEAT_OK;
}

static void callers_unmap(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    assert_int_equal(mprotect((char *)callers_memory + ((pfn - 0x20) << 12), frames << 12, PROT_NONE), 0);
}

static void hosted_port_over_a_callers_mapping_keeps_the_contract(void **state)
{
    (void)state;
    for (int own_functions = 0; own_functions < 2; own_functions++) {
        int protection = own_functions ? PROT_NONE : PROT_READ | PROT_WRITE;
        callers_memory = mmap(NULL, 0x80 << 12, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(callers_memory, MAP_FAILED);
        struct pleat_hosted *hosted = create((struct pleat_hosted_config){
            .first_pfn = 0x20,
            .memory = callers_memory,
            .map = own_functions ? callers_map : NULL,
            .unmap = own_functions ? callers_unmap : NULL,
        });
        struct contract contract = contract_of(pleat_hosted_port(hosted), 12);
        keeps(&contract);
        pleat_hosted_destroy(hosted);
        munmap(callers_memory, 0x80 << 12);
    }
}

/* --- Ports that break it -------------------------------------------------------------------------------- */

/** A sound port, of which each test spoils one function. */
static struct pleat_hosted *sound;

static int make_sound(void **state)
{
    (void)state;
    last_line[0] = 0;
    sound = create((struct pleat_hosted_config){.fatal = PLEAT_HOSTED_FATAL_RECORDS});
    return 0;
}

static int end_sound(void **state)
{
    (void)state;
    pleat_hosted_destroy(sound);
    return 0;
}

static void *folded_pointer(void *context, uint64_t pfn)
{
    return pleat_hosted_port(context)->frame_pointer(context, pfn & ~UINT64_C(8));
}

static void contract_finds_frames_that_overlap(void **state)
{
    (void)state;
    struct pleat_port port = *pleat_hosted_port(sound);
    port.frame_pointer = folded_pointer;
    struct contract contract = contract_of(&port, 12);
    assert_string_equal(breaks(&contract), "consecutive_frames_are_consecutive");
    assert_string_equal(frames_hold_their_content(&contract), "a frame doesn't hold what was written to it");
}

static void unmap_nothing(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    (void)pfn;
    (void)frames;
}

static void contract_finds_an_unmap_that_does_nothing(void **state)
{
    (void)state;
    struct pleat_port port = *pleat_hosted_port(sound);
    port.unmap = unmap_nothing;
    struct contract contract = contract_of(&port, 12);
    assert_string_equal(breaks(&contract), "unmapped_frames_cannot_be_reached");
}

static void unmap_one_more(void *context, uint64_t pfn, uint64_t frames)
{
    pleat_hosted_port(context)->unmap(context, pfn, frames + 1);
}

static void contract_finds_an_unmap_of_too_much(void **state)
{
    (void)state;
    struct pleat_port port = *pleat_hosted_port(sound);
    port.unmap = unmap_one_more;
    struct contract contract = contract_of(&port, 12);
    assert_string_equal(breaks(&contract), "unmapped_frames_cannot_be_reached");
}

static void contract_finds_map_without_unmap(void **state)
{
    (void)state;
    struct pleat_port port = *pleat_hosted_port(sound);
    port.unmap = NULL;
    struct contract contract = contract_of(&port, 12);
    assert_string_equal(breaks(&contract), "map_and_unmap_come_together");
}

static uint64_t clock_that_goes_back(void *context)
{
    static uint64_t now = 1000000;
    (void)context;
    return now--;
}

static uint64_t clock_that_stands(void *context)
{
    (void)context;
    return 1;
}

static void contract_finds_bad_clocks(void **state)
{
    (void)state;
    struct pleat_port port = *pleat_hosted_port(sound);
    struct contract contract = contract_of(&port, 12);
    contract.on_all_cpus = NULL;
    pleat_hosted_cpu_set(0);
    port.clock_ns = clock_that_goes_back;
    assert_string_equal(breaks(&contract), "clock_never_goes_back");
    port.clock_ns = clock_that_stands;
    assert_string_equal(breaks(&contract), "clock_moves");
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
}

static const char *kept_line;

static void keep_line(void *context, enum pleat_log_level level, const char *line)
{
    (void)context;
    (void)level;
    kept_line = line;
}

static const char *read_kept_line(void *context)
{
    (void)context;
    return kept_line;
}

static void contract_finds_a_log_that_keeps_the_pointer(void **state)
{
    (void)state;
    struct pleat_port port = *pleat_hosted_port(sound);
    port.log = keep_line;
    struct contract contract = contract_of(&port, 12);
    contract.last_line = read_kept_line;
    assert_string_equal(breaks(&contract), "log_keeps_no_pointer_to_the_line");
}

/** Two CPUs with the same number: one thread stands still inside of its pin until the other has been in. */
static void same_number_twice(void *context, void (*run)(void *argument, unsigned cpu), void *argument)
{
    struct everywhere *shared = argument;
    (void)context;
    pleat_hosted_cpu_set(0);
    shared->inside[0] = true;
    run(argument, 0);
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
}

static void contract_finds_two_threads_on_one_cpu(void **state)
{
    (void)state;
    struct contract contract = contract_of(pleat_hosted_port(sound), 12);
    contract.on_all_cpus = same_number_twice;
    assert_string_equal(breaks(&contract), "pin_keeps_others_from_the_cpu");
}

static void contract_finds_a_number_beyond_the_cpus(void **state)
{
    (void)state;
    struct contract contract = contract_of(pleat_hosted_port(sound), 12);
    contract.cpus = 3;
    assert_string_equal(breaks(&contract), "cpu_number_holds_from_pin_to_unpin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosted_port_over_its_own_memory_keeps_the_contract),
        cmocka_unit_test(hosted_port_that_maps_nothing_keeps_the_contract),
        cmocka_unit_test(hosted_port_over_a_callers_mapping_keeps_the_contract),
        cmocka_unit_test_setup_teardown(contract_finds_frames_that_overlap, make_sound, end_sound),
        cmocka_unit_test_setup_teardown(contract_finds_an_unmap_that_does_nothing, make_sound, end_sound),
        cmocka_unit_test_setup_teardown(contract_finds_an_unmap_of_too_much, make_sound, end_sound),
        cmocka_unit_test_setup_teardown(contract_finds_map_without_unmap, make_sound, end_sound),
        cmocka_unit_test_setup_teardown(contract_finds_bad_clocks, make_sound, end_sound),
        cmocka_unit_test_setup_teardown(contract_finds_a_log_that_keeps_the_pointer, make_sound, end_sound),
        cmocka_unit_test_setup_teardown(contract_finds_two_threads_on_one_cpu, make_sound, end_sound),
        cmocka_unit_test_setup_teardown(contract_finds_a_number_beyond_the_cpus, make_sound, end_sound),
    };
    return cmocka_run_group_tests_name("contract of the hosted port", tests, NULL, NULL);
}
