/* SPDX-License-Identifier: MIT
 *
 * A hostile XenStore against the client: it writes into the page
 * whatever it likes, at any moment, and answers, true or not. A user asks, watches and reconnects meanwhile.
 * What must hold: nothing outside of page and instance is touched (AddressSanitizer; both have exactly their
 * size), the invariants hold after each step, each request that was accepted is answered once, and after all
 * at most what the books say is still out.
 *
 * The input is a list of operations of one byte, each followed by the bytes it needs.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/memory_ops.h>
#include <pleat/wire/xen_store.h>
#include <pleat/xen.h>
#include <pleat/xen_store.h>

#include "fuzz/input.h"

#define REQUESTS 5u
#define WATCHES  3u
#define ASKED    4096u

struct fuzz {
    struct input input;
    struct pleat_xen_store_page *page;
    struct pleat_xen_store *store;
    uint64_t clock_ns;
    unsigned asked;
    unsigned out; /* requests that have no answer */
    bool answered[ASKED];
    unsigned nested; /* requests still to be made out of callbacks */
};

struct question {
    struct fuzz *fuzz;
    unsigned number;
};

static struct question questions[ASKED];

static void ask(struct fuzz *fuzz, unsigned how);

static void on_answer(void *context, int error, const char *data, size_t bytes)
{
    const struct question *question = context;
    struct fuzz *fuzz = question->fuzz;
    demand(!fuzz->answered[question->number]);
    demand(error <= 0 && error >= PLEAT_E_LAST);
    demand(bytes <= PLEAT_XEN_STORE_PAYLOAD_MAX && data[bytes] == '\0');
    fuzz->answered[question->number] = true;
    fuzz->out--;
    if (fuzz->nested > 0) {
        fuzz->nested--;
        ask(fuzz, error & 7);
    }
}

static void on_event(void *context, int error, const char *path)
{
    struct fuzz *fuzz = context;
    demand((path == NULL) == (error < 0));
    demand(path == NULL || strlen(path) < PLEAT_XEN_STORE_PAYLOAD_MAX);
    if (fuzz->nested > 0) {
        fuzz->nested--;
        ask(fuzz, 1);
    }
}

static void ask(struct fuzz *fuzz, unsigned how)
{
    static const char value[PLEAT_XEN_STORE_PAYLOAD_MAX] = "12345";
    const struct pleat_xen_store_permission permission = {(uint16_t)how, how & 1, how & 2};
    if (fuzz->asked == ASKED) {
        return;
    }
    struct question *question = &questions[fuzz->asked];
    *question = (struct question){fuzz, fuzz->asked};
    fuzz->out++;
    int error;
    switch (how % 6) {
    case 0:
        error = pleat_xen_store_read(fuzz->store, "memory/target", on_answer, question);
        break;
    case 1:
        error = pleat_xen_store_write(fuzz->store, "data", value, how * 16, on_answer, question);
        break;
    case 2:
        error = pleat_xen_store_directory(fuzz->store, "/local", on_answer, question);
        break;
    case 3:
        error = pleat_xen_store_set_permissions(fuzz->store, "data", &permission, 1, on_answer, question);
        break;
    case 4:
        error = pleat_xen_store_remove(fuzz->store, "data", on_answer, question);
        break;
    default:
        error = pleat_xen_store_mkdir(fuzz->store, "data", on_answer, question);
        break;
    }
    if (error == 0) {
        fuzz->asked++;
    } else {
        fuzz->out--;
    }
}

/* Bytes at the end of the response ring, and a new index. */
static void put(struct fuzz *fuzz, const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        fuzz->page->responses[fuzz->page->response_produced++ % PLEAT_XEN_STORE_RING_BYTES] =
            ((const uint8_t *)data)[i];
    }
}

static void put_message(struct fuzz *fuzz)
{
    static const char payload[256] = "memory/target\0pleat-0-1";
    const unsigned type = next_byte(&fuzz->input);
    const unsigned place = next_byte(&fuzz->input);
    const unsigned used = next_byte(&fuzz->input);
    const unsigned length = next_byte(&fuzz->input);
    const struct pleat_xen_store_header header = {
        .type = type % 20, .req_id = used % 8 * 256 + place % 8, .tx_id = type >= 240, .len = length};
    put(fuzz, &header, sizeof(header));
    put(fuzz, payload, length);
}

