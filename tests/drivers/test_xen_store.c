/* SPDX-License-Identifier: MIT
 *
 * The XenStore client: requests and watches against an honest store, in whatever parts the bytes come; a
 * store that goes away, is silent, or breaks the protocol in each way that the client looks for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/xen_store.h>

#include "tests/support/fake_xen.h"

#define SECOND_NS UINT64_C(1000000000)

struct answer {
    unsigned times;
    int error;
    char data[256];
    size_t bytes;
};

struct bench {
    struct fake_xen fake;
    struct pleat_memory memory;
    struct pleat_memory_ops ops;
    uint64_t clock_ns;
    unsigned wakes;
    unsigned lines;
    struct pleat_xen_store *store;
    void *storage;
    struct answer event;
};

static uint64_t clock_ns(void *context)
{
    return ((struct bench *)context)->clock_ns;
}

static void log_line(void *context, int level, const char *line)
{
    (void)level;
    (void)line;
    ((struct bench *)context)->lines++;
}

static void woken(void *context)
{
    ((struct bench *)context)->wakes++;
}

static struct bench *start_with(unsigned requests, unsigned watches, bool connected)
{
    struct bench *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    fake_xen_init(&b->fake, NULL, 0, true);
    b->fake.page.connection = connected ? PLEAT_XEN_STORE_CONNECTED : PLEAT_XEN_STORE_RECONNECT;
    b->clock_ns = SECOND_NS;
    b->ops = (struct pleat_memory_ops){.clock_ns = clock_ns, .log = log_line};
    b->memory = (struct pleat_memory){.ops = &b->ops, .context = b};
    const size_t bytes = pleat_xen_store_storage_bytes(requests, watches);
    b->storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    const struct pleat_xen_store_config config = {.xen = &b->fake.xen,
                                                  .memory = &b->memory,
                                                  .storage = b->storage,
                                                  .storage_bytes = bytes,
                                                  .requests_max = requests,
                                                  .watches_max = watches,
                                                  .wake = woken,
                                                  .context = b};
    assert_int_equal(pleat_xen_store_create(&config, &b->store), 0);
    return b;
}

static struct bench *start(void)
{
    return start_with(0, 0, true);
}

static void finish(struct bench *b)
{
    free(b->storage);
    free(b);
}

static enum pleat_xen_wake step(struct bench *b)
{
    const enum pleat_xen_wake wake = pleat_xen_store_step(b->store, 0);
    assert_true(pleat_xen_store_is_valid(b->store));
    return wake;
}

/* Until neither side has anything to do. */
static void run(struct bench *b)
{
    enum pleat_xen_wake wake;
    bool more;
    unsigned steps = 0;
    do {
        wake = step(b);
        more = fake_store_run(&b->fake);
        assert_true(++steps < 100000);
    } while (more || wake == PLEAT_XEN_WAKE_NOW);
}

static void note(void *context, int error, const char *data, size_t bytes)
{
    struct answer *answer = context;
    answer->times++;
    answer->error = error;
    answer->bytes = bytes;
    assert_int_equal(data[bytes], 0);
    memcpy(answer->data, data, bytes < sizeof(answer->data) ? bytes + 1 : sizeof(answer->data));
}

static void note_event(void *context, int error, const char *path)
{
    struct answer *answer = context;
    answer->times++;
    answer->error = error;
    snprintf(answer->data, sizeof(answer->data), "%s", path == NULL ? "" : path);
}

static enum pleat_xen_store_phase phase(const struct bench *b, char line[128])
{
    return pleat_xen_store_phase(b->store, line, 128);
}

static struct pleat_xen_store_statistics statistics(const struct bench *b)
{
    struct pleat_xen_store_statistics statistics;
    pleat_xen_store_statistics(b->store, &statistics);
    return statistics;
}

/* --- Requests ------------------------------------------------------------------------------------------ */

