/* SPDX-License-Identifier: MIT
 *
 * The client of XenStore. Requests go as whole messages into a queue of the instance, and from there byte by
 * byte into the ring, as there is room; what comes is put together in a buffer of the instance before
 * anything of it is believed. Of the page's indices the client's own two are only ever written: a peer that
 * changes them changes nothing.
 *
 * A request that timed out keeps its place, "abandoned", until the store does answer it, because an answer to
 * nothing is a breach of the protocol. Watches are kept in a table of states, and the step sends what each of
 * them needs as soon as there is a place for a request: so it is after a reconnection, too.
 */
#include <stdatomic.h>

#include <pleat/memory_ops.h>
#include <pleat/port.h>
#include <pleat/wire/xen_store.h>
#include <pleat/xen.h>
#include <pleat/xen_store.h>

#include "../common/log.h"
#include "../common/text.h"

#define RING    ((uint32_t)PLEAT_XEN_STORE_RING_BYTES)
#define HEADER  ((uint32_t)sizeof(struct pleat_xen_store_header))
#define PAYLOAD ((uint32_t)PLEAT_XEN_STORE_PAYLOAD_MAX)
/** Of the queue; the largest message fits in with some to spare. */
#define QUEUE_BYTES          8192u
#define PLACES_MAX           256u
#define DEFAULT_PLACES       16u
#define DEFAULT_BUDGET_BYTES 8192u
#define DEFAULT_TIMEOUT_NS   UINT64_C(30000000000)
/** Between two looks at a store that is away: it may have come back without an event. */
#define AWAY_POLL_NS UINT64_C(1000000000)
#define TOKEN_BYTES  24u
/** A message has no more strings than this. */
#define PARTS_MAX 3u

enum request_state {
    REQUEST_FREE = 0,
    REQUEST_OUT,      /**< in the queue, in the ring, or with the store */
    REQUEST_ABANDONED /**< its caller has been told TIMEOUT; the store may yet answer */
};

struct request {
    uint8_t state;
    uint8_t type;
    bool ends;        /**< is being answered by the client itself, because the connection is lost */
    uint32_t id;      /**< the place in the low 8 bits, above it how often it was used */
    struct watch *of; /**< the watch that it is about; NULL: a caller's own request */
    uint64_t deadline_ns;
    pleat_xen_store_answer_fn *answer;
    void *context;
};

enum watch_state {
    WATCH_FREE = 0,
    WATCH_WANTED,  /**< to be set */
    WATCH_ASKED,   /**< WATCH is on its way */
    WATCH_SET,     /**< the store has confirmed it */
    WATCH_LEAVING, /**< nobody listens any more; to be ended */
    WATCH_LEFT     /**< UNWATCH is on its way */
};

struct watch {
    uint8_t state;
    uint32_t generation; /**< in the token, so that late events of an ended watch aren't mistaken */
    const char *path;
    pleat_xen_store_event_fn *event;
    void *context;
};

struct pleat_xen_store {
    struct pleat_xen_store_config config; /**< defaults filled in */
    struct pleat_xen_store_page *page;
    enum pleat_xen_store_phase phase;
    const char *why; /**< of BROKEN */
    _Atomic bool pending;
    uint64_t now_ns;
    uint64_t wake_ns; /**< UINT64_MAX: no time is waited for */

    uint32_t produced; /**< in the request ring, by us */
    uint32_t consumed; /**< of the response ring, by us */
    bool notify;       /**< something was produced or consumed since the last event sent */

    uint32_t queue_first;
    uint32_t queue_bytes; /**< <= QUEUE_BYTES */
    uint32_t have;        /**< bytes of the message that is coming, header included */

    struct request *requests;
    struct watch *watches;
    struct pleat_xen_store_statistics statistics;
    struct pleat_xen_store_header coming;
    char payload[PLEAT_XEN_STORE_PAYLOAD_MAX + 1]; /**< of it; one more for a NUL */
    uint8_t queue[QUEUE_BYTES];
};

/* --- Strings ---------------------------------------------------------------------------------------------
 */

static size_t length_of(const char *string)
{
    size_t length = 0;
    while (string[length] != '\0') {
        length++;
    }
    return length;
}

static bool is_same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

/* --- The page --------------------------------------------------------------------------------------------
 */

