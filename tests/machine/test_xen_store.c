/* SPDX-License-Identifier: MIT
 *
 * The model of XenStore's server: what a domain finds in it, may do with it and hears of; what becomes of
 * clients that break the protocol; and the faults. The client is Pleat's own, but for what it would never
 * send.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pleat/xen_store.h>

#include "machine/xen_store.h"

struct client {
    struct pleat_xen_domain *domain;
    struct pleat_xen_store *store;
    void *storage;
};

struct bench {
    struct pleat_faults *faults;
    struct pleat_xen_hypervisor *hypervisor;
    struct pleat_xen_store_server *server;
    struct client guest, peer;
};

/* What came of a request. */
struct answer {
    bool is_there;
    int error;
    size_t bytes;
    char data[PLEAT_XEN_STORE_PAYLOAD_MAX + 1];
};

/* What a watch has heard. */
struct heard {
    unsigned count;
    char path[64];
};

static void make_client(struct bench *bench, struct client *client, uint16_t id)
{
    const struct pleat_xen_domain_config domain = {.id = id, .frames = 16};
    const struct pleat_xen_store_domain_config nodes = {
        .id = id, .name = id == 1 ? "guest" : "peer", .static_max_kib = 262144, .target_kib = 131072};
    const size_t bytes = (pleat_xen_store_storage_bytes(0, 0) + 63) / 64 * 64;

    assert_int_equal(pleat_xen_domain_create(bench->hypervisor, &domain, &client->domain), 0);
    assert_int_equal(pleat_xen_store_server_introduce(bench->server, client->domain, &nodes), 0);
    client->storage = aligned_alloc(PLEAT_XEN_STORE_ALIGNMENT, bytes);
    assert_non_null(client->storage);
    const struct pleat_xen_store_config config = {.xen = pleat_xen_domain_interface(client->domain),
                                                  .storage = client->storage,
                                                  .storage_bytes = bytes};
    assert_int_equal(pleat_xen_store_create(&config, &client->store), 0);
}

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);

    assert_non_null(bench);
    bench->faults = pleat_faults_create();
    assert_non_null(bench->faults);
    const struct pleat_xen_hypervisor_config hypervisor = {0};
    const struct pleat_xen_store_server_config server = {.faults = bench->faults};
    assert_int_equal(pleat_xen_hypervisor_create(&hypervisor, &bench->hypervisor), 0);
    assert_int_equal(pleat_xen_store_server_create(&server, &bench->server), 0);
    make_client(bench, &bench->guest, 1);
    make_client(bench, &bench->peer, 2);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    assert_true(pleat_xen_store_is_valid(bench->guest.store));
    pleat_xen_store_server_destroy(bench->server);
    pleat_xen_domain_destroy(bench->guest.domain);
    pleat_xen_domain_destroy(bench->peer.domain);
    pleat_xen_hypervisor_destroy(bench->hypervisor);
    pleat_faults_destroy(bench->faults);
    free(bench->guest.storage);
    free(bench->peer.storage);
    free(bench);
    return 0;
}

static void run(struct bench *bench, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        pleat_xen_store_step(bench->guest.store, 0);
        pleat_xen_store_step(bench->peer.store, 0);
        pleat_xen_store_server_run(bench->server);
        pleat_xen_domain_deliver(bench->guest.domain);
        pleat_xen_domain_deliver(bench->peer.domain);
    }
    pleat_xen_store_step(bench->guest.store, 0);
    pleat_xen_store_step(bench->peer.store, 0);
}

static void take(void *context, int error, const char *data, size_t bytes)
{
    struct answer *answer = context;

    answer->is_there = true;
    answer->error = error;
    answer->bytes = bytes;
    if (!error)
        memcpy(answer->data, data, bytes + 1);
}

static void hear(void *context, int error, const char *path)
{
    struct heard *heard = context;

    assert_int_equal(error, 0);
    heard->count++;
    snprintf(heard->path, sizeof heard->path, "%s", path);
}

static struct answer *read_of(struct bench *bench, struct client *client, const char *path)
{
    static struct answer answer;

    memset(&answer, 0, sizeof answer);
    assert_int_equal(pleat_xen_store_read(client->store, path, take, &answer), 0);
    run(bench, 8);
    assert_true(answer.is_there);
    return &answer;
}

static int write_to(struct bench *bench, struct client *client, const char *path, const char *value)
{
    struct answer answer = {0};

    assert_int_equal(pleat_xen_store_write(client->store, path, value, strlen(value), take, &answer), 0);
    run(bench, 8);
    assert_true(answer.is_there);
    return answer.error;
}

static void fault(struct bench *bench, const char *text)
{
    struct pleat_message message;
    struct pleat_fault parsed;

    assert_int_equal(pleat_fault_parse(text, &parsed, &message), 0);
    assert_int_equal(pleat_faults_add(bench->faults, &parsed, &message), 0);
}

