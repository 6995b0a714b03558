/* SPDX-License-Identifier: MIT
 *
 * The server: bytes from a ring become a message, a message becomes an answer and events, and these go into
 * the ring as there is room.
 */
#include "machine/xen_store.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/text.h"
#include "machine/xen_store_tree.h"

#define RING    ((uint32_t)PLEAT_XEN_STORE_RING_BYTES)
#define HEADER  ((uint32_t)sizeof(struct pleat_xen_store_header))
#define PAYLOAD ((uint32_t)PLEAT_XEN_STORE_PAYLOAD_MAX)

/* Types beside those that our own client uses (xen/include/public/io/xs_wire.h). */
enum { GET_DOMAIN_PATH = 10, IS_DOMAIN_INTRODUCED = 17, RESET_WATCHES = 21 };

struct watch {
    struct watch *next;
    char *path;  /* absolute */
    char *named; /* as the client named it */
    char *token;
};

struct connection {
    struct pleat_xen_store_server *server;
    struct pleat_xen_domain *domain;
    uint16_t id;
    uint32_t channel;
    struct pleat_xen_store_page *page;
    bool is_dead; /* it broke the protocol */
    struct watch *watches;
    uint32_t have; /* bytes of the message that is coming */
    struct pleat_xen_store_header header;
    char payload[PLEAT_XEN_STORE_PAYLOAD_MAX + 1];
    char *out; /* what is to go into the ring */
    size_t out_bytes, out_room;
};

struct pleat_xen_store_server {
    struct pleat_xen_store_server_config config;
    struct xen_store_tree tree;
    struct connection *connections[PLEAT_XEN_DOMAINS_MAX];
    bool is_away;
    unsigned garbage; /* how often it was sent */
    uint64_t requests, events;
};

static uint32_t load(const uint32_t *field)
{
    return __atomic_load_n(field, __ATOMIC_ACQUIRE);
}

static void publish(uint32_t *field, uint32_t value)
{
    __atomic_store_n(field, value, __ATOMIC_RELEASE);
}

static bool fails(const struct pleat_xen_store_server *server, enum pleat_fault_place place)
{
    const struct pleat_xen_store_server_config *config = &server->config;

    return config->faults && pleat_fault_hits(config->faults, place, NULL,
                                              config->clock_ns ? config->clock_ns(config->context) : 0, NULL);
}

/* ---- what goes out ---- */

/* Room for so many bytes more; without it the connection ends. */
static bool make_room(struct connection *connection, size_t bytes)
{
    if (connection->out_bytes + bytes <= connection->out_room)
        return true;
    const size_t room = 2 * (connection->out_bytes + bytes);
    char *out = realloc(connection->out, room);
    connection->is_dead = !out;
    if (!out)
        return false;
    connection->out = out;
    connection->out_room = room;
    return true;
}

static void send(struct connection *connection, const struct pleat_xen_store_header *header,
                 const char *payload, size_t bytes)
{
    if (!make_room(connection, HEADER + bytes))
        return;
    memcpy(connection->out + connection->out_bytes, header, HEADER);
    if (bytes)
        memcpy(connection->out + connection->out_bytes + HEADER, payload, bytes);
    connection->out_bytes += HEADER + bytes;
}

static void answer(struct connection *connection, uint32_t type, const char *payload, size_t bytes)
{
    struct pleat_xen_store_header header = {.type = type,
                                            .req_id = connection->header.req_id,
                                            .tx_id = connection->header.tx_id,
                                            .len = (uint32_t)bytes};

    if (bytes > PAYLOAD) {
        payload = "E2BIG";
        bytes = sizeof "E2BIG";
        header.type = PLEAT_XEN_STORE_ERROR;
        header.len = (uint32_t)bytes;
    }
    send(connection, &header, payload, bytes);
}

static void refuse(struct connection *connection, const char *error)
{
    answer(connection, PLEAT_XEN_STORE_ERROR, error, strlen(error) + 1);
}

static void confirm(struct connection *connection)
{
    answer(connection, connection->header.type, "OK", sizeof "OK");
}