static uint32_t load(const uint32_t *field)
{
    return __atomic_load_n(field, __ATOMIC_ACQUIRE);
}

static void publish(uint32_t *field, uint32_t value)
{
    __atomic_store_n(field, value, __ATOMIC_RELEASE);
}

static bool is_connected(const struct pleat_xen_store *store)
{
    return store->phase == PLEAT_XEN_STORE_PHASE_CONNECTED || store->phase == PLEAT_XEN_STORE_PHASE_SILENT;
}

static bool has_clock(const struct pleat_xen_store *store)
{
    return store->config.memory != NULL && store->config.memory->ops->clock_ns != NULL;
}

static void kick(struct pleat_xen_store *store)
{
    atomic_store(&store->pending, true);
    if (store->config.wake != NULL) {
        store->config.wake(store->config.context);
    }
}

static void say(const struct pleat_xen_store *store, enum pleat_log_level level)
{
    char line[160];
    (void)pleat_xen_store_phase(store, line, sizeof(line));
    pleat_log_line(store->config.memory, level, store->config.name, line);
}

/* --- The end of a connection -----------------------------------------------------------------------------
 */

/* New requests may come out of the callbacks: they are of the time after. */
static void end_requests(struct pleat_xen_store *store, int error)
{
    for (unsigned i = 0; i < store->config.requests_max; i++) {
        struct request *request = &store->requests[i];
        request->ends = request->state == REQUEST_OUT && request->of == NULL;
        if (!request->ends) {
            request->state = REQUEST_FREE;
        }
    }
    for (unsigned i = 0; i < store->config.requests_max; i++) {
        struct request *request = &store->requests[i];
        if (request->ends) {
            request->ends = false;
            request->state = REQUEST_FREE;
            if (request->answer != NULL) {
                request->answer(request->context, error, "", 0);
            }
        }
    }
}

/* Watches wait to be set again. */
static void lose(struct pleat_xen_store *store, enum pleat_xen_store_phase phase, const char *why, int error)
{
    store->phase = phase;
    store->why = why;
    store->queue_bytes = 0;
    store->have = 0;
    store->notify = false;
    for (unsigned i = 0; i < store->config.watches_max; i++) {
        struct watch *watch = &store->watches[i];
        const bool ends = watch->state == WATCH_LEAVING || watch->state == WATCH_LEFT;
        if (watch->state != WATCH_FREE) {
            watch->state = ends ? WATCH_FREE : WATCH_WANTED;
        }
    }
    say(store, PLEAT_LOG_WARNING);
    end_requests(store, error);
}

static void break_off(struct pleat_xen_store *store, const char *why)
{
    store->statistics.breaks++;
    lose(store, PLEAT_XEN_STORE_PHASE_BROKEN, why, PLEAT_E_PROTOCOL);
}

static const char *said_error(uint32_t error)
{
    switch (error) {
    case PLEAT_XEN_STORE_ERROR_COMMUNICATION:
        return "the store has closed the connection: trouble in communication";
    case PLEAT_XEN_STORE_ERROR_INDEX:
        return "the store has closed the connection: a ring index of ours is invalid";
    case PLEAT_XEN_STORE_ERROR_PROTOCOL:
        return "the store has closed the connection: a payload of ours is too long";
    default:
        return "the store has closed the connection, for a reason that doesn't exist";
    }
}

static uint64_t deadline(const struct pleat_xen_store *store)
{
    const uint64_t timeout = store->config.answer_timeout_ns;
    if (!has_clock(store) || timeout == PLEAT_XEN_OFF) {
        return UINT64_MAX;
    }
    const uint64_t now = store->config.memory->ops->clock_ns(store->config.memory->context);
    return timeout < UINT64_MAX - now ? now + timeout : UINT64_MAX;
}

/* What somebody before us was still to be told, maybe in the middle of a message, is nothing to us. */
static void connect(struct pleat_xen_store *store)
{
    store->phase = PLEAT_XEN_STORE_PHASE_CONNECTED;
    store->why = NULL;
    store->produced = load(&store->page->request_produced);
    store->consumed = load(&store->page->response_produced);
    publish(&store->page->response_consumed, store->consumed);
    store->statistics.connections++;
    /* Those that have waited for it have all their time. */
    for (unsigned i = 0; i < store->config.requests_max; i++) {
        store->requests[i].deadline_ns = deadline(store);
    }
}