/* ---- the tree ---- */

static void test_a_domain_finds_its_nodes(void **state)
{
    struct bench *bench = *state;
    struct answer answer = {0};

    assert_string_equal(read_of(bench, &bench->guest, "domid")->data, "1");
    assert_string_equal(read_of(bench, &bench->guest, "name")->data, "guest");
    assert_string_equal(read_of(bench, &bench->guest, "memory/static-max")->data, "262144");
    assert_string_equal(read_of(bench, &bench->guest, "/local/domain/1/memory/target")->data, "131072");
    assert_int_equal(read_of(bench, &bench->guest, "memory/none")->error, PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_xen_store_directory(bench->guest.store, "memory", take, &answer), 0);
    run(bench, 4);
    assert_int_equal(answer.bytes, sizeof "static-max\0target");
    assert_memory_equal(answer.data, "static-max\0target", answer.bytes);
}

static void test_a_domain_may_write_only_what_is_its_own(void **state)
{
    struct bench *bench = *state;
    char value[32];

    assert_int_equal(write_to(bench, &bench->guest, "memory/target", "1"), PLEAT_E_REFUSED);
    assert_int_equal(write_to(bench, &bench->guest, "/local/domain/2/data", "1"), PLEAT_E_REFUSED);
    assert_int_equal(write_to(bench, &bench->guest, "/elsewhere", "1"), PLEAT_E_REFUSED);
    assert_int_equal(write_to(bench, &bench->guest, "data/a/b", "hello"), 0);
    assert_int_equal(write_to(bench, &bench->guest, "control/shutdown", ""), 0);
    assert_int_equal(
        pleat_xen_store_server_read(bench->server, "/local/domain/1/data/a/b", value, sizeof value), 5);
    assert_string_equal(value, "hello");
}

static void test_data_is_others_when_they_may(void **state)
{
    struct bench *bench = *state;
    const struct pleat_xen_store_permission permissions[] = {{.domain = 1}, {.domain = 2, .read = true}};
    struct answer answer = {0};

    assert_int_equal(write_to(bench, &bench->guest, "data/grant", "8"), 0);
    assert_int_equal(read_of(bench, &bench->peer, "/local/domain/1/data/grant")->error, PLEAT_E_REFUSED);
    assert_int_equal(
        pleat_xen_store_set_permissions(bench->guest.store, "data/grant", permissions, 2, take, &answer), 0);
    run(bench, 4);
    assert_true(answer.is_there && !answer.error);
    assert_string_equal(read_of(bench, &bench->peer, "/local/domain/1/data/grant")->data, "8");
    assert_int_equal(write_to(bench, &bench->peer, "/local/domain/1/data/grant", "9"), PLEAT_E_REFUSED);
    /* Only the owner gives rights. */
    answer.is_there = false;
    assert_int_equal(pleat_xen_store_set_permissions(bench->peer.store, "/local/domain/1/data/grant",
                                                     permissions, 2, take, &answer),
                     0);
    run(bench, 4);
    assert_true(answer.is_there);
    assert_int_equal(answer.error, PLEAT_E_REFUSED);
}

static void test_what_is_removed_is_gone_with_all_below(void **state)
{
    struct bench *bench = *state;
    struct answer answer = {0};

    assert_int_equal(write_to(bench, &bench->guest, "data/a/b", "1"), 0);
    assert_int_equal(pleat_xen_store_remove(bench->guest.store, "data/a", take, &answer), 0);
    run(bench, 4);
    assert_true(answer.is_there && !answer.error);
    assert_int_equal(read_of(bench, &bench->guest, "data/a/b")->error, PLEAT_E_NOT_FOUND);
    assert_int_equal(read_of(bench, &bench->guest, "data")->error, 0);
}

/* ---- watches ---- */

static void test_a_watch_is_told_once_and_of_each_change(void **state)
{
    struct bench *bench = *state;
    struct heard target = {0}, all = {0};

    const int watch = pleat_xen_store_watch(bench->guest.store, "memory/target", hear, &target);
    assert_true(watch >= 0);
    assert_true(pleat_xen_store_watch(bench->guest.store, "/local/domain/1", hear, &all) >= 0);
    run(bench, 6);
    assert_int_equal(target.count, 1);
    assert_int_equal(all.count, 1);
    assert_int_equal(pleat_xen_store_server_write(bench->server, "/local/domain/1/memory/target", "65536"),
                     0);
    run(bench, 4);
    assert_int_equal(target.count, 2);
    assert_string_equal(target.path, "memory/target");
    assert_string_equal(all.path, "/local/domain/1/memory/target");
    assert_int_equal(pleat_xen_store_server_write(bench->server, "/local/domain/2/memory/target", "1"), 0);
    assert_int_equal(pleat_xen_store_server_write(bench->server, "/local/domain/10", "1"), 0);
    run(bench, 4);
    assert_int_equal(all.count, 2);
    /* What is removed above takes it along. */
    assert_int_equal(pleat_xen_store_server_remove(bench->server, "/local/domain/1/memory"), 0);
    run(bench, 4);
    assert_int_equal(target.count, 3);
    assert_int_equal(pleat_xen_store_unwatch(bench->guest.store, watch), 0);
    run(bench, 4);
    assert_int_equal(pleat_xen_store_server_write(bench->server, "/local/domain/1/memory/target", "1"), 0);
    run(bench, 4);
    assert_int_equal(target.count, 3);
}