static void send_event(struct connection *connection, const struct watch *watch, const char *path)
{
    /* A watch by a relative path hears of relative paths. */
    const size_t home = strlen(watch->path) - strlen(watch->named);
    const char *named = watch->named[0] == '/' || watch->named[0] == '@' ? path : path + home;
    struct pleat_xen_store_header header = {.type = PLEAT_XEN_STORE_WATCH_EVENT,
                                            .len = (uint32_t)(strlen(named) + strlen(watch->token) + 2)};

    send(connection, &header, named, strlen(named) + 1);
    if (!make_room(connection, strlen(watch->token) + 1))
        return;
    memcpy(connection->out + connection->out_bytes, watch->token, strlen(watch->token) + 1);
    connection->out_bytes += strlen(watch->token) + 1;
    connection->server->events++;
}

/* A path has changed, or is gone with all below it. */
static void fire(struct pleat_xen_store_server *server, const char *path, bool is_gone)
{
    const struct xen_store_node *node = xen_store_nearest(&server->tree, path);

    for (unsigned id = 0; id < PLEAT_XEN_DOMAINS_MAX; id++) {
        struct connection *connection = server->connections[id];
        if (!connection || (node && !xen_store_may(node, connection->id, XEN_STORE_MAY_READ)))
            continue;
        for (const struct watch *watch = connection->watches; watch; watch = watch->next) {
            if (xen_store_is_below(path, watch->path))
                send_event(connection, watch, path);
            else if (is_gone && xen_store_is_below(watch->path, path))
                send_event(connection, watch, watch->path);
        }
    }
}

/* ---- requests ---- */

/* The absolute path of what a client named; of the caller then. NULL: refused. */
static char *absolute(struct connection *connection, const char *named)
{
    const size_t bytes = strlen(named) + 32;
    char *path = malloc(bytes);

    if (path && named[0] == '/')
        snprintf(path, bytes, "%s", named);
    else if (path)
        snprintf(path, bytes, "/local/domain/%u/%s", connection->id, named);
    if (path && xen_store_path_is_valid(path))
        return path;
    free(path);
    refuse(connection, path ? "EINVAL" : "ENOMEM");
    return NULL;
}

/* The node, if the client may do that; else it has been refused. */
static struct xen_store_node *node_for(struct connection *connection, const char *path, uint8_t may)
{
    struct xen_store_node *node = xen_store_find(&connection->server->tree, path);

    if (!node) {
        /* Who may not read what is above isn't told what isn't there. */
        const struct xen_store_node *near = xen_store_nearest(&connection->server->tree, path);
        refuse(connection,
               near && xen_store_may(near, connection->id, XEN_STORE_MAY_READ) ? "ENOENT" : "EACCES");
        return NULL;
    }
    if (xen_store_may(node, connection->id, may))
        return node;
    refuse(connection, "EACCES");
    return NULL;
}

static void do_read(struct connection *connection, const char *path)
{
    const struct xen_store_node *node = node_for(connection, path, XEN_STORE_MAY_READ);

    if (node)
        answer(connection, connection->header.type, node->value, node->bytes);
}

static void do_directory(struct connection *connection, const char *path)
{
    const struct xen_store_node *node = node_for(connection, path, XEN_STORE_MAY_READ);
    const size_t length = strcmp(path, "/") ? strlen(path) : 0;
    struct pleat_text names = {0};

    if (!node)
        return;
    for (const struct xen_store_node *other = connection->server->tree.first; other; other = other->next) {
        if (strlen(other->path) <= length + 1 || !xen_store_is_below(other->path, path))
            continue;
        const char *name = other->path + length + 1;
        if (!strchr(name, '/'))
            pleat_text_add(&names, name, strlen(name) + 1);
    }
    answer(connection, connection->header.type, names.bytes ? names.bytes : "", names.length);
    pleat_text_free(&names);
}

