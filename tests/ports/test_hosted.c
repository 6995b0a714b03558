/* SPDX-License-Identifier: MIT
 *
 * The hosted port by itself: what it offers beyond the contract, and that each kind of misuse that it can
 * see is named and ends the process. What ends the process is tried in a child.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLEAT_STRICT 1
#include "pleat_port.h"

#include <pleat/error.h>
#include <pleat/hosted.h>

#include "tests/support/child.h"

static struct pleat_hosted *create(struct pleat_hosted_config config)
{
    struct pleat_hosted *hosted;
    if (!config.frames)
        config.frames = 64;
    assert_int_equal(pleat_hosted_create(&hosted, &config), PLEAT_OK);
    return hosted;
}

static int map(struct pleat_hosted *hosted, uint64_t pfn, uint64_t frames)
{
    const struct pleat_port *port = pleat_hosted_port(hosted);
    return port->map(port->context, pfn, frames);
}

static void unmap(struct pleat_hosted *hosted, uint64_t pfn, uint64_t frames)
{
    const struct pleat_port *port = pleat_hosted_port(hosted);
    port->unmap(port->context, pfn, frames);
}

/* --- Threads as CPUs ------------------------------------------------------------------------------------ */

static void pin_twice(void)
{
    pleat_hosted_cpu_set(0);
    pleat_port_pin();
    pleat_port_pin();
}

static void unpin_alone(void)
{
    pleat_hosted_cpu_set(0);
    pleat_port_unpin();
}

static void pin_on_no_cpu(void)
{
    pleat_port_pin();
}

static void number_on_no_cpu(void)
{
    (void)pleat_port_cpu();
}

static void renumber_while_pinned(void)
{
    pleat_hosted_cpu_set(0);
    pleat_port_pin();
    pleat_hosted_cpu_set(1);
}

static void misused_pins_end_the_process(void **state)
{
    (void)state;
    /* A backtrace follows the line, and names at least this program. */
    child_stops(pin_twice, "misuse: pin inside of a pin\n", "test_hosted");
    child_stops(unpin_alone, "misuse: unpin without a pin\n", "test_hosted");
    child_stops(pin_on_no_cpu, "misuse: pin on a thread that is no CPU\n", "test_hosted");
    child_stops(number_on_no_cpu, "misuse: asked for the CPU number on a thread that is no CPU\n",
                "test_hosted");
    child_stops(renumber_while_pinned, "misuse: the CPU number of a pinned thread was set\n", "test_hosted");
}

static void hear_misuse(void *context, const char *line)
{
    snprintf(context, 128, "%s", line);
}

static void misuse_can_be_heard_in_place_of_the_end(void **state)
{
    (void)state;
    char line[128] = "";
    pleat_hosted_on_misuse(hear_misuse, line);
    pleat_hosted_cpu_set(3);
    assert_int_equal(pleat_hosted_cpu(), 3);
    assert_int_equal(pleat_port_cpu(), 3);
    pleat_port_pin();
    assert_string_equal(line, "");
    pleat_port_pin();
    assert_string_equal(line, "pin inside of a pin");
    pleat_port_unpin();
    line[0] = 0;
    pleat_port_unpin();
    assert_string_equal(line, "unpin without a pin");
    pleat_hosted_on_misuse(NULL, NULL);
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
}

struct roll {
    atomic_uint called[8];
    atomic_uint there;
    atomic_uint wrong;
};

static void call_the_roll(void *context, unsigned cpu)
{
    struct roll *roll = context;
    if (pleat_port_cpu() != cpu)
        atomic_fetch_add(&roll->wrong, 1);
    atomic_fetch_add(&roll->called[cpu], 1);
    /* All are to run at once: each waits here for the others. */
    atomic_fetch_add(&roll->there, 1);
    while (atomic_load(&roll->there) < 8)
        pleat_port_pause();
}

static void all_cpus_run_at_once_each_with_its_number(void **state)
{
    (void)state;
    struct roll roll = {.wrong = 0};
    assert_int_equal(pleat_hosted_run_cpus(8, call_the_roll, &roll), PLEAT_OK);
    assert_int_equal(roll.wrong, 0);
    for (unsigned cpu = 0; cpu < 8; cpu++)
        assert_int_equal(roll.called[cpu], 1);
    assert_int_equal(pleat_hosted_cpu(), PLEAT_HOSTED_NO_CPU);
    assert_int_equal(pleat_hosted_run_cpus(0, call_the_roll, &roll), PLEAT_E_INVALID);
    assert_int_equal(pleat_hosted_run_cpus(257, call_the_roll, &roll), PLEAT_E_INVALID);
    assert_int_equal(pleat_hosted_run_cpus(1, NULL, &roll), PLEAT_E_INVALID);
}

