/* SPDX-License-Identifier: MIT
 *
 * The scripted hypervisor and store.
 */
#include "tests/support/fake_xen.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/must.h"

/* --- Memory -------------------------------------------------------------------------------------------- */

/* What the guest's allocator says of a frame. */
static uint8_t guest_says(const struct fake_xen *fake, uint64_t pfn)
{
    if (fake->model == NULL) {
        return MODEL_WITHHELD;
    }
    const uint64_t frame = pfn - fake->model->address / MODEL_FRAME_BYTES;
    return frame < fake->model->frames ? fake->model->frame[frame] : MODEL_NONE;
}

static int injected(struct fake_xen *fake, enum fake_xen_call call, unsigned order)
{
    fake->calls[call][order != 0]++;
    if (fake->times[call] == 0) {
        return 0;
    }
    fake->times[call]--;
    return fake->error[call];
}

static uint64_t limit(const struct fake_xen *fake, enum fake_xen_call call, unsigned order, uint64_t count)
{
    const uint64_t most = fake->most[call][order != 0];
    return count < most ? count : most;
}

static void check_extent(uint64_t pfn, unsigned order, uint64_t count)
{
    MUST(order == 0 || order == 9, "order %u", order);
    MUST(count <= 512, "%lu extents", count);
    MUST(pfn % (UINT64_C(1) << order) == 0 && pfn + (UINT64_C(1) << order) <= FAKE_XEN_FRAMES,
         "extent 0x%lx of order %u", pfn, order);
}

static int64_t fake_decrease(void *context, const uint64_t *pfns, uint64_t count, unsigned order)
{
    struct fake_xen *fake = context;
    const int error = injected(fake, FAKE_DECREASE, order);
    const uint64_t frames = UINT64_C(1) << order;
    if (error < 0) {
        return error;
    }
    for (uint64_t i = 0; i < count; i++) {
        check_extent(pfns[i], order, count);
        for (uint64_t pfn = pfns[i]; pfn < pfns[i] + frames; pfn++) {
            const uint8_t says = guest_says(fake, pfn);
            MUST(fake->populated[pfn], "decrease of 0x%lx, which is a hole", pfn);
            MUST(says == MODEL_WITHHELD || says == MODEL_NONE, "decrease of 0x%lx, which is in use", pfn);
        }
    }
    const uint64_t done = limit(fake, FAKE_DECREASE, order, count);
    for (uint64_t i = 0; i < done; i++) {
        memset(&fake->populated[pfns[i]], 0, frames);
        fake->populated_frames -= frames;
    }
    return (int64_t)done;
}

static int64_t fake_populate(void *context, const uint64_t *pfns, uint64_t count, unsigned order)
{
    struct fake_xen *fake = context;
    const int error = injected(fake, FAKE_POPULATE, order);
    const uint64_t frames = UINT64_C(1) << order;
    const uint64_t most = limit(fake, FAKE_POPULATE, order, count);
    uint64_t done;
    if (error < 0) {
        return error;
    }
    for (uint64_t i = 0; i < count; i++) {
        check_extent(pfns[i], order, count);
        for (uint64_t pfn = pfns[i]; pfn < pfns[i] + frames; pfn++) {
            const uint8_t says = guest_says(fake, pfn);
            MUST(!fake->populated[pfn] && !fake->foreign[pfn], "populate over 0x%lx", pfn);
            MUST(says == MODEL_WITHHELD || says == MODEL_NONE, "0x%lx is in use and a hole", pfn);
        }
    }
    for (done = 0; done < most && fake->populated_frames + frames <= fake->maximum_frames; done++) {
        memset(&fake->populated[pfns[done]], 1, frames);
        memset(&fake->dirty[pfns[done]], 1, frames);
        fake->populated_frames += frames;
    }
    return (int64_t)done;
}

static int64_t fake_current(void *context)
{
    return (int64_t)((struct fake_xen *)context)->populated_frames;
}

static int64_t fake_maximum(void *context)
{
    return (int64_t)((struct fake_xen *)context)->maximum_frames;
}

void fake_xen_check(const struct fake_xen *fake)
{
    uint64_t count = 0;
    for (uint64_t pfn = 0; pfn < FAKE_XEN_FRAMES; pfn++) {
        const uint8_t says = guest_says(fake, pfn);
        const bool in_use = says >= MODEL_FREE || says == MODEL_METADATA;
        MUST(!in_use || fake->populated[pfn], "0x%lx is in use and a hole", pfn);
        MUST(says < MODEL_FREE || !fake->dirty[pfn], "0x%lx is in use and wasn't cleared", pfn);
        count += fake->populated[pfn];
    }
    MUST(count == fake->populated_frames, "%lu frames counted", count);
}

