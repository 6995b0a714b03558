/* SPDX-License-Identifier: MIT
 *
 * Proves what the QMP client makes of a server that behaves: answers, refusals of both languages, events. The
 * server is a thread that answers each line that it reads with the next of a list. Servers that don't behave
 * are in tests/cli/drive_hostile.t.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "machine/qmp_client.h"

#define SECOND UINT64_C(1000000000)
#define GREETING                                                                                             \
    "{\"QMP\":{\"version\":{\"qemu\":{\"major\":7,\"minor\":2,\"micro\":22},\"package\":\"%s\"},"            \
    "\"capabilities\":[]}}"

struct server {
    char folder[32], path[64];
    int listener;
    const char *package;
    /* What is sent after each line that was read; the first answers the negotiation. NULL ends it. */
    const char *const *answers;
    char heard[1024];
    pthread_t thread;
};

static void *serve(void *context)
{
    struct server *server = context;
    const int fd = accept(server->listener, NULL, NULL);
    FILE *in = fdopen(fd, "r");
    char line[512];

    dprintf(fd, GREETING "\r\n", server->package);
    for (const char *const *answer = server->answers; *answer && fgets(line, sizeof line, in); answer++) {
        strncat(server->heard, line, sizeof server->heard - strlen(server->heard) - 1);
        dprintf(fd, "%s\r\n", *answer);
    }
    fclose(in);
    return NULL;
}

static struct pleat_qmp_client *connect_to(struct server *server, const char *package,
                                           const char *const *answers)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct pleat_qmp_client *client;
    struct pleat_message message;

    *server = (struct server){.folder = "/tmp/pleat-qmp-XXXXXX", .package = package, .answers = answers};
    assert_non_null(mkdtemp(server->folder));
    snprintf(server->path, sizeof server->path, "%s/s", server->folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", server->path);
    server->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->listener, 1), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
    if (pleat_qmp_client_open(&client, server->path, 10 * SECOND, &message))
        fail_msg("%s", message.text);
    return client;
}

static void end(struct server *server, struct pleat_qmp_client *client)
{
    pleat_qmp_client_close(client);
    pthread_join(server->thread, NULL);
    close(server->listener);
    unlink(server->path);
    rmdir(server->folder);
}

static void an_answer_is_handed_out_and_a_refusal_is_an_error(void **state)
{
    static const char *const answers[] = {
        "{\"return\":{},\"id\":1}",
        "{\"return\":{\"running\":true},\"id\":2}",
        "{\"id\":3,\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"Device 'x' not found\"}}",
        "{\"id\":4,\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"no such\"}}",
        "{\"id\":5,\"error\":{\"class\":\"GenericError\",\"desc\":\"not now\"}}",
        NULL};
    struct pleat_message message;
    struct server server;
    json_t *value;

    (void)state;
    struct pleat_qmp_client *client = connect_to(&server, "", answers);
    assert_string_equal(pleat_qmp_client_server(client), "QEMU 7.2.22");
    assert_false(pleat_qmp_client_is_pleat(client));
    assert_int_equal(pleat_qmp_client_execute(client, "query-status", NULL, &value, &message), PLEAT_OK);
    assert_true(json_is_true(json_object_get(value, "running")));
    json_decref(value);
    assert_int_equal(
        pleat_qmp_client_execute(client, "qom-get", json_pack("{s:s}", "path", "x"), &value, &message),
        PLEAT_E_NOT_FOUND);
    assert_null(value);
    assert_string_equal(message.text, "Device 'x' not found");
    assert_int_equal(pleat_qmp_client_execute(client, "fold", NULL, NULL, &message), PLEAT_E_UNSUPPORTED);
    assert_int_equal(pleat_qmp_client_execute(client, "cont", NULL, NULL, &message), PLEAT_E_REFUSED);
    /* The list has ended, and with it the connection: that stays so. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pleat_qmp_client_execute(client, "cont", NULL, NULL, &message), PLEAT_E_DEVICE);
        assert_string_equal(message.text, "the QMP server closed the connection");
    }
    end(&server, client);
    assert_non_null(strstr(server.heard, "{\"execute\":\"query-status\",\"id\":2}\r\n"));
    assert_non_null(strstr(server.heard, "\"arguments\":{\"path\":\"x\"}"));
}

static void what_hmp_prints_is_output_or_a_refusal(void **state)
{
    static const char *const answers[] = {
        "{\"return\":{},\"id\":1}",
        "{\"return\":\"VM status: running\\r\\n\",\"id\":2}",
        "{\"return\":\"\",\"id\":3}",
        "{\"return\":\"Error: Device 'x' not found\\r\\n\",\"id\":4}",
        "{\"return\":\"unknown command: 'fold'\\r\\n\",\"id\":5}",
        "{\"return\":\"qom-set: string expected\\r\\nTry \\\"help x\\\" for more\\r\\n\",\"id\":6}",
        "{\"return\":\"a line with Error: in it\\r\\n\",\"id\":7}",
        NULL};
    static const struct {
        int error;
        const char *text;
    } expected[] = {
        {PLEAT_OK, "VM status: running\n"},
        {PLEAT_OK, ""},
        {PLEAT_E_REFUSED, "Device 'x' not found"},
        {PLEAT_E_REFUSED, "unknown command: 'fold'"},
        {PLEAT_E_REFUSED, "qom-set: string expected"},
        {PLEAT_OK, "a line with Error: in it\n"},
    };
    struct pleat_message message;
    struct server server;

    (void)state;
    struct pleat_qmp_client *client = connect_to(&server, "pleat 1.2", answers);
    assert_string_equal(pleat_qmp_client_server(client), "pleat 1.2");
    assert_true(pleat_qmp_client_is_pleat(client));
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct pleat_text output = {0};
        assert_int_equal(pleat_qmp_client_hmp(client, "whatever", &output, &message), expected[i].error);
        assert_string_equal(expected[i].error ? message.text : pleat_text_string(&output), expected[i].text);
        if (expected[i].error)
            assert_int_equal(output.length, 0);
        pleat_text_free(&output);
    }
    struct pleat_text output = {0};
    assert_int_equal(pleat_qmp_client_hmp(client, "\xc3(", &output, &message), PLEAT_E_INVALID);
    end(&server, client);
}

static void an_event_ends_a_wait_once(void **state)
{
    static const char *const answers[] = {
        "{\"return\":{},\"id\":1}",
        "{\"event\":\"MEMORY_DEVICE_SIZE_CHANGE\"}{\"return\":{},\"id\":2}{\"event\":\"STOP\"}",
        "{\"return\":{},\"id\":3}", NULL};
    struct pleat_message message;
    struct server server;

    (void)state;
    struct pleat_qmp_client *client = connect_to(&server, "", answers);
    assert_int_equal(pleat_qmp_client_wait(client, SECOND / 100, &message), PLEAT_E_TIMEOUT);
    assert_int_equal(pleat_qmp_client_execute(client, "stop", NULL, NULL, &message), PLEAT_OK);
    assert_int_equal(pleat_qmp_client_wait(client, SECOND, &message), PLEAT_OK);
    assert_int_equal(pleat_qmp_client_execute(client, "cont", NULL, NULL, &message), PLEAT_OK);
    end(&server, client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_handed_out_and_a_refusal_is_an_error),
        cmocka_unit_test(what_hmp_prints_is_output_or_a_refusal),
        cmocka_unit_test(an_event_ends_a_wait_once),
    };
    return cmocka_run_group_tests_name("QMP client", tests, NULL, NULL);
}