static void follow_connection(struct pleat_xen_store *store)
{
    const uint32_t connection = load(&store->page->connection);
    const uint32_t error = load(&store->page->error);
    if (connection == PLEAT_XEN_STORE_RECONNECT) {
        if (is_connected(store)) {
            lose(store, PLEAT_XEN_STORE_PHASE_AWAY, NULL, PLEAT_E_CANCELLED);
        }
    } else if (connection != PLEAT_XEN_STORE_CONNECTED) {
        break_off(store, "connection has a value that doesn't exist");
    } else if ((load(&store->page->server_features) & PLEAT_XEN_STORE_FEATURE_ERROR) != 0 && error != 0) {
        break_off(store, said_error(error));
    } else if (store->phase == PLEAT_XEN_STORE_PHASE_AWAY) {
        connect(store);
        say(store, PLEAT_LOG_INFO);
    }
}

/* --- Requests --------------------------------------------------------------------------------------------
 */

struct part {
    const void *data;
    size_t bytes;
};

/* There is room. */
static void enqueue(struct pleat_xen_store *store, const void *data, size_t bytes)
{
    const size_t to = (store->queue_first + store->queue_bytes) % QUEUE_BYTES;
    const size_t run = bytes < QUEUE_BYTES - to ? bytes : QUEUE_BYTES - to;
    __builtin_memcpy(&store->queue[to], data, run);
    if (bytes > run) {
        __builtin_memcpy(store->queue, (const uint8_t *)data + run, bytes - run);
    }
    store->queue_bytes += (uint32_t)bytes;
}

static struct request *free_place(struct pleat_xen_store *store)
{
    for (unsigned i = 0; i < store->config.requests_max; i++) {
        if (store->requests[i].state == REQUEST_FREE && !store->requests[i].ends) {
            return &store->requests[i];
        }
    }
    return NULL;
}

/* The payload is what the parts are in a row. */
static int put_request(struct pleat_xen_store *store, unsigned type, struct watch *of,
                       const struct part *parts, unsigned count, pleat_xen_store_answer_fn *answer,
                       void *context)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (parts[i].bytes > PAYLOAD - bytes) {
            return PLEAT_E_INVALID;
        }
        bytes += parts[i].bytes;
    }
    if (store->phase == PLEAT_XEN_STORE_PHASE_BROKEN) {
        return PLEAT_E_STATE;
    }
    struct request *request = free_place(store);
    if (request == NULL || HEADER + bytes > QUEUE_BYTES - store->queue_bytes) {
        return PLEAT_E_NO_MEMORY;
    }
    *request = (struct request){.state = REQUEST_OUT,
                                .type = (uint8_t)type,
                                .id = request->id + PLACES_MAX,
                                .of = of,
                                .deadline_ns = deadline(store),
                                .answer = answer,
                                .context = context};
    const struct pleat_xen_store_header header = {
        .type = type, .req_id = request->id, .tx_id = 0, .len = (uint32_t)bytes};
    enqueue(store, &header, sizeof(header));
    for (unsigned i = 0; i < count; i++) {
        enqueue(store, parts[i].data, parts[i].bytes);
    }
    store->statistics.requests++;
    return 0;
}

static bool is_path_character(char character)
{
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') || character == '-' || character == '/' ||
           character == '_' || character == '@';
}

/* Bytes with the NUL; 0: it can't be a path. */
static size_t path_bytes(const char *path)
{
    if (path == NULL || *path == '\0') {
        return 0;
    }
    const size_t most = *path == '/' ? PLEAT_XEN_STORE_ABSOLUTE_PATH_MAX : PLEAT_XEN_STORE_RELATIVE_PATH_MAX;
    size_t length = 0;
    while (path[length] != '\0') {
        if (length == most || !is_path_character(path[length])) {
            return 0;
        }
        length++;
    }
    return length + 1;
}

