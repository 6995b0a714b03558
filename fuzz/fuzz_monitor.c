/* SPDX-License-Identifier: MIT
 *
 * A person or a program that says anything to the monitor of a machine, by HMP and by QMP: the machine goes
 * on and loses no frame, and every answer of QMP is one line of JSON.
 *
 * Each line of the input is a command: those that begin with a brace are QMP's. The machine is a small one on
 * a virtual clock, with a workload.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/input.h"
#include "machine/machine.h"
#include "machine/monitor_hmp.h"
#include "machine/monitor_qmp_commands.h"

#define LINES_MAX 40

static void check_line(void *context, const char *line, size_t length)
{
    (void)context;
    json_t *message = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
    demand(json_is_object(message));
    json_decref(message);
}

static struct pleat_machine *make_machine(void)
{
    static const char *const options[] = {"-m",        "32M,maxmem=1G",
                                          "-object",   "memory-backend-ram,id=mem0,size=256M",
                                          "-device",   "virtio-mem-pci,id=vm0,memdev=mem0,requested-size=16M",
                                          "-seed",     "1",
                                          "-workload", "synthetic,preset=20,fill=30%,rate=5000",
                                          "-floor",    "1M"};
    static struct pleat_machine_config config;
    struct pleat_message message = {""};
    struct pleat_machine *machine = NULL;
    demand(!pleat_machine_config_parse(sizeof(options) / sizeof(options[0]), (char *const *)options, &config,
                                       &message));
    demand(!pleat_machine_create(&config, &machine, &message));
    demand(!pleat_machine_start(machine, &message));
    return machine;
}

/* What would leave something behind on the host, or is meant to lose frames. */
static int is_left_out(const char *line)
{
    static const char *const words[] = {"picture", "mem-path", "backend-file", "frame-",
                                        "touches", "prealloc", "hugetlb",      "host-nodes"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strstr(line, words[i]))
            return 1;
    }
    return 0;
}

static void ignore_word(void *context, const char *word)
{
    (void)context;
    demand(word[0] != '\0');
}

static void run_line(struct pleat_control *control, struct pleat_qmp_session *session, const char *line)
{
    if (is_left_out(line))
        return;
    if (*line == '{') {
        pleat_qmp_input(session, line, strlen(line));
        pleat_qmp_input(session, "\n", 1);
        return;
    }
    struct pleat_hmp_output output = {.colour = true};
    struct pleat_message message;
    pleat_hmp_complete(control, line, ignore_word, NULL);
    if (pleat_hmp_run(control, line, &output, &message))
        demand(message.text[0] && pleat_text_string(&output.text)[0]);
    pleat_text_free(&output.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pleat_message message = {""};
    struct pleat_control control = {.machine = make_machine(), .was_continued = true};
    struct pleat_qmp_session session = {
        .commands = pleat_qmp_commands,
        .command_count = pleat_qmp_command_count,
        .context = &control,
        .send = check_line,
        .over = &control.ended,
    };
    pleat_qmp_open(&session);
    run_line(&control, &session, "{\"execute\":\"qmp_capabilities\"}");
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    char *rest = NULL;
    char *line = strtok_r(text, "\n", &rest);
    for (unsigned i = 0; line && i < LINES_MAX && !control.ended; i++, line = strtok_r(NULL, "\n", &rest)) {
        run_line(&control, &session, line);
        if (!control.ended)
            pleat_machine_run_for(control.machine, 2000000);
    }
    free(text);
    pleat_qmp_close(&session);
    if (pleat_machine_stop(control.machine, "host-ui", &message))
        abort();
    pleat_machine_destroy(control.machine);
    return 0;
}