/* --- Touches -------------------------------------------------------------------------------------------- */

static void describe(void *context, uint64_t pfn, char *text, size_t bytes)
{
    (void)context;
    if (pfn == 0x1005)
        snprintf(text, bytes, "memory block 32, OFFLINE, of virtio-mem vm0");
}

static volatile unsigned char *frame_of_child(uint64_t pfn)
{
    struct pleat_hosted *hosted =
        create((struct pleat_hosted_config){.first_pfn = 0x1000, .describe = describe});
    if (map(hosted, 0x1004, 4))
        _exit(1);
    unmap(hosted, 0x1005, 1);
    volatile unsigned char *memory = pleat_hosted_pointer(hosted, pfn);
    return memory;
}

static void read_unplugged(void)
{
    (void)frame_of_child(0x1005)[0x123];
}

static void write_unplugged(void)
{
    frame_of_child(0x1005)[0x123] = 1;
}

static void read_never_mapped(void)
{
    (void)frame_of_child(0x1030)[0];
}

static void touches_of_unmapped_frames_end_the_process_by_name(void **state)
{
    (void)state;
#if defined(__x86_64__)
    child_stops(write_unplugged, "write to PFN 0x1005 (guest address 0x1005123), which isn't mapped",
                ": memory block 32, OFFLINE, of virtio-mem vm0\n");
#endif
    child_stops(read_unplugged,
                "touch of guest memory: read of PFN 0x1005 (guest address 0x1005123), which isn't",
                "mapped: memory block 32, OFFLINE, of virtio-mem vm0\n");
    child_stops(read_never_mapped, "read of PFN 0x1030 (guest address 0x1030000), which isn't mapped\n",
                "test_hosted");
}

static void read_beyond_the_file(void)
{
    int file = memfd_create("short", 0);
    void *memory = mmap(NULL, 64 << 12, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.memory = memory, .accessible = true});
    (void)*(volatile unsigned char *)pleat_hosted_pointer(hosted, 7);
}

static void memory_that_the_host_lacks_is_named(void **state)
{
    (void)state;
    child_stops(read_beyond_the_file, "read of PFN 0x7",
                "which is mapped, but the host has no memory for it");
}

static void read_what_the_host_took(void)
{
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.accessible = true});
    void *memory = pleat_hosted_pointer(hosted, 8);
    mprotect(memory, 1 << 12, PROT_NONE);
    (void)*(volatile unsigned char *)memory;
}

static void memory_that_the_host_took_away_is_named(void **state)
{
    (void)state;
    child_stops(read_what_the_host_took, "read of PFN 0x8",
                "which is mapped, but the host made it inaccessible");
}

static sigjmp_buf back;
static struct pleat_hosted_touch last_touch;

static void remember_touch(void *context, const struct pleat_hosted_touch *touch)
{
    (void)context;
    last_touch = *touch;
    siglongjmp(back, 1);
}

static void a_touch_can_be_heard_again_and_again(void **state)
{
    (void)state;
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.touched = remember_touch});
    pleat_hosted_guard();
    for (uint64_t pfn = 0; pfn < 10; pfn++) {
        if (!sigsetjmp(back, 1)) {
            ((volatile unsigned char *)pleat_hosted_pointer(hosted, pfn))[pfn + 1] = 1;
            fail_msg("the touch of an unmapped frame went unseen");
        }
        assert_int_equal(last_touch.pfn, pfn);
        assert_int_equal(last_touch.offset_bytes, pfn + 1);
        assert_false(last_touch.mapped);
#if defined(__x86_64__)
        assert_true(last_touch.write);
#endif
    }
    pleat_hosted_destroy(hosted);
}

/* Not NULL, which UndefinedBehaviorSanitizer would stop before the processor does. */
static volatile unsigned char *volatile nowhere = (volatile unsigned char *)64;

static void read_nowhere(void)
{
    pleat_hosted_guard();
    (void)*nowhere;
}

static void handler_before_us(int signal_number)
{
    (void)signal_number;
    static const char text[] = "the handler before\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(7);
}

static void read_nowhere_with_a_handler_before(void)
{
    signal(SIGSEGV, handler_before_us);
    pleat_hosted_guard();
    (void)*nowhere;
}

static struct sigaction ours;

static void hand_back(int signal_number, siginfo_t *info, void *ucontext)
{
    ours.sa_sigaction(signal_number, info, ucontext);
}