static void do_write(struct connection *connection, const char *path, const char *value, size_t bytes)
{
    struct xen_store_tree *tree = &connection->server->tree;
    const struct xen_store_node *near = xen_store_nearest(tree, path);

    if (!near || !xen_store_may(near, connection->id, XEN_STORE_MAY_WRITE)) {
        refuse(connection, "EACCES");
        return;
    }
    const bool is_new = !xen_store_find(tree, path);
    struct xen_store_node *node = xen_store_make(tree, path, connection->id);
    if (!node || (value && !xen_store_set_value(node, value, bytes))) {
        refuse(connection, "ENOMEM");
        return;
    }
    confirm(connection);
    if (value || is_new)
        fire(connection->server, path, false);
}

static bool has_parent(const struct xen_store_tree *tree, const char *path)
{
    const struct xen_store_node *near = xen_store_nearest(tree, path);
    const char *last = strrchr(path, '/');

    return near && (size_t)(last - path) == (strcmp(near->path, "/") ? strlen(near->path) : 0);
}

static void do_remove(struct connection *connection, const char *path)
{
    struct xen_store_tree *tree = &connection->server->tree;

    if (!strcmp(path, "/")) {
        refuse(connection, "EINVAL");
        return;
    }
    if (!xen_store_find(tree, path) && has_parent(tree, path)) {
        confirm(connection); /* it isn't there, as was wished */
        return;
    }
    if (!node_for(connection, path, XEN_STORE_MAY_WRITE))
        return;
    xen_store_remove(tree, path);
    confirm(connection);
    fire(connection->server, path, true);
}

static void do_get_permissions(struct connection *connection, const char *path)
{
    static const char letters[] = "nrwb"; /* by XEN_STORE_MAY_... */
    const struct xen_store_node *node = node_for(connection, path, XEN_STORE_MAY_READ);
    char text[XEN_STORE_PERMISSIONS_MAX * 8];
    size_t used = 0;

    if (!node)
        return;
    for (unsigned i = 0; i < node->permission_count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%c%u", letters[node->permissions[i].may],
                                 node->permissions[i].domain) +
                1;
    answer(connection, connection->header.type, text, used);
}

static bool read_permission(const char *text, struct xen_store_permission *permission)
{
    static const char letters[] = "nrwb";
    const char *letter = *text ? strchr(letters, *text) : NULL;
    char *end;

    if (!letter)
        return false;
    const unsigned long domain = strtoul(text + 1, &end, 10);
    *permission = (struct xen_store_permission){(uint16_t)domain, (uint8_t)(letter - letters)};
    return text[1] >= '0' && text[1] <= '9' && !*end && domain < PLEAT_XEN_DOMAIN_SELF;
}

static void do_set_permissions(struct connection *connection, const char *path, const char *list,
                               size_t bytes)
{
    struct xen_store_permission permissions[XEN_STORE_PERMISSIONS_MAX];
    struct xen_store_node *node = xen_store_find(&connection->server->tree, path);
    unsigned count = 0;

    for (size_t at = 0; at < bytes; at += strlen(list + at) + 1) {
        if (count == XEN_STORE_PERMISSIONS_MAX || !read_permission(list + at, &permissions[count])) {
            refuse(connection, count == XEN_STORE_PERMISSIONS_MAX ? "ENOSPC" : "EINVAL");
            return;
        }
        count++;
    }
    if (!count) {
        refuse(connection, "EINVAL");
        return;
    }
    /* Only the owner gives rights, and nobody but dom0 gives a node away. */
    if (!node || node->permissions[0].domain != connection->id || permissions[0].domain != connection->id) {
        refuse(connection, node ? "EACCES" : "ENOENT");
        return;
    }
    memcpy(node->permissions, permissions, sizeof permissions[0] * count);
    node->permission_count = count;
    confirm(connection);
    fire(connection->server, path, false);
}

static void free_watch(struct watch *watch)
{
    free(watch->path);
    free(watch->named);
    free(watch->token);
    free(watch);
}

static struct watch **find_watch(struct connection *connection, const char *path, const char *token)
{
    struct watch **place = &connection->watches;

    while (*place && (strcmp((*place)->path, path) || strcmp((*place)->token, token)))
        place = &(*place)->next;
    return place;
}

