/* SPDX-License-Identifier: MIT
 *
 * An instance of the core over hosted memory, for unit tests: 1 GiB of boot memory and room for 3 GiB more.
 */
#ifndef CORE_FIXTURE_H
#define CORE_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>

#define BLOCK_FRAMES 32768u /* 128 MiB */
#define MIB_FRAMES   256u
#define GIB_FRAMES   262144u

struct fixture {
    struct pleat_hosted *hosted;
    struct pleat_config config;
    struct pleat pleat;
};

/* `change` may alter the config before it is used. With `strict`, what isn't boot memory or mapped since
 * can't be touched. */
static inline struct fixture *fixture_new_strict(const struct pleat_boot_span *spans, unsigned count,
                                                 void (*change)(struct pleat_config *config), bool strict)
{
    static const struct pleat_boot_span whole = {.start_pfn = 0, .frames = GIB_FRAMES};
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct pleat_hosted_config hosted = {
        .frames = 4 * GIB_FRAMES, .accessible = !strict, .fatal = PLEAT_HOSTED_FATAL_RECORDS};

    assert_non_null(fixture);
    pleat_hosted_cpu_set(0);
    fixture->config = (struct pleat_config){.cpus = 2, .highest_pfn = 4 * GIB_FRAMES, .watermark_frames = 1};
    if (change)
        change(&fixture->config);
    hosted.frame_shift = fixture->config.frame_shift;
    assert_int_equal(pleat_hosted_create(&fixture->hosted, &hosted), 0);
    fixture->config.port = pleat_hosted_port(fixture->hosted);
    for (unsigned i = 0; strict && i < (spans ? count : 1); i++) {
        const struct pleat_boot_span *span = spans ? &spans[i] : &whole;

        assert_int_equal(
            fixture->config.port->map(fixture->config.port->context, span->start_pfn, span->frames), 0);
    }
    assert_int_equal(pleat_init(&fixture->pleat, &fixture->config, spans ? spans : &whole, spans ? count : 1),
                     0);
    assert_true(pleat_is_valid(&fixture->pleat));
    return fixture;
}

static inline struct fixture *fixture_new(const struct pleat_boot_span *spans, unsigned count,
                                          void (*change)(struct pleat_config *config))
{
    return fixture_new_strict(spans, count, change, false);
}

static inline void fixture_free(struct fixture *fixture)
{
    assert_true(pleat_is_valid(&fixture->pleat));
    pleat_hosted_destroy(fixture->hosted);
    free(fixture);
}

/* An owner of movable frames that copies nothing and keeps where each cookie is. */
struct mover {
    uint64_t *where; /* by cookie */
    unsigned owner;
    unsigned moves;
    unsigned pin_from, pin_to; /* cookies that refuse */
};

static inline int mover_isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct mover *mover = context;

    (void)order;
    assert_int_equal(mover->where[cookie], pfn);
    return cookie >= mover->pin_from && cookie < mover->pin_to ? PLEAT_E_BUSY : PLEAT_OK;
}

static inline int mover_migrate(void *context, uint64_t from, uint64_t to, unsigned order, uint64_t cookie)
{
    struct mover *mover = context;

    (void)order;
    assert_int_equal(mover->where[cookie], from);
    mover->where[cookie] = to;
    mover->moves++;
    return PLEAT_OK;
}

static inline void mover_putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
}

static const struct pleat_owner_ops mover_ops = {
    .isolate = mover_isolate, .migrate = mover_migrate, .putback = mover_putback};

static inline void mover_init(struct mover *mover, struct pleat *pleat, unsigned cookies)
{
    int owner = pleat_owner_register(pleat, "mover", &mover_ops, mover);

    assert_true(owner > 0);
    *mover = (struct mover){.owner = (unsigned)owner, .where = calloc(cookies, sizeof(uint64_t))};
    assert_non_null(mover->where);
}

#endif