static int put_path_request(struct pleat_xen_store *store, unsigned type, const char *path, const void *value,
                            size_t bytes, pleat_xen_store_answer_fn *answer, void *context)
{
    const struct part parts[] = {{path, path_bytes(path)}, {value, bytes}};
    if (parts[0].bytes == 0 || (value == NULL && bytes > 0)) {
        return PLEAT_E_INVALID;
    }
    const int error = put_request(store, type, NULL, parts, bytes > 0 ? 2 : 1, answer, context);
    if (error == 0) {
        kick(store);
    }
    return error;
}

int pleat_xen_store_read(struct pleat_xen_store *store, const char *path, pleat_xen_store_answer_fn *answer,
                         void *context)
{
    return put_path_request(store, PLEAT_XEN_STORE_READ, path, NULL, 0, answer, context);
}

int pleat_xen_store_write(struct pleat_xen_store *store, const char *path, const void *value, size_t bytes,
                          pleat_xen_store_answer_fn *answer, void *context)
{
    return put_path_request(store, PLEAT_XEN_STORE_WRITE, path, value, bytes, answer, context);
}

int pleat_xen_store_mkdir(struct pleat_xen_store *store, const char *path, pleat_xen_store_answer_fn *answer,
                          void *context)
{
    return put_path_request(store, PLEAT_XEN_STORE_MKDIR, path, NULL, 0, answer, context);
}

int pleat_xen_store_remove(struct pleat_xen_store *store, const char *path, pleat_xen_store_answer_fn *answer,
                           void *context)
{
    return put_path_request(store, PLEAT_XEN_STORE_RM, path, NULL, 0, answer, context);
}

int pleat_xen_store_directory(struct pleat_xen_store *store, const char *path,
                              pleat_xen_store_answer_fn *answer, void *context)
{
    return put_path_request(store, PLEAT_XEN_STORE_DIRECTORY, path, NULL, 0, answer, context);
}

int pleat_xen_store_set_permissions(struct pleat_xen_store *store, const char *path,
                                    const struct pleat_xen_store_permission *permissions, unsigned count,
                                    pleat_xen_store_answer_fn *answer, void *context)
{
    /* A letter, at most five digits, a NUL. */
    char list[7 * 16];
    size_t bytes = 0;
    if (count == 0 || count > sizeof(list) / 7) {
        return PLEAT_E_INVALID;
    }
    for (unsigned i = 0; i < count; i++) {
        const bool read = permissions[i].read;
        const char *letter = permissions[i].write ? (read ? "b" : "w") : (read ? "r" : "n");
        struct pleat_fixed_text text = pleat_fixed_text_begin(&list[bytes], sizeof(list) - bytes);
        pleat_put(&text, letter);
        pleat_put_number(&text, permissions[i].domain);
        bytes += length_of(&list[bytes]) + 1;
    }
    return put_path_request(store, PLEAT_XEN_STORE_SET_PERMISSIONS, path, list, bytes, answer, context);
}

/* --- Watches ---------------------------------------------------------------------------------------------
 */

int pleat_xen_store_watch(struct pleat_xen_store *store, const char *path, pleat_xen_store_event_fn *event,
                          void *context)
{
    if (path_bytes(path) == 0 || path_bytes(path) > PAYLOAD - TOKEN_BYTES || event == NULL) {
        return PLEAT_E_INVALID;
    }
    for (unsigned i = 0; i < store->config.watches_max; i++) {
        struct watch *watch = &store->watches[i];
        if (watch->state == WATCH_FREE) {
            *watch = (struct watch){.state = WATCH_WANTED,
                                    .generation = watch->generation + 1,
                                    .path = path,
                                    .event = event,
                                    .context = context};
            kick(store);
            return (int)i;
        }
    }
    return PLEAT_E_NO_MEMORY;
}

int pleat_xen_store_unwatch(struct pleat_xen_store *store, int number)
{
    if (number < 0 || (unsigned)number >= store->config.watches_max) {
        return PLEAT_E_NOT_FOUND;
    }
    struct watch *watch = &store->watches[number];
    switch (watch->state) {
    case WATCH_WANTED:
        watch->state = WATCH_FREE;
        return 0;
    case WATCH_ASKED:
    case WATCH_SET:
        watch->state = WATCH_LEAVING;
        kick(store);
        return 0;
    default:
        return PLEAT_E_NOT_FOUND;
    }
}