static void do_watch(struct connection *connection, const char *path, const char *named, const char *token)
{
    struct watch **place = find_watch(connection, path, token);

    if (*place) {
        refuse(connection, "EEXIST");
        return;
    }
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch) {
        watch->path = strdup(path);
        watch->named = strdup(named);
        watch->token = strdup(token);
    }
    if (!watch || !watch->path || !watch->named || !watch->token) {
        if (watch)
            free_watch(watch);
        refuse(connection, "ENOMEM");
        return;
    }
    *place = watch;
    confirm(connection);
    /* Each watch is told once, so that no change before it is missed. */
    send_event(connection, watch, path);
}

static void do_unwatch(struct connection *connection, const char *path, const char *token)
{
    struct watch **place = find_watch(connection, path, token);
    struct watch *watch = *place;

    if (!watch) {
        refuse(connection, "ENOENT");
        return;
    }
    *place = watch->next;
    free_watch(watch);
    confirm(connection);
}

static void drop_watches(struct connection *connection)
{
    while (connection->watches) {
        struct watch *watch = connection->watches;
        connection->watches = watch->next;
        free_watch(watch);
    }
}

/* Requests about a path: the first string of the payload, and what follows it. */
static void serve_path(struct connection *connection, const char *named, const char *rest, size_t bytes)
{
    /* Two strings, where there have to be. */
    const bool has_token = bytes && !rest[bytes - 1] && strlen(rest) == bytes - 1;
    char *path = absolute(connection, named);

    if (!path)
        return;
    switch (connection->header.type) {
    case PLEAT_XEN_STORE_READ:
        do_read(connection, path);
        break;
    case PLEAT_XEN_STORE_DIRECTORY:
        do_directory(connection, path);
        break;
    case PLEAT_XEN_STORE_GET_PERMISSIONS:
        do_get_permissions(connection, path);
        break;
    case PLEAT_XEN_STORE_WRITE:
        do_write(connection, path, rest, bytes);
        break;
    case PLEAT_XEN_STORE_MKDIR:
        do_write(connection, path, NULL, 0);
        break;
    case PLEAT_XEN_STORE_RM:
        do_remove(connection, path);
        break;
    case PLEAT_XEN_STORE_SET_PERMISSIONS:
        do_set_permissions(connection, path, rest, bytes);
        break;
    case PLEAT_XEN_STORE_WATCH:
    case PLEAT_XEN_STORE_UNWATCH:
        if (!has_token)
            refuse(connection, "EINVAL");
        else if (connection->header.type == PLEAT_XEN_STORE_WATCH)
            do_watch(connection, path, named, rest);
        else
            do_unwatch(connection, path, rest);
        break;
    default:
        break; /* there are no others */
    }
    free(path);
}

static void serve_domain(struct connection *connection)
{
    char *end;
    char path[32];
    const unsigned long id = strtoul(connection->payload, &end, 10);

    if (end == connection->payload || *end) {
        refuse(connection, "EINVAL");
    } else if (connection->header.type == GET_DOMAIN_PATH) {
        snprintf(path, sizeof path, "/local/domain/%lu", id);
        answer(connection, GET_DOMAIN_PATH, path, strlen(path) + 1);
    } else {
        const bool is_there = id < PLEAT_XEN_DOMAINS_MAX && connection->server->connections[id];
        answer(connection, IS_DOMAIN_INTRODUCED, is_there ? "T" : "F", 2);
    }
}

/* What no client has asked for, or can't be. */
static void send_garbage(struct connection *connection)
{
    struct pleat_xen_store_header header = connection->header;

    switch (connection->server->garbage++ % 3) {
    case 0:
        header.len = PAYLOAD + 1;
        send(connection, &header, "", 0);
        break;
    case 1:
        header.req_id += 0x10000;
        header.len = 3;
        send(connection, &header, "OK", 3);
        break;
    default:
        publish(&connection->page->response_produced, load(&connection->page->response_produced) + 2 * RING);
    }
}