static void a_write_can_be_read_listed_and_removed(void **state)
{
    (void)state;
    struct bench *b = start();
    struct answer written = {0}, read = {0}, listed = {0}, removed = {0}, gone = {0};
    assert_int_equal(pleat_xen_store_write(b->store, "data/one", "hello", 5, note, &written), 0);
    assert_int_equal(pleat_xen_store_mkdir(b->store, "data/two", NULL, NULL), 0);
    assert_int_equal(pleat_xen_store_read(b->store, "data/one", note, &read), 0);
    assert_int_equal(pleat_xen_store_directory(b->store, "data", note, &listed), 0);
    assert_int_equal(pleat_xen_store_remove(b->store, "data/one", note, &removed), 0);
    assert_int_equal(pleat_xen_store_read(b->store, "data/one", note, &gone), 0);
    assert_int_equal(read.times, 0);
    run(b);
    assert_int_equal(written.error, 0);
    assert_int_equal(written.times, 1);
    assert_string_equal(read.data, "hello");
    assert_int_equal(read.bytes, 5);
    assert_int_equal(listed.bytes, 8);
    assert_memory_equal(listed.data, "one\0two\0", 8);
    assert_int_equal(removed.error, 0);
    assert_int_equal(gone.error, PLEAT_E_NOT_FOUND);
    assert_int_equal(gone.times, 1);
    assert_int_equal(statistics(b).answers, 6);
    assert_int_equal(statistics(b).errors, 1);
    finish(b);
}

static void the_stores_errors_have_names(void **state)
{
    (void)state;
    struct bench *b = start();
    struct answer answer = {0};
    assert_int_equal(pleat_xen_store_read(b->store, "denied", note, &answer), 0);
    run(b);
    assert_int_equal(answer.error, PLEAT_E_REFUSED);
    b->fake.store_silent = true;
    assert_int_equal(pleat_xen_store_read(b->store, "x", note, &answer), 0);
    run(b);
    const struct pleat_xen_store_header *asked = (const void *)b->fake.in;
    fake_store_send(&b->fake, PLEAT_XEN_STORE_ERROR, asked->req_id, 0, 9, "ESTRANGE", 9);
    run(b);
    assert_int_equal(answer.error, PLEAT_E_DEVICE);
    finish(b);
}

static void permissions_are_letters_and_domains(void **state)
{
    (void)state;
    static const struct {
        struct pleat_xen_store_permission permission;
        const char *text;
    } cases[] = {{{0, false, false}, "n0"},
                 {{7, true, false}, "r7"},
                 {{65535, false, true}, "w65535"},
                 {{12, true, true}, "b12"}};
    struct bench *b = start();
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(
            pleat_xen_store_set_permissions(b->store, "data", &cases[i].permission, 1, NULL, NULL), 0);
        run(b);
        assert_string_equal(fake_store_value(&b->fake, "permissions"), cases[i].text);
    }
    assert_int_equal(pleat_xen_store_set_permissions(b->store, "data", &cases[0].permission, 0, NULL, NULL),
                     PLEAT_E_INVALID);
    finish(b);
}

static void messages_come_together_from_any_parts(void **state)
{
    (void)state;
    char value[64];
    memset(value, 'v', sizeof(value));
    /* More than a ring in all, so that each position is the end of it once. */
    for (uint32_t most = 1; most < 40; most += most < 4 ? 1 : 7) {
        struct bench *b = start();
        b->fake.store_most = most;
        for (unsigned i = 1; i < 60; i++) {
            struct answer answer = {0};
            assert_int_equal(pleat_xen_store_write(b->store, "data/v", value, i, NULL, NULL), 0);
            assert_int_equal(pleat_xen_store_read(b->store, "data/v", note, &answer), 0);
            run(b);
            assert_int_equal(answer.times, 1);
            assert_int_equal(answer.bytes, i);
            assert_memory_equal(answer.data, value, i);
        }
        assert_true(statistics(b).bytes_out > 2 * PLEAT_XEN_STORE_RING_BYTES);
        finish(b);
    }
}