static void read_nowhere_with_handlers_in_a_ring(void)
{
    struct sigaction ring = {.sa_flags = SA_SIGINFO};
    pleat_hosted_guard();
    sigaction(SIGSEGV, NULL, &ours);
    ring.sa_sigaction = hand_back;
    sigaction(SIGSEGV, &ring, NULL);
    pleat_hosted_guard();
    (void)*nowhere;
}

static void faults_elsewhere_go_where_they_went_before(void **state)
{
    (void)state;
    struct child_ending ending = {.status = 0};
    child_run(read_nowhere, &ending);
    assert_true(WIFSIGNALED(ending.status) && WTERMSIG(ending.status) == SIGSEGV);
    child_run(read_nowhere_with_a_handler_before, &ending);
    assert_true(WIFEXITED(ending.status) && WEXITSTATUS(ending.status) == 7);
    assert_string_equal(ending.heard, "the handler before\n");
    child_run(read_nowhere_with_handlers_in_a_ring, &ending);
    assert_true(WIFSIGNALED(ending.status) && WTERMSIG(ending.status) == SIGSEGV);
}

/* --- The table of functions ----------------------------------------------------------------------------- */

static void point_outside(void)
{
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.first_pfn = 0x1000});
    const struct pleat_port *port = pleat_hosted_port(hosted);
    (void)port->frame_pointer(port->context, 0xfff);
}

static void point_to_unmapped(void)
{
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.first_pfn = 0x1000});
    const struct pleat_port *port = pleat_hosted_port(hosted);
    (void)port->frame_pointer(port->context, 0x1001);
}

static void unmap_outside(void)
{
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.first_pfn = 0x1000});
    unmap(hosted, 0x103f, 2);
}

static void core_says_fatal(void)
{
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.frames = 0});
    const struct pleat_port *port = pleat_hosted_port(hosted);
    port->fatal(port->context, "free of PFN 0x12: it is free already");
}

static void misuse_of_the_port_ends_the_process(void **state)
{
    (void)state;
    child_stops(point_outside, "misuse: frame_pointer: PFN 0xfff isn't in the guest's memory\n",
                "test_hosted");
    child_stops(point_to_unmapped, "misuse: frame_pointer: PFN 0x1001 isn't mapped\n", "test_hosted");
    child_stops(unmap_outside, "misuse: unmap: 2 frames from PFN 0x103f aren't in the guest's memory\n",
                "test_hosted");
    child_stops(core_says_fatal, "misuse: free of PFN 0x12: it is free already\n", "test_hosted");
}

static void fatal_lines_can_be_recorded(void **state)
{
    (void)state;
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.fatal = PLEAT_HOSTED_FATAL_RECORDS});
    const struct pleat_port *port = pleat_hosted_port(hosted);
    assert_int_equal(pleat_hosted_fatals(hosted), 0);
    assert_string_equal(pleat_hosted_last_fatal(hosted), "");
    port->fatal(port->context, "first");
    port->fatal(port->context, "second");
    assert_int_equal(pleat_hosted_fatals(hosted), 2);
    assert_string_equal(pleat_hosted_last_fatal(hosted), "second");
    char endless[1000];
    memset(endless, 'x', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = 0;
    port->fatal(port->context, endless);
    assert_int_equal(strlen(pleat_hosted_last_fatal(hosted)), 255);
    assert_null(port->frame_pointer(port->context, 64));
    assert_int_equal(pleat_hosted_fatals(hosted), 4);
    pleat_hosted_destroy(hosted);
}

static int refuse_map(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    (void)pfn;
    (void)frames;
    return PLEAT_E_NO_MEMORY;
}

static void forget_unmap(void *context, uint64_t pfn, uint64_t frames)
{
    (void)pfn;
    *(uint64_t *)context += frames;
}

static void a_failed_map_changes_nothing(void **state)
{
    (void)state;
    uint64_t unmapped = 0;
    struct pleat_hosted *hosted =
        create((struct pleat_hosted_config){.map = refuse_map, .unmap = forget_unmap, .context = &unmapped});
    assert_int_equal(map(hosted, 0, 8), PLEAT_E_NO_MEMORY);
    assert_false(pleat_hosted_is_mapped(hosted, 0));
    unmap(hosted, 0, 3);
    assert_int_equal(unmapped, 3);
    pleat_hosted_destroy(hosted);

    hosted = create((struct pleat_hosted_config){.first_pfn = 100});
    assert_int_equal(map(hosted, 99, 1), PLEAT_E_INVALID);
    assert_int_equal(map(hosted, 100, 0), PLEAT_E_INVALID);
    assert_int_equal(map(hosted, 100, 65), PLEAT_E_INVALID);
    assert_int_equal(map(hosted, 163, UINT64_MAX), PLEAT_E_INVALID);
    assert_int_equal(map(hosted, UINT64_MAX, 1), PLEAT_E_INVALID);
    for (uint64_t pfn = 99; pfn < 165; pfn++)
        assert_false(pleat_hosted_is_mapped(hosted, pfn));
    assert_int_equal(map(hosted, 163, 1), PLEAT_OK);
    assert_true(pleat_hosted_is_mapped(hosted, 163));
    assert_false(pleat_hosted_is_mapped(hosted, 162));
    pleat_hosted_destroy(hosted);
}