static void serve(struct connection *connection)
{
    connection->server->requests++;
    connection->payload[connection->header.len] = '\0';
    if (fails(connection->server, PLEAT_FAULT_XEN_STORE_GARBAGE)) {
        send_garbage(connection);
        return;
    }
    if (fails(connection->server, PLEAT_FAULT_XEN_STORE_AGAIN)) {
        refuse(connection, "EAGAIN");
        return;
    }
    if (connection->header.tx_id) {
        refuse(connection, "ENOENT"); /* nobody has begun a transaction */
        return;
    }
    switch (connection->header.type) {
    case GET_DOMAIN_PATH:
    case IS_DOMAIN_INTRODUCED:
        serve_domain(connection);
        return;
    case RESET_WATCHES:
        drop_watches(connection);
        confirm(connection);
        return;
    case PLEAT_XEN_STORE_DIRECTORY:
    case PLEAT_XEN_STORE_READ:
    case PLEAT_XEN_STORE_GET_PERMISSIONS:
    case PLEAT_XEN_STORE_WATCH:
    case PLEAT_XEN_STORE_UNWATCH:
    case PLEAT_XEN_STORE_WRITE:
    case PLEAT_XEN_STORE_MKDIR:
    case PLEAT_XEN_STORE_RM:
    case PLEAT_XEN_STORE_SET_PERMISSIONS:
        break;
    default:
        refuse(connection, "ENOSYS");
        return;
    }
    const size_t length = strlen(connection->payload);
    if (length == connection->header.len)
        refuse(connection, "EINVAL"); /* no string, or one without an end */
    else
        serve_path(connection, connection->payload, connection->payload + length + 1,
                   connection->header.len - length - 1);
}

/* ---- rings ---- */

static void end_connection(struct connection *connection, uint32_t error)
{
    connection->is_dead = true;
    publish(&connection->page->error, error);
}

/* A byte of the message that is coming, wherever it belongs. */
static void take_byte(struct connection *connection, char byte)
{
    if (connection->have < HEADER)
        ((char *)&connection->header)[connection->have] = byte;
    else
        connection->payload[connection->have - HEADER] = byte;
    connection->have++;
    if (connection->have < HEADER)
        return;
    if (connection->header.len > PAYLOAD) {
        end_connection(connection, PLEAT_XEN_STORE_ERROR_PROTOCOL);
    } else if (connection->have == HEADER + connection->header.len) {
        connection->have = 0;
        serve(connection);
    }
}

static bool receive(struct connection *connection, uint32_t most)
{
    struct pleat_xen_store_page *page = connection->page;
    uint32_t consumed = load(&page->request_consumed), taken = 0;
    const uint32_t produced = load(&page->request_produced);

    if (produced - consumed > RING) {
        end_connection(connection, PLEAT_XEN_STORE_ERROR_INDEX);
        return true;
    }
    while (consumed != produced && taken < most && !connection->is_dead) {
        take_byte(connection, (char)page->requests[consumed++ % RING]);
        taken++;
    }
    publish(&page->request_consumed, consumed);
    return taken;
}

static bool transmit(struct connection *connection, uint32_t most)
{
    struct pleat_xen_store_page *page = connection->page;
    uint32_t produced = load(&page->response_produced);
    const uint32_t used = produced - load(&page->response_consumed);
    size_t sent = 0;

    if (used > RING)
        return false; /* nonsense of the client, or our own garbage: nothing more comes */
    for (; sent < connection->out_bytes && sent < most && sent < RING - used; sent++)
        page->responses[produced++ % RING] = (uint8_t)connection->out[sent];
    publish(&page->response_produced, produced);
    if (sent)
        memmove(connection->out, connection->out + sent, connection->out_bytes - sent);
    connection->out_bytes -= sent;
    return sent;
}