static void a_message_longer_than_the_ring_goes_and_comes(void **state)
{
    (void)state;
    struct bench *b = start();
    static char long_value[PLEAT_XEN_STORE_PAYLOAD_MAX];
    struct answer answer = {0};
    memset(long_value, 'x', sizeof(long_value));
    assert_int_equal(pleat_xen_store_write(b->store, "d", long_value, sizeof(long_value) - 1, NULL, NULL),
                     PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_store_write(b->store, "d", long_value, sizeof(long_value) - 2, note, &answer),
                     0);
    run(b);
    assert_int_equal(answer.times, 1);
    b->fake.store_silent = true;
    assert_int_equal(pleat_xen_store_read(b->store, "d", note, &answer), 0);
    run(b);
    const struct pleat_xen_store_header *asked = (const void *)b->fake.in;
    fake_store_send(&b->fake, PLEAT_XEN_STORE_READ, asked->req_id, 0, sizeof(long_value), long_value,
                    sizeof(long_value));
    run(b);
    assert_int_equal(answer.bytes, sizeof(long_value));
    assert_int_equal(answer.error, 0);
    finish(b);
}

static void what_cant_be_asked_is_refused(void **state)
{
    (void)state;
    struct bench *b = start_with(2, 1, true);
    static char path[3200];
    memset(path, 'p', sizeof(path) - 1);
    assert_int_equal(pleat_xen_store_read(b->store, "", NULL, NULL), PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_store_read(b->store, NULL, NULL, NULL), PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_store_read(b->store, "a b", NULL, NULL), PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_store_read(b->store, path, NULL, NULL), PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_store_write(b->store, "a", NULL, 1, NULL, NULL), PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_store_read(b->store, "a", NULL, NULL), 0);
    assert_int_equal(pleat_xen_store_read(b->store, "b", NULL, NULL), 0);
    assert_int_equal(pleat_xen_store_read(b->store, "c", NULL, NULL), PLEAT_E_NO_MEMORY);
    run(b);
    assert_int_equal(pleat_xen_store_read(b->store, "c", NULL, NULL), 0);
    assert_int_equal(pleat_xen_store_watch(b->store, "c", NULL, NULL), PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_store_watch(b->store, "c", note_event, &b->event), 0);
    assert_int_equal(pleat_xen_store_watch(b->store, "d", note_event, &b->event), PLEAT_E_NO_MEMORY);
    assert_int_equal(pleat_xen_store_storage_bytes(257, 1), 0);
    finish(b);
}

/* --- Watches ------------------------------------------------------------------------------------------- */

static void a_watch_is_told_once_set_and_at_each_change_below(void **state)
{
    (void)state;
    struct bench *b = start();
    const int watch = pleat_xen_store_watch(b->store, "memory", note_event, &b->event);
    assert_true(watch >= 0);
    run(b);
    assert_int_equal(b->event.times, 1);
    assert_string_equal(b->event.data, "memory");
    fake_store_write(&b->fake, "memory/target", "65536");
    fake_store_write(&b->fake, "other", "1");
    run(b);
    assert_int_equal(b->event.times, 2);
    assert_string_equal(b->event.data, "memory/target");
    /* An event that is on its way when the watch ends isn't handed to anybody. */
    fake_store_write(&b->fake, "memory/target", "1");
    assert_int_equal(pleat_xen_store_unwatch(b->store, watch), 0);
    assert_int_equal(pleat_xen_store_unwatch(b->store, watch), PLEAT_E_NOT_FOUND);
    run(b);
    assert_int_equal(b->event.times, 2);
    assert_int_equal(statistics(b).events_ignored, 1);
    assert_false(b->fake.watches[0].set);
    /* Nor to who has the place next. */
    struct answer other = {0};
    assert_int_equal(pleat_xen_store_watch(b->store, "memory", note_event, &other), watch);
    run(b);
    assert_int_equal(other.times, 1);
    assert_int_equal(pleat_xen_store_unwatch(b->store, 77), PLEAT_E_NOT_FOUND);
    finish(b);
}

static void a_watch_that_the_store_refuses_is_gone(void **state)
{
    (void)state;
    struct bench *b = start();
    const int watch = pleat_xen_store_watch(b->store, "denied/x", note_event, &b->event);
    run(b);
    assert_int_equal(b->event.times, 1);
    assert_int_equal(b->event.error, PLEAT_E_REFUSED);
    assert_int_equal(pleat_xen_store_unwatch(b->store, watch), PLEAT_E_NOT_FOUND);
    finish(b);
}