static void make_token(const struct pleat_xen_store *store, const struct watch *watch,
                       char token[TOKEN_BYTES])
{
    struct pleat_fixed_text text = pleat_fixed_text_begin(token, TOKEN_BYTES);
    pleat_put(&text, "pleat-");
    pleat_put_hex(&text, (uint64_t)(watch - store->watches));
    pleat_put(&text, "-");
    pleat_put_hex(&text, watch->generation);
}

static int ask_for_watch(struct pleat_xen_store *store, unsigned type, struct watch *watch)
{
    char token[TOKEN_BYTES];
    make_token(store, watch, token);
    const struct part parts[] = {{watch->path, length_of(watch->path) + 1}, {token, length_of(token) + 1}};
    return put_request(store, type, watch, parts, 2, NULL, NULL);
}

static void ask_for_watches(struct pleat_xen_store *store)
{
    for (unsigned i = 0; i < store->config.watches_max; i++) {
        struct watch *watch = &store->watches[i];
        if (watch->state == WATCH_WANTED && ask_for_watch(store, PLEAT_XEN_STORE_WATCH, watch) == 0) {
            watch->state = WATCH_ASKED;
        } else if (watch->state == WATCH_LEAVING &&
                   ask_for_watch(store, PLEAT_XEN_STORE_UNWATCH, watch) == 0) {
            watch->state = WATCH_LEFT;
        }
    }
}

/* The store has answered to a WATCH or an UNWATCH. */
static void watch_answered(const struct request *request, int error)
{
    struct watch *watch = request->of;
    if (request->type == PLEAT_XEN_STORE_UNWATCH) {
        watch->state = WATCH_FREE;
    } else if (watch->state == WATCH_ASKED) {
        watch->state = error == 0 ? WATCH_SET : WATCH_FREE;
        if (error < 0) {
            watch->event(watch->context, error, NULL);
        }
    }
}

/* --- What comes ------------------------------------------------------------------------------------------
 */

/* Names of errors: xs_wire.h. */
static int error_of_name(const char *name)
{
    static const struct {
        char name[10];
        int error;
    } names[] = {
        {"ENOENT", PLEAT_E_NOT_FOUND}, {"EACCES", PLEAT_E_REFUSED},  {"EPERM", PLEAT_E_REFUSED},
        {"EROFS", PLEAT_E_REFUSED},    {"EINVAL", PLEAT_E_INVALID},  {"EISDIR", PLEAT_E_INVALID},
        {"EEXIST", PLEAT_E_EXISTS},    {"EISCONN", PLEAT_E_EXISTS},  {"ENOMEM", PLEAT_E_NO_MEMORY},
        {"ENOSPC", PLEAT_E_NO_MEMORY}, {"E2BIG", PLEAT_E_NO_MEMORY}, {"EBUSY", PLEAT_E_BUSY},
        {"EAGAIN", PLEAT_E_BUSY},      {"ENOTEMPTY", PLEAT_E_STATE}, {"ENOSYS", PLEAT_E_UNSUPPORTED},
    };
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is_same(name, names[i].name)) {
            return names[i].error;
        }
    }
    return PLEAT_E_DEVICE;
}

static void take_answer(struct pleat_xen_store *store)
{
    const struct pleat_xen_store_header *header = &store->coming;
    const uint32_t place = header->req_id % PLACES_MAX;
    if (place >= store->config.requests_max || store->requests[place].state == REQUEST_FREE ||
        store->requests[place].id != header->req_id) {
        break_off(store, "an answer to no request");
        return;
    }
    struct request *request = &store->requests[place];
    if (header->type != request->type && header->type != PLEAT_XEN_STORE_ERROR) {
        break_off(store, "an answer to another kind of request");
        return;
    }
    if (header->tx_id != 0) {
        break_off(store, "an answer within a transaction");
        return;
    }
    const bool is_error = header->type == PLEAT_XEN_STORE_ERROR;
    const int error = is_error ? error_of_name(store->payload) : 0;
    const struct request answered = *request;
    request->state = REQUEST_FREE;
    store->phase = PLEAT_XEN_STORE_PHASE_CONNECTED;
    store->statistics.answers++;
    store->statistics.errors += is_error;
    if (answered.of != NULL) {
        watch_answered(&answered, error);
    } else if (answered.state == REQUEST_OUT && answered.answer != NULL) {
        answered.answer(answered.context, error, is_error ? "" : store->payload, is_error ? 0 : header->len);
    }
}