/* --- Grants -------------------------------------------------------------------------------------------- */

static int fake_map(void *context, struct pleat_xen_map *maps, unsigned count)
{
    struct fake_xen *fake = context;
    const int error = injected(fake, FAKE_MAP, 0);
    if (error < 0) {
        return error;
    }
    for (unsigned i = 0; i < count; i++) {
        const uint64_t pfn = maps[i].pfn;
        MUST(pfn != 0 && pfn < FAKE_XEN_FRAMES, "a map at 0x%lx", pfn);
        MUST(!fake->populated[pfn] && !fake->foreign[pfn], "a map over 0x%lx", pfn);
        if (pfn == fake->fails_at || maps[i].reference >= 1000) {
            maps[i].result = PLEAT_E_INVALID;
            continue;
        }
        fake->foreign[pfn] = true;
        maps[i].handle = (uint32_t)pfn + 7;
        maps[i].result = 0;
    }
    return 0;
}

static int fake_unmap(void *context, struct pleat_xen_unmap *unmaps, unsigned count)
{
    struct fake_xen *fake = context;
    const int error = injected(fake, FAKE_UNMAP, 0);
    if (error < 0) {
        return error;
    }
    for (unsigned i = 0; i < count; i++) {
        const uint64_t pfn = unmaps[i].pfn;
        MUST(pfn < FAKE_XEN_FRAMES && fake->foreign[pfn], "an unmap of 0x%lx, where nothing is", pfn);
        MUST(unmaps[i].handle == pfn + 7, "another handle");
        unmaps[i].result = pfn == fake->fails_at ? PLEAT_E_BUSY : 0;
        fake->foreign[pfn] = unmaps[i].result != 0;
    }
    return 0;
}

void fake_peer_map(struct fake_xen *fake, uint32_t reference, bool writes)
{
    struct pleat_xen_grant_entry *entry = &fake->grants[reference];
    MUST((entry->flags & 3) == 1, "the peer maps what isn't granted");
    MUST(!writes || (entry->flags & 4) == 0, "the peer writes what it may read");
    entry->flags = (uint16_t)(entry->flags | 8 | (writes ? 16 : 0));
}

void fake_peer_unmap(struct fake_xen *fake, uint32_t reference)
{
    fake->grants[reference].flags = (uint16_t)(fake->grants[reference].flags & ~24);
}

/* --- Events -------------------------------------------------------------------------------------------- */

static int fake_listen(void *context, uint32_t channel, void (*handler)(void *), void *handler_context)
{
    struct fake_xen *fake = context;
    MUST(channel == fake->xen.store_channel, "a strange channel");
    fake->handler = handler;
    fake->handler_context = handler_context;
    return 0;
}

static int fake_send(void *context, uint32_t channel)
{
    struct fake_xen *fake = context;
    MUST(channel == fake->xen.store_channel, "a strange channel");
    fake->events++;
    return 0;
}

static void interrupt(struct fake_xen *fake)
{
    if (fake->handler != NULL) {
        fake->handler(fake->handler_context);
    }
}

/* --- The store ----------------------------------------------------------------------------------------- */

void fake_store_send(struct fake_xen *fake, uint32_t type, uint32_t req_id, uint32_t tx_id, uint32_t claimed,
                     const void *payload, uint32_t bytes)
{
    const struct pleat_xen_store_header header = {type, req_id, tx_id, claimed};
    MUST(fake->out_bytes + sizeof(header) + bytes <= sizeof(fake->out), "the store has too much to say");
    memcpy(&fake->out[fake->out_bytes], &header, sizeof(header));
    memcpy(&fake->out[fake->out_bytes + sizeof(header)], payload, bytes);
    fake->out_bytes += (uint32_t)sizeof(header) + bytes;
}

static void copy(char to[64], const char *from)
{
    const size_t length = strlen(from);
    MUST(length < 64, "a text of %zu characters", length);
    memcpy(to, from, length + 1);
}

static struct fake_node *find_node(struct fake_xen *fake, const char *path)
{
    for (unsigned i = 0; i < FAKE_XEN_NODES; i++) {
        if (strcmp(fake->nodes[i].path, path) == 0) {
            return &fake->nodes[i];
        }
    }
    return NULL;
}

const char *fake_store_value(const struct fake_xen *fake, const char *path)
{
    for (unsigned i = 0; i < FAKE_XEN_NODES; i++) {
        if (strcmp(fake->nodes[i].path, path) == 0) {
            return fake->nodes[i].value;
        }
    }
    return NULL;
}