static void events_for_tokens_of_somebody_before_are_ignored(void **state)
{
    (void)state;
    struct bench *b = start();
    fake_store_send(&b->fake, PLEAT_XEN_STORE_WATCH_EVENT, 0, 0, 8, "abc\0tok\0", 8);
    run(b);
    assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_CONNECTED);
    assert_int_equal(statistics(b).events_ignored, 1);
    finish(b);
}

/* --- A store that goes away ---------------------------------------------------------------------------- */

static void requests_wait_for_a_store_that_isnt_there_yet(void **state)
{
    (void)state;
    struct bench *b = start_with(0, 0, false);
    struct answer answer = {0};
    fake_store_write(&b->fake, "a", "1");
    assert_int_equal(pleat_xen_store_read(b->store, "a", note, &answer), 0);
    assert_int_equal(step(b), PLEAT_XEN_WAKE_AT_TIME);
    b->clock_ns += 100 * SECOND_NS;
    run(b);
    assert_int_equal(answer.times, 0);
    assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_AWAY);
    fake_store_return(&b->fake);
    run(b);
    assert_int_equal(answer.times, 1);
    assert_string_equal(answer.data, "1");
    finish(b);
}

static void ask_again(void *context, int error, const char *data, size_t bytes)
{
    struct bench *b = context;
    (void)data;
    (void)bytes;
    assert_int_equal(error, PLEAT_E_CANCELLED);
    assert_int_equal(pleat_xen_store_read(b->store, "a", note, &b->event), 0);
}

static void a_store_that_leaves_and_returns_finds_the_watches_set_again(void **state)
{
    (void)state;
    struct bench *b = start();
    struct answer watched = {0};
    assert_true(pleat_xen_store_watch(b->store, "a", note_event, &watched) >= 0);
    run(b);
    assert_int_equal(watched.times, 1);
    b->fake.store_most = 5;
    assert_int_equal(pleat_xen_store_read(b->store, "a", ask_again, b), 0);
    step(b);
    (void)fake_store_run(&b->fake);
    fake_store_leave(&b->fake);
    step(b);
    assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_AWAY);
    /* What the callback has asked is of the time after. */
    assert_int_equal(b->event.times, 0);
    b->fake.store_most = 0;
    fake_store_return(&b->fake);
    run(b);
    assert_int_equal(watched.times, 2);
    assert_int_equal(b->event.times, 1);
    assert_int_equal(b->event.error, PLEAT_E_NOT_FOUND);
    assert_int_equal(statistics(b).connections, 2);
    finish(b);
}

static void a_silent_store_times_out_and_may_answer_later(void **state)
{
    (void)state;
    struct bench *b = start();
    struct answer answer = {0};
    b->fake.store_silent = true;
    assert_int_equal(pleat_xen_store_read(b->store, "a", note, &answer), 0);
    run(b);
    assert_int_equal(step(b), PLEAT_XEN_WAKE_AT_TIME);
    assert_int_equal(pleat_xen_store_wake_ns(b->store), 31 * SECOND_NS);
    b->clock_ns = pleat_xen_store_wake_ns(b->store);
    run(b);
    assert_int_equal(answer.error, PLEAT_E_TIMEOUT);
    assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_SILENT);
    const struct pleat_xen_store_header *asked = (const void *)b->fake.in;
    fake_store_send(&b->fake, PLEAT_XEN_STORE_READ, asked->req_id, 0, 1, "1", 1);
    run(b);
    assert_int_equal(answer.times, 1);
    assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_CONNECTED);
    /* A second answer to the same is one to nothing. */
    fake_store_send(&b->fake, PLEAT_XEN_STORE_READ, asked->req_id, 0, 1, "1", 1);
    run(b);
    assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_BROKEN);
    finish(b);
}

/* --- A hostile store ----------------------------------------------------------------------------------- */