/* The payload: a path and a token, which end with NUL each. */
static void take_event(struct pleat_xen_store *store)
{
    const size_t bytes = store->coming.len;
    const size_t path_length = length_of(store->payload);
    if (path_length + 1 >= bytes || store->payload[bytes - 1] != '\0') {
        break_off(store, "a watch event without path or token");
        return;
    }
    const char *token = &store->payload[path_length + 1];
    for (unsigned i = 0; i < store->config.watches_max; i++) {
        const struct watch *watch = &store->watches[i];
        char expected[TOKEN_BYTES];
        if (watch->state != WATCH_ASKED && watch->state != WATCH_SET) {
            continue;
        }
        make_token(store, watch, expected);
        if (is_same(token, expected)) {
            store->statistics.events++;
            watch->event(watch->context, 0, store->payload);
            return;
        }
    }
    store->statistics.events_ignored++;
}

static void take_message(struct pleat_xen_store *store)
{
    store->have = 0;
    store->payload[store->coming.len] = '\0';
    if (store->coming.type == PLEAT_XEN_STORE_WATCH_EVENT) {
        take_event(store);
    } else {
        take_answer(store);
    }
}

/* --- The rings -------------------------------------------------------------------------------------------
 */

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* From the queue into the request ring; bytes moved. */
static uint32_t push(struct pleat_xen_store *store)
{
    const uint32_t used = store->produced - load(&store->page->request_consumed);
    if (used > RING) {
        break_off(store, "the index of the request ring is out of range");
        return 0;
    }
    uint32_t moved = 0;
    const uint32_t most = least(RING - used, store->queue_bytes);
    while (moved < most) {
        const uint32_t to = (store->produced + moved) % RING;
        const uint32_t run = least(least(most - moved, RING - to), QUEUE_BYTES - store->queue_first);
        __builtin_memcpy(&store->page->requests[to], &store->queue[store->queue_first], run);
        store->queue_first = (store->queue_first + run) % QUEUE_BYTES;
        store->queue_bytes -= run;
        moved += run;
    }
    if (moved > 0) {
        store->produced += moved;
        publish(&store->page->request_produced, store->produced);
        store->statistics.bytes_out += moved;
        store->notify = true;
    }
    return moved;
}

/* Up to `most` bytes of the response ring to where they belong. */
static uint32_t copy_in(struct pleat_xen_store *store, void *to, uint32_t most, uint32_t available)
{
    const uint32_t bytes = least(most, available);
    const uint32_t from = store->consumed % RING;
    const uint32_t run = least(bytes, RING - from);
    __builtin_memcpy(to, &store->page->responses[from], run);
    __builtin_memcpy((uint8_t *)to + run, store->page->responses, bytes - run);
    store->consumed += bytes;
    store->have += bytes;
    return bytes;
}

/* What there is of one message out of the response ring; bytes moved. */
static uint32_t pull(struct pleat_xen_store *store)
{
    uint32_t available = load(&store->page->response_produced) - store->consumed;
    if (available > RING) {
        break_off(store, "the index of the response ring is out of range");
        return 0;
    }
    uint32_t moved = 0;
    if (store->have < HEADER) {
        moved = copy_in(store, (uint8_t *)&store->coming + store->have, HEADER - store->have, available);
        available -= moved;
    }
    if (store->have >= HEADER) {
        if (store->coming.len > PAYLOAD) {
            break_off(store, "a message that is too long");
            return 0;
        }
        const uint32_t there = store->have - HEADER;
        moved += copy_in(store, &store->payload[there], store->coming.len - there, available);
    }
    if (moved > 0) {
        publish(&store->page->response_consumed, store->consumed);
        store->statistics.bytes_in += moved;
        store->notify = true;
    }
    if (store->have >= HEADER && store->have == HEADER + store->coming.len) {
        take_message(store);
    }
    return moved;
}

/* --- Time ------------------------------------------------------------------------------------------------
 */