static void fire(struct fake_xen *fake, const char *path)
{
    for (unsigned i = 0; i < FAKE_XEN_WATCHES; i++) {
        const struct fake_watch *watch = &fake->watches[i];
        if (watch->set && strncmp(path, watch->path, strlen(watch->path)) == 0) {
            char payload[130];
            const int bytes = snprintf(payload, sizeof(payload), "%s%c%s", path, '\0', watch->token) + 1;
            fake_store_send(fake, PLEAT_XEN_STORE_WATCH_EVENT, 0, 0, (uint32_t)bytes, payload,
                            (uint32_t)bytes);
        }
    }
}

static void set_node(struct fake_xen *fake, const char *path, const char *value, size_t bytes)
{
    struct fake_node *node = find_node(fake, path);
    if (node == NULL) {
        node = find_node(fake, "");
        MUST(node != NULL, "too many nodes");
    }
    memset(node, 0, sizeof(*node));
    if (value != NULL) {
        copy(node->path, path);
        memcpy(node->value, value, bytes < sizeof(node->value) ? bytes : sizeof(node->value) - 1);
    }
    fire(fake, path);
}

void fake_store_write(struct fake_xen *fake, const char *path, const char *value)
{
    set_node(fake, path, value, value == NULL ? 0 : strlen(value));
}

static void reply(struct fake_xen *fake, const struct pleat_xen_store_header *request, const char *data,
                  size_t bytes)
{
    fake_store_send(fake, request->type, request->req_id, 0, (uint32_t)bytes, data, (uint32_t)bytes);
}

static void reply_error(struct fake_xen *fake, const struct pleat_xen_store_header *request, const char *name)
{
    fake_store_send(fake, PLEAT_XEN_STORE_ERROR, request->req_id, 0, (uint32_t)strlen(name) + 1, name,
                    (uint32_t)strlen(name) + 1);
}

static void set_watch(struct fake_xen *fake, const struct pleat_xen_store_header *request, const char *path,
                      const char *token)
{
    for (unsigned i = 0; i < FAKE_XEN_WATCHES; i++) {
        struct fake_watch *watch = &fake->watches[i];
        if (!watch->set) {
            watch->set = true;
            copy(watch->path, path);
            copy(watch->token, token);
            reply(fake, request, "OK", 3);
            char payload[130];
            const int bytes = snprintf(payload, sizeof(payload), "%s%c%s", path, '\0', token) + 1;
            fake_store_send(fake, PLEAT_XEN_STORE_WATCH_EVENT, 0, 0, (uint32_t)bytes, payload,
                            (uint32_t)bytes);
            return;
        }
    }
    reply_error(fake, request, "E2BIG");
}

static void end_watch(struct fake_xen *fake, const struct pleat_xen_store_header *request, const char *path,
                      const char *token)
{
    for (unsigned i = 0; i < FAKE_XEN_WATCHES; i++) {
        struct fake_watch *watch = &fake->watches[i];
        if (watch->set && strcmp(watch->path, path) == 0 && strcmp(watch->token, token) == 0) {
            watch->set = false;
            reply(fake, request, "OK", 3);
            return;
        }
    }
    reply_error(fake, request, "ENOENT");
}

static void list(struct fake_xen *fake, const struct pleat_xen_store_header *request, const char *path)
{
    char names[1024];
    size_t bytes = 0;
    for (unsigned i = 0; i < FAKE_XEN_NODES; i++) {
        const char *node = fake->nodes[i].path;
        const size_t length = strlen(path);
        if (strncmp(node, path, length) == 0 && node[length] == '/') {
            bytes += (size_t)snprintf(&names[bytes], sizeof(names) - bytes, "%s", &node[length + 1]) + 1;
        }
    }
    reply(fake, request, names, bytes);
}

static void serve(struct fake_xen *fake)
{
    struct pleat_xen_store_header request;
    memcpy(&request, fake->in, sizeof(request));
    const char *path = (const char *)&fake->in[sizeof(request)];
    const size_t used = strnlen(path, request.len) + 1;
    const char *value = path + used;
    const struct fake_node *node = find_node(fake, path);
    MUST(request.tx_id == 0, "a transaction");
    MUST(used <= request.len, "a path without an end");
    if (strncmp(path, "denied", 6) == 0) {
        reply_error(fake, &request, "EACCES");
        return;
    }
    switch (request.type) {
    case PLEAT_XEN_STORE_READ:
        if (node == NULL) {
            reply_error(fake, &request, "ENOENT");
        } else {
            reply(fake, &request, node->value, strlen(node->value));
        }
        break;
    case PLEAT_XEN_STORE_DIRECTORY:
        list(fake, &request, path);
        break;
    case PLEAT_XEN_STORE_WRITE:
        reply(fake, &request, "OK", 3);
        set_node(fake, path, value, request.len - used);
        break;
    case PLEAT_XEN_STORE_MKDIR:
        reply(fake, &request, "OK", 3);
        set_node(fake, path, "", 0);
        break;
    case PLEAT_XEN_STORE_RM:
        reply(fake, &request, "OK", 3);
        set_node(fake, path, NULL, 0);
        break;
    case PLEAT_XEN_STORE_SET_PERMISSIONS:
        /* For the test to see: the first one. */
        reply(fake, &request, "OK", 3);
        set_node(fake, "permissions", value, strlen(value));
        break;
    case PLEAT_XEN_STORE_WATCH:
        set_watch(fake, &request, path, value);
        break;
    case PLEAT_XEN_STORE_UNWATCH:
        end_watch(fake, &request, path, value);
        break;
    default:
        BREACH("a request of type %u", request.type);
    }
}