/* New rings, and nothing of the old ones. */
static void connect(struct connection *connection)
{
    struct pleat_xen_store_page *page = connection->page;

    drop_watches(connection);
    connection->have = 0;
    connection->out_bytes = 0;
    connection->is_dead = false;
    publish(&page->request_consumed, 0);
    publish(&page->request_produced, 0);
    publish(&page->response_consumed, 0);
    publish(&page->response_produced, 0);
    const uint32_t again =
        fails(connection->server, PLEAT_FAULT_XEN_STORE_OLD) ? 0 : PLEAT_XEN_STORE_FEATURE_RECONNECTION;
    publish(&page->server_features, again | PLEAT_XEN_STORE_FEATURE_ERROR);
    publish(&page->error, PLEAT_XEN_STORE_ERROR_NONE);
    publish(&page->connection, PLEAT_XEN_STORE_CONNECTED);
}

static bool run_connection(struct connection *connection, uint32_t most)
{
    bool moved = false;

    if (load(&connection->page->connection) == PLEAT_XEN_STORE_RECONNECT) {
        connect(connection);
        moved = true;
    }
    /* One way makes room for the other. */
    while (!connection->is_dead) {
        const bool came = receive(connection, most);
        const bool went = transmit(connection, most);
        moved = moved || came || went;
        if (most == 1 || (!came && !went))
            break;
    }
    if (moved)
        pleat_xen_domain_interrupt(connection->domain, connection->channel);
    return moved;
}

bool pleat_xen_store_server_run(struct pleat_xen_store_server *server)
{
    bool moved = false;

    if (server->is_away || fails(server, PLEAT_FAULT_XEN_STORE_GONE))
        return false;
    const uint32_t most = fails(server, PLEAT_FAULT_XEN_STORE_SLOW) ? 1 : UINT32_MAX;
    for (unsigned id = 0; id < PLEAT_XEN_DOMAINS_MAX; id++)
        if (server->connections[id] && run_connection(server->connections[id], most))
            moved = true;
    return moved;
}

void pleat_xen_store_server_set_away(struct pleat_xen_store_server *server, bool is_away)
{
    server->is_away = is_away;
    for (unsigned id = 0; id < PLEAT_XEN_DOMAINS_MAX; id++) {
        struct connection *connection = server->connections[id];
        if (!connection)
            continue;
        if (is_away)
            publish(&connection->page->connection, PLEAT_XEN_STORE_RECONNECT);
        else
            connect(connection);
        pleat_xen_domain_interrupt(connection->domain, connection->channel);
    }
}

/* ---- life ---- */

int pleat_xen_store_server_create(const struct pleat_xen_store_server_config *config,
                                  struct pleat_xen_store_server **result)
{
    struct pleat_xen_store_server *server = calloc(1, sizeof *server);

    *result = NULL;
    if (!server)
        return PLEAT_E_NO_MEMORY;
    server->config = *config;
    if (!xen_store_make(&server->tree, "/local/domain", 0)) {
        pleat_xen_store_server_destroy(server);
        return PLEAT_E_NO_MEMORY;
    }
    *result = server;
    return PLEAT_OK;
}

static void free_connection(struct connection *connection)
{
    drop_watches(connection);
    free(connection->out);
    free(connection->page);
    free(connection);
}

void pleat_xen_store_server_destroy(struct pleat_xen_store_server *server)
{
    if (!server)
        return;
    for (unsigned id = 0; id < PLEAT_XEN_DOMAINS_MAX; id++) {
        struct connection *connection = server->connections[id];
        if (!connection)
            continue;
        const struct pleat_xen *xen = pleat_xen_domain_interface(connection->domain);
        xen->ops->event_close(xen->context, connection->channel);
        pleat_xen_domain_set_store(connection->domain, NULL, 0);
        free_connection(connection);
    }
    xen_store_remove(&server->tree, "/");
    free(server);
}

static void asked(void *context)
{
    const struct connection *connection = context;
    const struct pleat_xen_store_server_config *config = &connection->server->config;

    if (config->wake)
        config->wake(config->context);
}

/* Writes a node of a new domain: the toolstack's, for the domain to read, or the domain's own. */
static bool write_node(struct pleat_xen_store_server *server, uint16_t id, const char *name, bool is_own,
                       const char *value)
{
    char path[128];

    snprintf(path, sizeof path, "/local/domain/%u%s%s", id, *name ? "/" : "", name);
    struct xen_store_node *node = xen_store_make(&server->tree, path, 0);
    if (!node || !xen_store_set_value(node, value, strlen(value)))
        return false;
    node->permissions[0] = (struct xen_store_permission){is_own ? id : 0, 0};
    node->permissions[1] = (struct xen_store_permission){id, XEN_STORE_MAY_READ};
    node->permission_count = is_own ? 1 : 2;
    return true;
}