static void time_out(struct pleat_xen_store *store, struct request *request)
{
    store->statistics.timeouts++;
    if (store->phase == PLEAT_XEN_STORE_PHASE_CONNECTED) {
        store->phase = PLEAT_XEN_STORE_PHASE_SILENT;
        say(store, PLEAT_LOG_WARNING);
    }
    if (request->of != NULL) {
        request->deadline_ns = deadline(store);
        return;
    }
    request->state = REQUEST_ABANDONED;
    if (request->answer != NULL) {
        request->answer(request->context, PLEAT_E_TIMEOUT, "", 0);
    }
}

/* A store that is away isn't expected to answer. */
static void watch_the_clock(struct pleat_xen_store *store)
{
    store->wake_ns = UINT64_MAX;
    if (!has_clock(store)) {
        return;
    }
    if (store->phase == PLEAT_XEN_STORE_PHASE_AWAY) {
        store->wake_ns = store->now_ns + AWAY_POLL_NS;
        return;
    }
    for (unsigned i = 0; i < store->config.requests_max && is_connected(store); i++) {
        struct request *request = &store->requests[i];
        if (request->state == REQUEST_OUT && store->now_ns >= request->deadline_ns) {
            time_out(store, request);
        }
        if (request->state == REQUEST_OUT && request->deadline_ns < store->wake_ns) {
            store->wake_ns = request->deadline_ns;
        }
    }
}

/* --- The step --------------------------------------------------------------------------------------------
 */

static void notify(struct pleat_xen_store *store)
{
    const struct pleat_xen *xen = store->config.xen;
    if (store->notify) {
        store->notify = false;
        store->statistics.notifications++;
        (void)xen->ops->event_send(xen->context, xen->store_channel);
    }
}

static void move(struct pleat_xen_store *store, uint64_t budget)
{
    uint64_t moved = 1;
    while (is_connected(store) && moved > 0) {
        ask_for_watches(store);
        moved = push(store);
        if (is_connected(store)) {
            moved += pull(store);
        }
        if (moved >= budget) {
            atomic_store(&store->pending, true);
            return;
        }
        budget -= moved;
    }
}

enum pleat_xen_wake pleat_xen_store_step(struct pleat_xen_store *store, uint64_t budget_bytes)
{
    store->statistics.steps++;
    atomic_store(&store->pending, false);
    store->wake_ns = UINT64_MAX;
    if (has_clock(store)) {
        store->now_ns = store->config.memory->ops->clock_ns(store->config.memory->context);
    }
    if (store->phase == PLEAT_XEN_STORE_PHASE_BROKEN) {
        return PLEAT_XEN_WAKE_ON_EVENT;
    }
    follow_connection(store);
    move(store, budget_bytes > 0 ? budget_bytes : DEFAULT_BUDGET_BYTES);
    watch_the_clock(store);
    notify(store);
    if (atomic_load(&store->pending)) {
        return PLEAT_XEN_WAKE_NOW;
    }
    return store->wake_ns != UINT64_MAX ? PLEAT_XEN_WAKE_AT_TIME : PLEAT_XEN_WAKE_ON_EVENT;
}

uint64_t pleat_xen_store_wake_ns(const struct pleat_xen_store *store)
{
    return store->wake_ns == UINT64_MAX ? 0 : store->wake_ns;
}

void pleat_xen_store_event(struct pleat_xen_store *store)
{
    kick(store);
}

static void on_event(void *context)
{
    kick(context);
}

/* --- Life ------------------------------------------------------------------------------------------------
 */

static unsigned places(unsigned number)
{
    return number == 0 ? DEFAULT_PLACES : number;
}

size_t pleat_xen_store_storage_bytes(unsigned requests_max, unsigned watches_max)
{
    if (requests_max > PLACES_MAX || watches_max > PLACES_MAX) {
        return 0;
    }
    return sizeof(struct pleat_xen_store) + places(requests_max) * sizeof(struct request) +
           places(watches_max) * sizeof(struct watch);
}

static bool is_sound(const struct pleat_xen_store_config *config)
{
    const size_t bytes = pleat_xen_store_storage_bytes(config->requests_max, config->watches_max);
    return config->xen != NULL && config->xen->ops != NULL && config->storage != NULL && bytes != 0 &&
           config->storage_bytes >= bytes && (uintptr_t)config->storage % PLEAT_XEN_STORE_ALIGNMENT == 0;
}