static bool take_requests(struct fake_xen *fake)
{
    uint32_t available = fake->page.request_produced - fake->page.request_consumed;
    bool any = false;
    MUST(available <= PLEAT_XEN_STORE_RING_BYTES, "an index of the guest's is out of range");
    if (fake->store_most != 0 && available > fake->store_most) {
        available = fake->store_most;
    }
    for (; available > 0; available--) {
        struct pleat_xen_store_header header;
        fake->in[fake->have++] =
            fake->page.requests[fake->page.request_consumed++ % PLEAT_XEN_STORE_RING_BYTES];
        any = true;
        memcpy(&header, fake->in, sizeof(header));
        if (fake->have >= sizeof(header)) {
            MUST(header.len <= PLEAT_XEN_STORE_PAYLOAD_MAX, "a payload of %u bytes", header.len);
            if (fake->have == sizeof(header) + header.len) {
                fake->have = 0;
                if (!fake->store_silent) {
                    serve(fake);
                }
            }
        }
    }
    return any;
}

static bool put_answers(struct fake_xen *fake)
{
    uint32_t room =
        PLEAT_XEN_STORE_RING_BYTES - (fake->page.response_produced - fake->page.response_consumed);
    uint32_t done = 0;
    if (fake->store_most != 0 && room > fake->store_most) {
        room = fake->store_most;
    }
    while (done < room && done < fake->out_bytes) {
        fake->page.responses[fake->page.response_produced++ % PLEAT_XEN_STORE_RING_BYTES] = fake->out[done++];
    }
    fake->out_bytes -= done;
    memmove(fake->out, &fake->out[done], fake->out_bytes);
    return done > 0;
}

bool fake_store_run(struct fake_xen *fake)
{
    if (fake->page.connection != PLEAT_XEN_STORE_CONNECTED) {
        return false;
    }
    const bool taken = take_requests(fake);
    const bool put = put_answers(fake);
    if (taken || put) {
        interrupt(fake);
    }
    return taken || put;
}

void fake_store_leave(struct fake_xen *fake)
{
    fake->page.connection = PLEAT_XEN_STORE_RECONNECT;
    fake->have = 0;
    fake->out_bytes = 0;
    memset(fake->watches, 0, sizeof(fake->watches));
    interrupt(fake);
}

void fake_store_return(struct fake_xen *fake)
{
    fake->have = 0;
    fake->out_bytes = 0;
    memset(fake->watches, 0, sizeof(fake->watches));
    fake->page.request_consumed = fake->page.request_produced = 0;
    fake->page.response_consumed = fake->page.response_produced = 0;
    fake->page.error = PLEAT_XEN_STORE_ERROR_NONE;
    fake->page.connection = PLEAT_XEN_STORE_CONNECTED;
    interrupt(fake);
}

/* --- Together ------------------------------------------------------------------------------------------ */

void fake_xen_init(struct fake_xen *fake, struct model_memory *model, uint64_t boot_frames, bool with_store)
{
    memset(fake, 0, sizeof(*fake));
    fake->model = model;
    fake->ops = (struct pleat_xen_ops){.decrease = fake_decrease,
                                       .populate = fake_populate,
                                       .current_frames = fake_current,
                                       .maximum_frames = fake_maximum,
                                       .map = fake_map,
                                       .unmap = fake_unmap,
                                       .event_listen = fake_listen,
                                       .event_send = fake_send};
    fake->xen = (struct pleat_xen){.ops = &fake->ops,
                                   .context = fake,
                                   .is_dom0 = !with_store,
                                   .grants = fake->grants,
                                   .grant_count = FAKE_XEN_GRANTS,
                                   .store_page = with_store ? &fake->page : NULL,
                                   .store_channel = 3};
    memset(fake->populated, 1, boot_frames);
    fake->populated_frames = boot_frames;
    fake->maximum_frames = FAKE_XEN_FRAMES;
    memset(fake->most, 0xff, sizeof(fake->most));
    fake->page.server_features = PLEAT_XEN_STORE_FEATURE_RECONNECTION | PLEAT_XEN_STORE_FEATURE_ERROR;
}