enum malice {
    RESPONSE_INDEX,
    REQUEST_INDEX,
    TOO_LONG,
    UNKNOWN_ID,
    UNKNOWN_PLACE,
    OTHER_TYPE,
    TRANSACTION,
    EVENT_WITHOUT_TOKEN,
    EVENT_WITHOUT_END,
    EMPTY_EVENT,
    STRANGE_CONNECTION,
    STORE_ERROR,
    MALICES
};

static void be_malicious(struct fake_xen *fake, enum malice malice)
{
    const uint32_t id = ((const struct pleat_xen_store_header *)(const void *)fake->in)->req_id;
    switch (malice) {
    case RESPONSE_INDEX:
        fake->page.response_produced = fake->page.response_consumed + PLEAT_XEN_STORE_RING_BYTES + 1;
        break;
    case REQUEST_INDEX:
        fake->page.request_consumed = fake->page.request_produced + 1;
        break;
    case TOO_LONG:
        fake_store_send(fake, PLEAT_XEN_STORE_READ, id, 0, PLEAT_XEN_STORE_PAYLOAD_MAX + 1, "", 0);
        break;
    case UNKNOWN_ID:
        fake_store_send(fake, PLEAT_XEN_STORE_READ, id + 256, 0, 0, "", 0);
        break;
    case UNKNOWN_PLACE:
        fake_store_send(fake, PLEAT_XEN_STORE_READ, id + 200, 0, 0, "", 0);
        break;
    case OTHER_TYPE:
        fake_store_send(fake, PLEAT_XEN_STORE_WRITE, id, 0, 0, "", 0);
        break;
    case TRANSACTION:
        fake_store_send(fake, PLEAT_XEN_STORE_READ, id, 5, 0, "", 0);
        break;
    case EVENT_WITHOUT_TOKEN:
        fake_store_send(fake, PLEAT_XEN_STORE_WATCH_EVENT, 0, 0, 4, "abc", 4);
        break;
    case EVENT_WITHOUT_END:
        fake_store_send(fake, PLEAT_XEN_STORE_WATCH_EVENT, 0, 0, 7, "abc\0tok", 7);
        break;
    case EMPTY_EVENT:
        fake_store_send(fake, PLEAT_XEN_STORE_WATCH_EVENT, 0, 0, 0, "", 0);
        break;
    case STRANGE_CONNECTION:
        fake->page.connection = 2;
        break;
    default:
        fake->page.error = PLEAT_XEN_STORE_ERROR_PROTOCOL;
        break;
    }
}

static void each_breach_of_the_protocol_ends_the_connection_and_says_which(void **state)
{
    (void)state;
    static const char *const said[MALICES] = {
        [RESPONSE_INDEX] = "index of the response ring",
        [REQUEST_INDEX] = "index of the request ring",
        [TOO_LONG] = "too long",
        [UNKNOWN_ID] = "to no request",
        [UNKNOWN_PLACE] = "to no request",
        [OTHER_TYPE] = "another kind",
        [TRANSACTION] = "transaction",
        [EVENT_WITHOUT_TOKEN] = "without path or token",
        [EVENT_WITHOUT_END] = "without path or token",
        [EMPTY_EVENT] = "without path or token",
        [STRANGE_CONNECTION] = "a value that doesn't exist",
        [STORE_ERROR] = "payload of ours",
    };
    for (unsigned malice = 0; malice < MALICES; malice++) {
        struct bench *b = start();
        struct answer answer = {0};
        char line[128];
        b->fake.store_silent = true;
        assert_int_equal(pleat_xen_store_read(b->store, "a", note, &answer), 0);
        run(b);
        be_malicious(&b->fake, malice);
        /* The fake store doesn't run where it has broken its own page. */
        if (b->fake.out_bytes > 0) {
            (void)fake_store_run(&b->fake);
        }
        step(b);
        assert_int_equal(phase(b, line), PLEAT_XEN_STORE_PHASE_BROKEN);
        assert_non_null(strstr(line, said[malice]));
        assert_int_equal(answer.times, 1);
        assert_int_equal(answer.error, PLEAT_E_PROTOCOL);
        assert_int_equal(pleat_xen_store_read(b->store, "a", NULL, NULL), PLEAT_E_STATE);
        assert_int_equal(step(b), PLEAT_XEN_WAKE_ON_EVENT);
        assert_int_equal(b->lines, 1);
        finish(b);
    }
}