static void test_nobody_hears_of_what_he_may_not_read(void **state)
{
    struct bench *bench = *state;
    struct heard heard = {0};

    assert_true(pleat_xen_store_watch(bench->peer.store, "/local/domain/1/data", hear, &heard) >= 0);
    run(bench, 4);
    assert_int_equal(heard.count, 1);
    assert_int_equal(write_to(bench, &bench->guest, "data/secret", "1"), 0);
    assert_int_equal(heard.count, 1);
}

static void test_a_value_longer_than_the_ring(void **state)
{
    struct bench *bench = *state;
    static char value[4001];

    memset(value, 'x', sizeof value - 1);
    assert_int_equal(write_to(bench, &bench->guest, "data/long", value), 0);
    assert_string_equal(read_of(bench, &bench->guest, "data/long")->data, value);
}

/* ---- clients that break the protocol ---- */

static struct pleat_xen_store_page *page_of(struct client *client)
{
    return pleat_xen_domain_interface(client->domain)->store_page;
}

static void send_raw(struct bench *bench, const void *bytes, size_t count)
{
    struct pleat_xen_store_page *page = page_of(&bench->peer);

    for (size_t i = 0; i < count; i++)
        page->requests[(page->request_produced + i) % PLEAT_XEN_STORE_RING_BYTES] =
            ((const uint8_t *)bytes)[i];
    page->request_produced += (uint32_t)count;
    pleat_xen_store_server_run(bench->server);
}

static void test_a_message_that_is_too_long_ends_the_connection(void **state)
{
    struct bench *bench = *state;
    const struct pleat_xen_store_header header = {.type = PLEAT_XEN_STORE_READ, .len = 4097};

    send_raw(bench, &header, sizeof header);
    assert_int_equal(page_of(&bench->peer)->error, PLEAT_XEN_STORE_ERROR_PROTOCOL);
    /* Others go on, and so does he with new rings. */
    assert_string_equal(read_of(bench, &bench->guest, "domid")->data, "1");
    assert_int_equal(pleat_xen_store_reconnect(bench->peer.store), 0);
    run(bench, 4);
    assert_int_equal(page_of(&bench->peer)->error, PLEAT_XEN_STORE_ERROR_NONE);
    assert_string_equal(read_of(bench, &bench->peer, "domid")->data, "2");
}

static void test_indices_that_cant_be_end_the_connection(void **state)
{
    struct bench *bench = *state;

    page_of(&bench->peer)->request_produced += 2000;
    pleat_xen_store_server_run(bench->server);
    assert_int_equal(page_of(&bench->peer)->error, PLEAT_XEN_STORE_ERROR_INDEX);
}

static void test_messages_without_sense_are_refused(void **state)
{
    struct bench *bench = *state;
    struct pleat_xen_store_page *page = page_of(&bench->peer);
    static const struct {
        uint32_t type, tx_id;
        const char *payload;
        uint32_t bytes;
        const char *error;
    } messages[] = {
        {PLEAT_XEN_STORE_READ, 0, "", 0, "EINVAL"},
        {PLEAT_XEN_STORE_READ, 0, "domid", 5, "EINVAL"}, /* no NUL */
        {PLEAT_XEN_STORE_READ, 0, "a//b", 5, "EINVAL"},
        {PLEAT_XEN_STORE_READ, 0, "domid", 6, NULL},
        {PLEAT_XEN_STORE_READ, 7, "domid", 6, "ENOENT"},
        {PLEAT_XEN_STORE_WATCH, 0, "domid", 6, "EINVAL"},
        {PLEAT_XEN_STORE_SET_PERMISSIONS, 0, "data\0x2", 8, "EINVAL"},
        {6, 0, "", 1, "ENOSYS"}, /* a transaction */
        {99, 0, "domid", 6, "ENOSYS"},
    };

    for (unsigned i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        const struct pleat_xen_store_header header = {
            .type = messages[i].type, .req_id = i, .tx_id = messages[i].tx_id, .len = messages[i].bytes};
        const uint32_t before = page->response_produced;
        struct pleat_xen_store_header answer;
        char text[16] = "";

        send_raw(bench, &header, sizeof header);
        send_raw(bench, messages[i].payload, messages[i].bytes);
        for (uint32_t at = 0; at < page->response_produced - before; at++) {
            const uint8_t byte = page->responses[(before + at) % PLEAT_XEN_STORE_RING_BYTES];
            if (at < sizeof answer)
                ((uint8_t *)&answer)[at] = byte;
            else
                text[at - sizeof answer] = (char)byte;
        }
        page->response_consumed = page->response_produced;
        assert_int_equal(answer.req_id, i);
        assert_int_equal(answer.type, messages[i].error ? PLEAT_XEN_STORE_ERROR : messages[i].type);
        assert_string_equal(text, messages[i].error ? messages[i].error : "2");
    }
}