static void a_host_out_of_mappings_fails_the_map(void **state)
{
    (void)state;
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.frames = 300000});
    uint64_t mapped = 0;
    int error = PLEAT_OK;
    /* Every other frame: each is a mapping of the host's by itself, of which it has 65530 by default. */
    while (mapped < 150000 && !error) {
        error = map(hosted, 2 * mapped, 1);
        mapped += !error;
    }
    if (!error) {
        pleat_hosted_destroy(hosted);
        skip();
    }
    assert_int_equal(error, PLEAT_E_NO_MEMORY);
    assert_false(pleat_hosted_is_mapped(hosted, 2 * mapped));
    assert_true(pleat_hosted_is_mapped(hosted, 2 * mapped - 2));
    /* Those that were mapped still work, and there is room again after an unmap. */
    *(volatile unsigned char *)pleat_hosted_pointer(hosted, 2 * mapped - 2) = 1;
    unmap(hosted, 0, 2 * mapped);
    assert_int_equal(map(hosted, 2 * mapped, 1), PLEAT_OK);
    pleat_hosted_destroy(hosted);
}

static char logged[64];

static void keep_log(void *context, enum pleat_log_level level, const char *line)
{
    snprintf(context, sizeof(logged), "%d %s", (int)level, line);
}

static void log_has_the_levels_that_were_asked_for(void **state)
{
    (void)state;
    for (unsigned levels = 0; levels <= 4; levels++) {
        struct pleat_hosted *hosted =
            create((struct pleat_hosted_config){.log = keep_log, .log_levels = levels, .context = logged});
        const struct pleat_port *port = pleat_hosted_port(hosted);
        for (unsigned level = PLEAT_LOG_ERROR; level <= PLEAT_LOG_DEBUG; level++) {
            char wanted[64];
            logged[0] = 0;
            snprintf(wanted, sizeof(wanted), "%u line", level);
            port->log(port->context, (enum pleat_log_level)level, "line");
            assert_string_equal(logged, level < (levels ? levels : 2) ? wanted : "");
        }
        pleat_hosted_destroy(hosted);
    }
}

static void log_to_stderr(void)
{
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.log_levels = 4});
    const struct pleat_port *port = pleat_hosted_port(hosted);
    port->log(port->context, PLEAT_LOG_ERROR, "one");
    port->log(port->context, PLEAT_LOG_WARNING, "two");
    port->log(port->context, PLEAT_LOG_INFO, "three");
    port->log(port->context, PLEAT_LOG_DEBUG, "four");
    pleat_hosted_destroy(hosted);
}

static void log_lines_on_stderr_have_their_level(void **state)
{
    (void)state;
    struct child_ending ending = {.status = 0};
    child_run(log_to_stderr, &ending);
    assert_int_equal(ending.status, 0);
    assert_string_equal(ending.heard, "pleat: error: one\npleat: warning: two\npleat: info: three\n"
                                      "pleat: debug: four\n");
}

static uint64_t own_clock(void *context)
{
    return (*(uint64_t *)context)++;
}

static void a_clock_can_be_given(void **state)
{
    (void)state;
    uint64_t now = 41;
    struct pleat_hosted *hosted =
        create((struct pleat_hosted_config){.clock_ns = own_clock, .context = &now});
    const struct pleat_port *port = pleat_hosted_port(hosted);
    assert_int_equal(port->clock_ns(port->context), 41);
    assert_int_equal(port->clock_ns(port->context), 42);
    pleat_hosted_destroy(hosted);
}

/* --- Guest memory --------------------------------------------------------------------------------------- */