static void a_broken_store_can_be_asked_for_new_rings(void **state)
{
    (void)state;
    struct bench *b = start();
    struct answer answer = {0};
    fake_store_write(&b->fake, "a", "1");
    assert_true(pleat_xen_store_watch(b->store, "a", note_event, &b->event) >= 0);
    run(b);
    b->fake.page.response_produced += 5000;
    step(b);
    assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_BROKEN);
    b->fake.page.server_features = 0;
    assert_int_equal(pleat_xen_store_reconnect(b->store), PLEAT_E_UNSUPPORTED);
    b->fake.page.server_features = PLEAT_XEN_STORE_FEATURE_RECONNECTION;
    assert_int_equal(pleat_xen_store_reconnect(b->store), 0);
    assert_int_equal(b->fake.page.connection, PLEAT_XEN_STORE_RECONNECT);
    assert_int_equal(pleat_xen_store_read(b->store, "a", note, &answer), 0);
    step(b);
    assert_int_equal(answer.times, 0);
    fake_store_return(&b->fake);
    run(b);
    assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_CONNECTED);
    assert_string_equal(answer.data, "1");
    assert_int_equal(b->event.times, 2);
    finish(b);
}

/* The store's ring says what can't be; then how long it is until the store is asked for new rings, with
 * nothing done before. */
static uint64_t pause_after_break(struct bench *b, struct pleat_xen_store_mending *mending)
{
    b->fake.page.response_produced += 5000;
    pleat_xen_store_event(b->store);
    step(b);
    assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_BROKEN);
    assert_int_equal(pleat_xen_store_mend(b->store, mending, b->clock_ns), PLEAT_XEN_STORE_MEND_NOTHING);
    const uint64_t pause_ns = mending->at_ns - b->clock_ns;
    assert_int_equal(pleat_xen_store_mend(b->store, mending, mending->at_ns - 1),
                     PLEAT_XEN_STORE_MEND_NOTHING);
    assert_int_equal(b->fake.page.connection, PLEAT_XEN_STORE_CONNECTED);
    b->clock_ns = mending->at_ns;
    return pause_ns;
}

static void a_store_that_breaks_again_and_again_is_asked_less_and_less_often(void **state)
{
    (void)state;
    struct bench *b = start();
    struct pleat_xen_store_mending mending = {0};
    uint64_t expected_ns = SECOND_NS / 10;
    run(b);
    assert_int_equal(pleat_xen_store_mend(b->store, &mending, b->clock_ns), PLEAT_XEN_STORE_MEND_NOTHING);
    assert_int_equal(mending.at_ns, 0);
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(pause_after_break(b, &mending), expected_ns);
        assert_int_equal(pleat_xen_store_mend(b->store, &mending, b->clock_ns), PLEAT_XEN_STORE_MEND_ASKED);
        assert_int_equal(mending.at_ns, 0);
        assert_int_equal(b->fake.page.connection, PLEAT_XEN_STORE_RECONNECT);
        assert_int_equal(pleat_xen_store_mend(b->store, &mending, b->clock_ns), PLEAT_XEN_STORE_MEND_NOTHING);
        fake_store_return(&b->fake);
        run(b);
        assert_int_equal(phase(b, (char[128]){0}), PLEAT_XEN_STORE_PHASE_CONNECTED);
        expected_ns = 2 * expected_ns < 30 * SECOND_NS ? 2 * expected_ns : 30 * SECOND_NS;
    }
    assert_int_equal(expected_ns, 30 * SECOND_NS);
    /* A connection that has lasted is worth as much as the first. */
    b->clock_ns += 30 * SECOND_NS + 1;
    assert_int_equal(pause_after_break(b, &mending), SECOND_NS / 10);
    /* A store that offers no new rings is lost, which is said once. */
    b->fake.page.server_features = 0;
    assert_int_equal(pleat_xen_store_mend(b->store, &mending, b->clock_ns), PLEAT_XEN_STORE_MEND_LOST);
    assert_true(mending.is_lost);
    assert_int_equal(mending.at_ns, 0);
    assert_int_equal(pleat_xen_store_mend(b->store, &mending, b->clock_ns + 60 * SECOND_NS),
                     PLEAT_XEN_STORE_MEND_NOTHING);
    assert_int_equal(b->fake.page.connection, PLEAT_XEN_STORE_CONNECTED);
    finish(b);
}

