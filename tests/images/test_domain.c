/* SPDX-License-Identifier: MIT
 *
 * The guest image as a domain, over a scripted store: it does what the toolstack asks for, and when the store
 * breaks the protocol it asks for new rings, says so, and hears the toolstack again. There is neither balloon
 * nor are there grants: they get no memory here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "images/guest/guest.h"
#include "tests/support/fake_xen.h"

#define SECOND UINT64_C(1000000000)

/* --- what an image and its port have ----------------------------------------------------------------------
 */

struct platform platform;
static struct fake_xen fake;
static uint64_t now_ns;
static char written[8192]; /* on the console */
static void *store_storage;

void platform_write(const char *text, size_t bytes)
{
    assert_true(strlen(written) + bytes < sizeof written);
    strncat(written, text, bytes);
}

uint64_t platform_clock_ns(void)
{
    return now_ns;
}

void platform_idle(uint64_t until_ns)
{
    (void)until_ns;
    fail_msg("nobody waits here");
}

void platform_wake_begin(void)
{
}

const struct pleat_xen *platform_xen(void)
{
    return &fake.xen;
}

int guest_allocate(struct guest *guest, size_t bytes, uint64_t *pfn, unsigned *order)
{
    (void)guest;
    (void)order;
    if (store_storage)
        return PLEAT_E_NO_MEMORY;
    store_storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(store_storage);
    *pfn = 1;
    return PLEAT_OK;
}

void guest_release(struct guest *guest, uint64_t *pfn, unsigned order)
{
    (void)guest;
    (void)order;
    *pfn = 0;
}

void *guest_pointer(const struct guest *guest, uint64_t pfn)
{
    (void)guest;
    assert_int_equal(pfn, 1);
    return store_storage;
}

/* --- a domain ---------------------------------------------------------------------------------------------
 */

static uint64_t memory_clock_ns(void *context)
{
    (void)context;
    return now_ns;
}

/* Until neither side has anything to do at this time; returns when the guest wants to be called next. */
static uint64_t run(struct guest *guest)
{
    uint64_t next;
    bool moved;
    unsigned rounds = 0;

    do {
        next = domain_serve(&guest->domain, now_ns);
        moved = fake_store_run(&fake);
        assert_true(domain_is_valid(&guest->domain));
        assert_true(++rounds < 1000);
    } while (moved || next <= now_ns);
    return next;
}

static struct guest *start(void)
{
    static const struct pleat_memory_ops ops = {.clock_ns = memory_clock_ns};
    struct guest *guest = aligned_alloc(64, (sizeof *guest + 63) / 64 * 64);

    assert_non_null(guest);
    memset(guest, 0, sizeof *guest);
    guest->memory = (struct pleat_memory){.ops = &ops, .block_bytes = UINT64_C(128) << 20};
    fake_xen_init(&fake, NULL, 0, true);
    now_ns = SECOND;
    written[0] = '\0';
    domain_begin(guest);
    assert_non_null(guest->domain.store);
    assert_null(guest->domain.balloon);
    assert_null(guest->domain.grants);
    run(guest);
    return guest;
}

static void finish(struct guest *guest)
{
    free(store_storage);
    store_storage = NULL;
    free(guest);
}

/* The ring says what can't be; the guest sees it. Returns when the guest wants to be called next. */
static uint64_t break_store(struct guest *guest)
{
    fake.page.response_produced += 5000;
    pleat_xen_store_event(guest->domain.store);
    return domain_serve(&guest->domain, now_ns);
}

static unsigned said(const char *text)
{
    unsigned times = 0;

    for (const char *at = written; (at = strstr(at, text)); at++)
        times++;
    return times;
}

static void what_the_toolstack_asks_for_is_heard(void **state)
{
    (void)state;
    struct guest *guest = start();

    assert_string_equal(fake_store_value(&fake, "control/feature-poweroff"), "1");
    assert_string_equal(fake_store_value(&fake, "control/feature-reboot"), "1");
    fake_store_write(&fake, "control/shutdown", "suspend");
    run(guest);
    assert_int_equal(guest->domain.end, DOMAIN_RUNS);
    assert_string_equal(fake_store_value(&fake, "control/shutdown"), "suspend");
    fake_store_write(&fake, "control/shutdown", "reboot");
    run(guest);
    assert_int_equal(guest->domain.end, DOMAIN_REBOOT);
    assert_string_equal(fake_store_value(&fake, "control/shutdown"), "");
    finish(guest);
}

static void a_broken_store_is_asked_for_a_new_connection(void **state)
{
    (void)state;
    struct guest *guest = start();
    const uint64_t at_ns = break_store(guest);

    assert_int_equal(said("broke the protocol"), 1);
    /* It wants to be called at the end of the pause, and does nothing before. */
    assert_int_equal(at_ns, now_ns + SECOND / 10);
    now_ns = at_ns - 1;
    assert_int_equal(domain_serve(&guest->domain, now_ns), at_ns);
    assert_int_equal(fake.page.connection, PLEAT_XEN_STORE_CONNECTED);
    assert_int_equal(said("asked for a new connection"), 0);
    now_ns = at_ns;
    (void)domain_serve(&guest->domain, now_ns);
    assert_int_equal(fake.page.connection, PLEAT_XEN_STORE_RECONNECT);
    assert_int_equal(said("asked for a new connection"), 1);

    /* A store that has forgotten all is told again, and the toolstack is heard again. */
    fake_store_write(&fake, "control/feature-poweroff", NULL);
    fake_store_return(&fake);
    run(guest);
    assert_string_equal(fake_store_value(&fake, "control/feature-poweroff"), "1");
    fake_store_write(&fake, "control/shutdown", "poweroff");
    run(guest);
    assert_int_equal(guest->domain.end, DOMAIN_POWEROFF);
    assert_int_equal(said("asked for a new connection"), 1);
    finish(guest);
}

static void a_store_that_offers_no_new_connection_is_left_alone(void **state)
{
    (void)state;
    struct guest *guest = start();

    fake.page.server_features = 0;
    now_ns = break_store(guest);
    /* Nothing of the store's is waited for any more. */
    assert_int_equal(domain_serve(&guest->domain, now_ns), UINT64_MAX);
    assert_int_equal(domain_serve(&guest->domain, now_ns + 60 * SECOND), UINT64_MAX);
    assert_int_equal(said("offers no new connection"), 1);
    assert_int_equal(fake.page.connection, PLEAT_XEN_STORE_CONNECTED);
    finish(guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_toolstack_asks_for_is_heard),
        cmocka_unit_test(a_broken_store_is_asked_for_a_new_connection),
        cmocka_unit_test(a_store_that_offers_no_new_connection_is_left_alone),
    };
    return cmocka_run_group_tests_name("the guest image as a domain", tests, NULL, NULL);
}