static void configs_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct pleat_hosted_config bad[] = {
        {.frames = 0},
        {.frames = 8, .frame_shift = 11},
        {.frames = 8, .frame_shift = 31},
        {.frames = UINT64_MAX},
        {.frames = UINT64_C(1) << 51},
        {.frames = 8, .first_pfn = UINT64_MAX - 7},
        {.frames = 8, .memory = (void *)0x1800},
        {.frames = 8, .map = refuse_map},
        {.frames = 8, .unmap = forget_unmap},
        {.frames = 8, .accessible = true, .map = refuse_map, .unmap = forget_unmap},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct pleat_hosted *hosted = (void *)1;
        assert_int_equal(pleat_hosted_create(&hosted, &bad[i]), PLEAT_E_INVALID);
        assert_null(hosted);
    }
    struct pleat_hosted *hosted = (void *)1;
    struct pleat_hosted_config huge = {.frames = UINT64_C(1) << 50};
    assert_int_equal(pleat_hosted_create(&hosted, &huge), PLEAT_E_NO_MEMORY);
    assert_null(hosted);
    pleat_hosted_destroy(NULL);
}

static void many_guests_live_in_one_process(void **state)
{
    (void)state;
    struct pleat_hosted *guests[64], *one_more = (void *)1;
    struct pleat_hosted_config config = {.frames = 64, .touched = remember_touch};
    for (unsigned i = 0; i < 64; i++)
        guests[i] = create(config);
    assert_int_equal(pleat_hosted_create(&one_more, &config), PLEAT_E_BUSY);
    assert_null(one_more);
    pleat_hosted_destroy(guests[10]);
    guests[10] = create(config);
    pleat_hosted_guard();
    if (!sigsetjmp(back, 1)) {
        *(volatile unsigned char *)pleat_hosted_pointer(guests[10], 5) = 1;
        fail_msg("the touch of an unmapped frame went unseen");
    }
    assert_int_equal(last_touch.pfn, 5);
    for (unsigned i = 0; i < 64; i++)
        pleat_hosted_destroy(guests[i]);
}

static void discarded_frames_read_as_zeroes(void **state)
{
    (void)state;
    struct pleat_hosted *hosted = create((struct pleat_hosted_config){.first_pfn = 10, .accessible = true});
    for (uint64_t pfn = 10; pfn < 74; pfn++)
        *(unsigned char *)pleat_hosted_pointer(hosted, pfn) = 0xaa;
    assert_int_equal(pleat_hosted_discard(hosted, 12, 2), PLEAT_OK);
    for (uint64_t pfn = 10; pfn < 74; pfn++) {
        unsigned wanted = pfn == 12 || pfn == 13 ? 0 : 0xaa;
        assert_int_equal(*(unsigned char *)pleat_hosted_pointer(hosted, pfn), wanted);
    }
    assert_int_equal(pleat_hosted_discard(hosted, 73, 2), PLEAT_E_INVALID);
    assert_null(pleat_hosted_pointer(hosted, 9));
    assert_null(pleat_hosted_pointer(hosted, 74));
    assert_true(pleat_hosted_is_mapped(hosted, 73));
    assert_false(pleat_hosted_is_mapped(hosted, 74));
    pleat_hosted_destroy(hosted);

    void *memory = mmap(NULL, 64 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    hosted = create((struct pleat_hosted_config){.memory = memory, .accessible = true});
    assert_int_equal(pleat_hosted_discard(hosted, 0, 1), PLEAT_E_UNSUPPORTED);
    pleat_hosted_destroy(hosted);
    munmap(memory, 64 << 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misused_pins_end_the_process),
        cmocka_unit_test(misuse_can_be_heard_in_place_of_the_end),
        cmocka_unit_test(all_cpus_run_at_once_each_with_its_number),
        cmocka_unit_test(touches_of_unmapped_frames_end_the_process_by_name),
        cmocka_unit_test(memory_that_the_host_lacks_is_named),
        cmocka_unit_test(memory_that_the_host_took_away_is_named),
        cmocka_unit_test(a_touch_can_be_heard_again_and_again),
        cmocka_unit_test(faults_elsewhere_go_where_they_went_before),
        cmocka_unit_test(misuse_of_the_port_ends_the_process),
        cmocka_unit_test(fatal_lines_can_be_recorded),
        cmocka_unit_test(a_failed_map_changes_nothing),
        cmocka_unit_test(a_host_out_of_mappings_fails_the_map),
        cmocka_unit_test(log_has_the_levels_that_were_asked_for),
        cmocka_unit_test(log_lines_on_stderr_have_their_level),
        cmocka_unit_test(a_clock_can_be_given),
        cmocka_unit_test(configs_that_cannot_be_are_refused),
        cmocka_unit_test(many_guests_live_in_one_process),
        cmocka_unit_test(discarded_frames_read_as_zeroes),
    };
    return cmocka_run_group_tests_name("hosted port", tests, NULL, NULL);
}