static void the_clients_own_indices_are_its_own(void **state)
{
    (void)state;
    struct bench *b = start();
    struct answer answer = {0};
    fake_store_write(&b->fake, "a", "1");
    assert_int_equal(pleat_xen_store_read(b->store, "a", note, &answer), 0);
    b->fake.page.request_produced = 77;
    b->fake.page.response_consumed = 99;
    run(b);
    assert_int_equal(answer.times, 1);
    assert_string_equal(answer.data, "1");
    finish(b);
}

static void there_may_be_no_store(void **state)
{
    (void)state;
    struct bench *b = start();
    struct pleat_xen_store *store = NULL;
    struct pleat_xen_store_config config = {
        .xen = &b->fake.xen, .storage = b->storage, .storage_bytes = pleat_xen_store_storage_bytes(0, 0)};
    b->fake.xen.store_page = NULL;
    assert_int_equal(pleat_xen_store_create(&config, &store), PLEAT_E_NOT_FOUND);
    config.storage_bytes--;
    assert_int_equal(pleat_xen_store_create(&config, &store), PLEAT_E_INVALID);
    assert_null(store);
    finish(b);
}

static void rests_of_somebody_before_are_dropped(void **state)
{
    (void)state;
    struct bench *b = start();
    struct pleat_xen_store_config config = {
        .xen = &b->fake.xen, .storage = b->storage, .storage_bytes = pleat_xen_store_storage_bytes(0, 0)};
    struct answer answer = {0};
    fake_store_write(&b->fake, "a", "1");
    /* Half of an answer to the firmware, in front of everything. */
    fake_store_send(&b->fake, PLEAT_XEN_STORE_READ, 1, 0, 3, "abc", 3);
    b->fake.out_bytes -= 3;
    (void)fake_store_run(&b->fake);
    assert_int_equal(pleat_xen_store_create(&config, &b->store), 0);
    assert_int_equal(pleat_xen_store_read(b->store, "a", note, &answer), 0);
    run(b);
    assert_string_equal(answer.data, "1");
    finish(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_can_be_read_listed_and_removed),
        cmocka_unit_test(the_stores_errors_have_names),
        cmocka_unit_test(permissions_are_letters_and_domains),
        cmocka_unit_test(messages_come_together_from_any_parts),
        cmocka_unit_test(a_message_longer_than_the_ring_goes_and_comes),
        cmocka_unit_test(what_cant_be_asked_is_refused),
        cmocka_unit_test(a_watch_is_told_once_set_and_at_each_change_below),
        cmocka_unit_test(a_watch_that_the_store_refuses_is_gone),
        cmocka_unit_test(events_for_tokens_of_somebody_before_are_ignored),
        cmocka_unit_test(requests_wait_for_a_store_that_isnt_there_yet),
        cmocka_unit_test(a_store_that_leaves_and_returns_finds_the_watches_set_again),
        cmocka_unit_test(a_silent_store_times_out_and_may_answer_later),
        cmocka_unit_test(each_breach_of_the_protocol_ends_the_connection_and_says_which),
        cmocka_unit_test(a_broken_store_can_be_asked_for_new_rings),
        cmocka_unit_test(a_store_that_breaks_again_and_again_is_asked_less_and_less_often),
        cmocka_unit_test(the_clients_own_indices_are_its_own),
        cmocka_unit_test(there_may_be_no_store),
        cmocka_unit_test(rests_of_somebody_before_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