int pleat_xen_store_create(const struct pleat_xen_store_config *config, struct pleat_xen_store **created)
{
    if (!is_sound(config)) {
        return PLEAT_E_INVALID;
    }
    const struct pleat_xen *xen = config->xen;
    if (xen->store_page == NULL) {
        return PLEAT_E_NOT_FOUND;
    }
    struct pleat_xen_store *store = config->storage;
    __builtin_memset(store, 0, pleat_xen_store_storage_bytes(config->requests_max, config->watches_max));
    store->config = *config;
    store->config.requests_max = places(config->requests_max);
    store->config.watches_max = places(config->watches_max);
    if (config->name == NULL) {
        store->config.name = "xenstore";
    }
    if (config->answer_timeout_ns == 0) {
        store->config.answer_timeout_ns = DEFAULT_TIMEOUT_NS;
    }
    store->requests = (struct request *)(store + 1);
    store->watches = (struct watch *)(store->requests + store->config.requests_max);
    for (unsigned i = 0; i < store->config.requests_max; i++) {
        store->requests[i].id = i;
    }
    store->page = xen->store_page;
    store->wake_ns = UINT64_MAX;
    if (load(&store->page->connection) == PLEAT_XEN_STORE_CONNECTED) {
        connect(store);
    } else {
        store->phase = PLEAT_XEN_STORE_PHASE_AWAY;
    }
    const int channel = xen->ops->event_listen(xen->context, xen->store_channel, on_event, store);
    if (channel < 0) {
        return channel;
    }
    *created = store;
    return 0;
}

int pleat_xen_store_reconnect(struct pleat_xen_store *store)
{
    const struct pleat_xen *xen = store->config.xen;
    if ((load(&store->page->server_features) & PLEAT_XEN_STORE_FEATURE_RECONNECTION) == 0) {
        return PLEAT_E_UNSUPPORTED;
    }
    publish(&store->page->connection, PLEAT_XEN_STORE_RECONNECT);
    lose(store, PLEAT_XEN_STORE_PHASE_AWAY, NULL, PLEAT_E_CANCELLED);
    store->statistics.notifications++;
    (void)xen->ops->event_send(xen->context, xen->store_channel);
    kick(store);
    return 0;
}

enum pleat_xen_store_phase pleat_xen_store_phase(const struct pleat_xen_store *store, char *text,
                                                 size_t text_bytes)
{
    static const char *const texts[PLEAT_XEN_STORE_PHASES] = {
        [PLEAT_XEN_STORE_PHASE_CONNECTED] = "connected",
        [PLEAT_XEN_STORE_PHASE_AWAY] = "no store is connected",
        [PLEAT_XEN_STORE_PHASE_SILENT] = "the store doesn't answer",
        [PLEAT_XEN_STORE_PHASE_BROKEN] = "the store broke the protocol",
    };
    struct pleat_fixed_text out = pleat_fixed_text_begin(text, text_bytes);
    pleat_put(&out, texts[store->phase]);
    if (store->why != NULL) {
        pleat_put(&out, ": ");
        pleat_put(&out, store->why);
    }
    return store->phase;
}

void pleat_xen_store_statistics(const struct pleat_xen_store *store,
                                struct pleat_xen_store_statistics *statistics)
{
    *statistics = store->statistics;
}

bool pleat_xen_store_is_valid(const struct pleat_xen_store *store)
{
    if (store->queue_bytes > QUEUE_BYTES || store->queue_first >= QUEUE_BYTES ||
        store->have > HEADER + PAYLOAD) {
        return false;
    }
    for (unsigned i = 0; i < store->config.requests_max; i++) {
        const struct request *request = &store->requests[i];
        if (request->id % PLACES_MAX != i || request->ends ||
            (store->phase == PLEAT_XEN_STORE_PHASE_BROKEN && request->state != REQUEST_FREE)) {
            return false;
        }
    }
    for (unsigned i = 0; i < store->config.watches_max; i++) {
        const struct watch *watch = &store->watches[i];
        if (watch->state > WATCH_LEFT ||
            (watch->state != WATCH_FREE && (watch->path == NULL || watch->event == NULL)) ||
            (!is_connected(store) && watch->state != WATCH_FREE && watch->state != WATCH_WANTED)) {
            return false;
        }
    }
    return true;
}