static void write_page(struct fuzz *fuzz)
{
    unsigned at = next_byte(&fuzz->input);
    at = (at << 8 | next_byte(&fuzz->input)) % sizeof(*fuzz->page);
    ((uint8_t *)fuzz->page)[at] = (uint8_t)next_byte(&fuzz->input);
}

static void write_index(struct fuzz *fuzz)
{
    const unsigned which = next_byte(&fuzz->input);
    const uint32_t by = next_byte(&fuzz->input) * (which & 8 ? 16 : 1);
    switch (which & 7) {
    case 0:
        fuzz->page->response_produced += by;
        break;
    case 1:
        fuzz->page->request_consumed -= by;
        break;
    case 2:
        fuzz->page->connection = by % 3;
        break;
    case 3:
        fuzz->page->error = by % 5;
        break;
    case 4:
        fuzz->page->server_features = by % 4;
        break;
    default:
        /* An honest one: it has read all. */
        fuzz->page->request_consumed = fuzz->page->request_produced;
        break;
    }
}

static void operate(struct fuzz *fuzz)
{
    const unsigned operation = next_byte(&fuzz->input);
    switch (operation % 12) {
    case 0:
        ask(fuzz, next_byte(&fuzz->input));
        break;
    case 1:
        (void)pleat_xen_store_watch(fuzz->store, "memory/target", on_event, fuzz);
        break;
    case 2:
        (void)pleat_xen_store_unwatch(fuzz->store, (int)next_byte(&fuzz->input) % 5 - 1);
        break;
    case 3:
        (void)pleat_xen_store_reconnect(fuzz->store);
        break;
    case 4:
        write_page(fuzz);
        break;
    case 5:
        write_index(fuzz);
        break;
    case 6:
    case 7:
        put_message(fuzz);
        break;
    case 8:
        fuzz->clock_ns += (uint64_t)next_byte(&fuzz->input) * UINT64_C(500000000);
        break;
    case 9:
        fuzz->nested = next_byte(&fuzz->input) % 4;
        break;
    default:
        (void)pleat_xen_store_step(fuzz->store, operation / 12);
        break;
    }
    demand(pleat_xen_store_is_valid(fuzz->store));
    demand(fuzz->out <= REQUESTS);
}

static uint64_t clock_ns(void *context)
{
    return ((struct fuzz *)context)->clock_ns;
}

static int event_listen(void *context, uint32_t channel, void (*handler)(void *), void *handler_context)
{
    (void)context;
    (void)channel;
    (void)handler;
    (void)handler_context;
    return 0;
}

static int event_send(void *context, uint32_t channel)
{
    (void)context;
    (void)channel;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pleat_xen_ops ops = {.event_listen = event_listen, .event_send = event_send};
    struct fuzz *fuzz = calloc(1, sizeof(*fuzz));
    const size_t bytes = pleat_xen_store_storage_bytes(REQUESTS, WATCHES);
    void *storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    demand(fuzz != NULL && storage != NULL);
    fuzz->input = (struct input){data, size};
    fuzz->page = calloc(1, sizeof(*fuzz->page));
    demand(fuzz->page != NULL);
    const struct pleat_memory_ops memory_ops = {.clock_ns = clock_ns};
    const struct pleat_memory memory = {.ops = &memory_ops, .context = fuzz};
    const struct pleat_xen xen = {.ops = &ops, .store_page = fuzz->page};
    const struct pleat_xen_store_config config = {.xen = &xen,
                                                  .memory = &memory,
                                                  .storage = storage,
                                                  .storage_bytes = bytes,
                                                  .requests_max = REQUESTS,
                                                  .watches_max = WATCHES};
    demand(pleat_xen_store_create(&config, &fuzz->store) == 0);
    while (fuzz->input.left > 0) {
        operate(fuzz);
    }
    /* In the end the connection breaks, and nobody waits any more. */
    fuzz->nested = 0;
    fuzz->page->connection = 7;
    (void)pleat_xen_store_step(fuzz->store, 0);
    demand(fuzz->out == 0);
    demand(pleat_xen_store_phase(fuzz->store, NULL, 0) == PLEAT_XEN_STORE_PHASE_BROKEN);
    free(fuzz->page);
    free(storage);
    free(fuzz);
    return 0;
}