/* ---- faults ---- */

static void test_a_slow_store_gets_there(void **state)
{
    struct bench *bench = *state;
    struct answer answer = {0};

    fault(bench, "xen-store-slow");
    assert_int_equal(pleat_xen_store_read(bench->guest.store, "domid", take, &answer), 0);
    run(bench, 15);
    assert_false(answer.is_there);
    run(bench, 40);
    assert_true(answer.is_there);
    assert_string_equal(answer.data, "1");
}

static void test_a_store_that_is_gone_says_nothing_and_comes_back(void **state)
{
    struct bench *bench = *state;
    struct answer answer = {0};

    fault(bench, "xen-store-gone");
    assert_int_equal(pleat_xen_store_read(bench->guest.store, "domid", take, &answer), 0);
    run(bench, 20);
    assert_false(answer.is_there);
    assert_int_equal(pleat_faults_delete(bench->faults, "xen-store-gone", NULL), 0);
    run(bench, 4);
    assert_string_equal(answer.data, "1");
}

static void test_a_store_that_goes_in_order_comes_back_and_watches_hold(void **state)
{
    struct bench *bench = *state;
    struct heard heard = {0};

    assert_true(pleat_xen_store_watch(bench->guest.store, "memory/target", hear, &heard) >= 0);
    run(bench, 4);
    pleat_xen_store_server_set_away(bench->server, true);
    run(bench, 4);
    assert_int_equal(pleat_xen_store_phase(bench->guest.store, NULL, 0), PLEAT_XEN_STORE_PHASE_AWAY);
    assert_int_equal(pleat_xen_store_server_write(bench->server, "/local/domain/1/memory/target", "5"), 0);
    pleat_xen_store_server_set_away(bench->server, false);
    run(bench, 8);
    assert_int_equal(pleat_xen_store_phase(bench->guest.store, NULL, 0), PLEAT_XEN_STORE_PHASE_CONNECTED);
    assert_true(heard.count >= 2);
    assert_string_equal(read_of(bench, &bench->guest, "memory/target")->data, "5");
}

static void test_eagain_is_busy(void **state)
{
    struct bench *bench = *state;

    fault(bench, "xen-store-again:count=1");
    assert_int_equal(read_of(bench, &bench->guest, "domid")->error, PLEAT_E_BUSY);
    assert_int_equal(read_of(bench, &bench->guest, "domid")->error, 0);
}

static void test_each_kind_of_garbage_is_seen(void **state)
{
    struct bench *bench = *state;

    fault(bench, "xen-store-garbage:count=3,every=2");
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(read_of(bench, &bench->guest, "domid")->error, PLEAT_E_PROTOCOL);
        assert_int_equal(pleat_xen_store_phase(bench->guest.store, NULL, 0), PLEAT_XEN_STORE_PHASE_BROKEN);
        assert_int_equal(pleat_xen_store_reconnect(bench->guest.store), 0);
        run(bench, 4);
        assert_string_equal(read_of(bench, &bench->guest, "domid")->data, "1");
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_a_domain_finds_its_nodes),
        CASE(test_a_domain_may_write_only_what_is_its_own),
        CASE(test_data_is_others_when_they_may),
        CASE(test_what_is_removed_is_gone_with_all_below),
        CASE(test_a_watch_is_told_once_and_of_each_change),
        CASE(test_nobody_hears_of_what_he_may_not_read),
        CASE(test_a_value_longer_than_the_ring),
        CASE(test_a_message_that_is_too_long_ends_the_connection),
        CASE(test_indices_that_cant_be_end_the_connection),
        CASE(test_messages_without_sense_are_refused),
        CASE(test_a_slow_store_gets_there),
        CASE(test_a_store_that_is_gone_says_nothing_and_comes_back),
        CASE(test_a_store_that_goes_in_order_comes_back_and_watches_hold),
        CASE(test_eagain_is_busy),
        CASE(test_each_kind_of_garbage_is_seen),
    };
#undef CASE

    return cmocka_run_group_tests(tests, NULL, NULL);
}
