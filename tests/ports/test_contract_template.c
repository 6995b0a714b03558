/* SPDX-License-Identifier: MIT
 *
 * The template port keeps the contract of <pleat/port.h>: the smallest useful port, one CPU over a direct
 * map. It is compiled into this program together with the checks, in place of the hosted port.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

/* First, so that the contract is checked against these inline functions. */
#include "ports/template/pleat_port.h"

/* Compiled into this program, against the inline functions at hand. */
#include "contract.c"            /* NOLINT(bugprone-suspicious-include) */
#include "ports/template/port.c" /* NOLINT(bugprone-suspicious-include) */

static void template_port_keeps_the_contract(void **state)
{
    (void)state;
    for (unsigned shift = 12; shift <= 16; shift += 2) {
        unsigned char *memory = aligned_alloc(UINT64_C(1) << shift, UINT64_C(0x40) << shift);
        assert_non_null(memory);
        struct template_port port = {.direct_map = memory, .frame_shift = shift};
        template_port_init(&port);
        struct contract contract = {
            .port = &port.port, .frame_shift = shift, .start_pfn = 0x10, .frames = 24, .cpus = 1};
        for (const struct contract_check *check = contract_checks; check->name; check++) {
            const char *broken = check->check(&contract);
            if (broken)
                fail_msg("%s: %s", check->name, broken);
        }
        free(memory);
    }
}

static void template_port_offers_no_more_than_it_says(void **state)
{
    (void)state;
    struct template_port port = {.direct_map = NULL, .frame_shift = 12};
    template_port_init(&port);
    assert_ptr_equal(port.port.context, &port);
    assert_null(port.port.map);
    assert_null(port.port.unmap);
    assert_null(port.port.clock_ns);
    assert_null(port.port.log);
    assert_null(port.port.fatal);
    assert_int_equal(pleat_port_cpu(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(template_port_keeps_the_contract),
        cmocka_unit_test(template_port_offers_no_more_than_it_says),
    };
    return cmocka_run_group_tests_name("contract of the template port", tests, NULL, NULL);
}