static bool write_nodes(struct pleat_xen_store_server *server,
                        const struct pleat_xen_store_domain_config *config)
{
    const uint16_t id = config->id;
    char number[24], maximum[24], target[24];

    snprintf(number, sizeof number, "%u", id);
    snprintf(maximum, sizeof maximum, "%" PRIu64, config->static_max_kib);
    snprintf(target, sizeof target, "%" PRIu64, config->target_kib);
    return write_node(server, id, "", false, "") && write_node(server, id, "name", false, config->name) &&
           write_node(server, id, "domid", false, number) && write_node(server, id, "memory", false, "") &&
           write_node(server, id, "memory/static-max", false, maximum) &&
           write_node(server, id, "memory/target", false, target) &&
           write_node(server, id, "control", false, "") &&
           write_node(server, id, "control/shutdown", true, "") && write_node(server, id, "data", true, "");
}

int pleat_xen_store_server_introduce(struct pleat_xen_store_server *server, struct pleat_xen_domain *domain,
                                     const struct pleat_xen_store_domain_config *config)
{
    if (!config->id || config->id >= PLEAT_XEN_DOMAINS_MAX)
        return PLEAT_E_INVALID;
    if (server->connections[config->id])
        return PLEAT_E_EXISTS;
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        return PLEAT_E_NO_MEMORY;
    connection->server = server;
    connection->domain = domain;
    connection->id = config->id;
    connection->page = aligned_alloc(PLEAT_XEN_FRAME_BYTES, PLEAT_XEN_FRAME_BYTES);
    const int channel = connection->page && write_nodes(server, config)
                            ? pleat_xen_domain_host_channel(domain, asked, connection)
                            : PLEAT_E_NO_MEMORY;
    if (channel < 0) {
        free_connection(connection);
        return channel;
    }
    memset(connection->page, 0, PLEAT_XEN_FRAME_BYTES);
    connect(connection);
    connection->channel = (uint32_t)channel;
    server->connections[config->id] = connection;
    pleat_xen_domain_set_store(domain, connection->page, connection->channel);
    return PLEAT_OK;
}

/* ---- the toolstack ---- */

/* What was caused from here goes out with the next run. */
static void wake(struct pleat_xen_store_server *server)
{
    if (server->config.wake)
        server->config.wake(server->config.context);
}

int pleat_xen_store_server_write(struct pleat_xen_store_server *server, const char *path, const char *value)
{
    if (!xen_store_path_is_valid(path))
        return PLEAT_E_INVALID;
    struct xen_store_node *node = xen_store_make(&server->tree, path, 0);
    if (!node || !xen_store_set_value(node, value, strlen(value)))
        return PLEAT_E_NO_MEMORY;
    fire(server, path, false);
    wake(server);
    return PLEAT_OK;
}

int pleat_xen_store_server_read(struct pleat_xen_store_server *server, const char *path, char *value,
                                size_t bytes)
{
    const struct xen_store_node *node = xen_store_find(&server->tree, path);

    if (!node)
        return PLEAT_E_NOT_FOUND;
    snprintf(value, bytes, "%s", node->value ? node->value : "");
    return (int)node->bytes;
}

int pleat_xen_store_server_remove(struct pleat_xen_store_server *server, const char *path)
{
    if (!strcmp(path, "/") || !xen_store_find(&server->tree, path))
        return PLEAT_E_NOT_FOUND;
    xen_store_remove(&server->tree, path);
    fire(server, path, true);
    wake(server);
    return PLEAT_OK;
}

void pleat_xen_store_server_counts(const struct pleat_xen_store_server *server, uint64_t *requests,
                                   uint64_t *events)
{
    *requests = server->requests;
    *events = server->events;
}
