/* SPDX-License-Identifier: MIT
 *
 * The monitor's loop: libuv, the queue of what the machine says, time.
 */
#include "machine/monitor.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "machine/monitor_control.h"
#include "machine/monitor_events.h"
#include "machine/monitor_hmp.h"
#include "machine/monitor_input.h"
#include "machine/monitor_socket.h"
#include "machine/monitor_terminal.h"

/** While something else than the loop waits, the loop is looked after so often. */
#define SLICE_NS UINT64_C(10000000)
/** How long drivers may take after a command, in the deterministic machine's time. */
#define SETTLE_NS UINT64_C(10000000000)
/** Lines of the log that wait to be printed; more are counted and left out. */
#define LINES_MAX 1000
#define FLUSH_MS  1000

/* One thing that the machine said. */
struct said {
    struct said *next;
    bool is_line;
    int level;
    struct pleat_machine_event event;
    char id[PLEAT_MACHINE_ID_BYTES];
    char text[512];
};

struct pleat_monitor {
    struct pleat_machine *machine;
    struct pleat_control control;
    uv_loop_t loop;
    uv_async_t spoke;
    uv_signal_t interrupt, terminate, hang_up;
    uv_timer_t events_due;
    uv_timer_t tick;
    uv_timer_t end_timer;
    struct pleat_monitor_socket *socket;
    struct pleat_terminal terminal;
    struct pleat_input input;
    struct pleat_events events;
    const char *end_reason;
    bool wants_terminal;
    /** A terminal or a client lets the deterministic machine's time pass. */
    bool paced;

    /* Filled by any thread. */
    pthread_mutex_t lock;
    struct said *first, **last;
    unsigned lines, lines_left_out;
};

/* ---- what the machine says ---- */

static void say(struct pleat_monitor *monitor, struct said *said)
{
    pthread_mutex_lock(&monitor->lock);
    if (said->is_line && monitor->lines >= LINES_MAX) {
        monitor->lines_left_out++;
        free(said);
    } else {
        monitor->lines += said->is_line;
        *monitor->last = said;
        monitor->last = &said->next;
    }
    pthread_mutex_unlock(&monitor->lock);
    uv_async_send(&monitor->spoke);
}

static void hear_event(void *context, const struct pleat_machine_event *event)
{
    struct said *said = calloc(1, sizeof(*said));
    if (!said)
        return;
    said->event = *event;
    snprintf(said->id, sizeof(said->id), "%s", event->id);
    snprintf(said->text, sizeof(said->text), "%s", event->reason);
    say(context, said);
}

static void hear_line(void *context, uint64_t time_ns, int level, const char *source, const char *line)
{
    if (level > PLEAT_LOG_INFO)
        return;
    struct said *said = calloc(1, sizeof(*said));
    if (!said)
        return;
    said->is_line = true;
    said->level = level;
    snprintf(said->text, sizeof(said->text), "[%" PRIu64 ".%06" PRIu64 "] %s: %s\n", time_ns / 1000000000,
             time_ns / 1000 % 1000000, source, line);
    say(context, said);
}

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void end_with(struct pleat_monitor *monitor, const char *reason)
{
    if (!monitor->end_reason)
        monitor->end_reason = reason;
    uv_stop(&monitor->loop);
    /* Somebody may be waiting in pleat_machine_run_until(). */
    pleat_machine_wake(monitor->machine);
}

static void show_line(struct pleat_monitor *monitor, const struct said *said)
{
    /* On a terminal, what a person wants to know; elsewhere only what went wrong, apart from the answers. */
    if (monitor->wants_terminal && !monitor->end_reason)
        pleat_terminal_print(&monitor->terminal, said->text);
    else if (said->level <= PLEAT_LOG_WARNING)
        fputs(said->text, stderr);
}

static void events_timer(uv_timer_t *timer);

static void arm_events_timer(struct pleat_monitor *monitor)
{
    uint64_t due_ns = pleat_events_due(&monitor->events), now_ns = clock_us(CLOCK_MONOTONIC) * 1000;
    if (due_ns == PLEAT_EVENT_NEVER)
        return;
    uint64_t wait_ms = due_ns > now_ns ? (due_ns - now_ns) / 1000000 + 1 : 0;
    uv_timer_start(&monitor->events_due, events_timer, wait_ms, 0);
}

static void events_timer(uv_timer_t *timer)
{
    struct pleat_monitor *monitor = timer->data;
    pleat_events_tick(&monitor->events, clock_us(CLOCK_MONOTONIC) * 1000);
    arm_events_timer(monitor);
}

static void show_event(struct pleat_monitor *monitor, struct said *said)
{
    said->event.id = said->id;
    said->event.reason = said->text;
    pleat_events_emit(&monitor->events, pleat_event_json(&said->event, clock_us(CLOCK_REALTIME)),
                      clock_us(CLOCK_MONOTONIC) * 1000);
    arm_events_timer(monitor);
    if (said->event.kind == PLEAT_EVENT_SHUTDOWN && !monitor->end_reason)
        end_with(monitor, "guest-shutdown");
}

/* Hands on all that the machine has said so far. */
static void take_said(struct pleat_monitor *monitor)
{
    pthread_mutex_lock(&monitor->lock);
    struct said *said = monitor->first;
    unsigned left_out = monitor->lines_left_out;
    monitor->first = NULL;
    monitor->last = &monitor->first;
    monitor->lines = monitor->lines_left_out = 0;
    pthread_mutex_unlock(&monitor->lock);
    while (said) {
        struct said *next = said->next;
        if (said->is_line)
            show_line(monitor, said);
        else
            show_event(monitor, said);
        free(said);
        said = next;
    }
    if (left_out)
        fprintf(stderr, "%u more lines of the log were left out here\n", left_out);
}

static void spoke(uv_async_t *async)
{
    take_said(async->data);
}

static void before_answer(void *context)
{
    take_said(context);
}

static void send_event(void *context, json_t *event)
{
    struct pleat_monitor *monitor = context;
    if (monitor->socket)
        pleat_monitor_socket_event(monitor->socket, event);
}

/* ---- time ---- */

static bool is_settled(void *context)
{
    struct pleat_monitor *monitor = context;
    return pleat_machine_is_settled(monitor->machine);
}

int pleat_monitor_run_until(struct pleat_monitor *monitor, bool (*condition)(void *context), void *context,
                            uint64_t timeout_ns)
{
    uint64_t start_ns = pleat_machine_time_ns(monitor->machine);
    for (;;) {
        uv_run(&monitor->loop, UV_RUN_NOWAIT);
        take_said(monitor);
        if (monitor->end_reason || monitor->control.ended)
            return PLEAT_E_CANCELLED;
        uint64_t past_ns = pleat_machine_time_ns(monitor->machine) - start_ns;
        if (timeout_ns && past_ns >= timeout_ns)
            return condition && condition(context) ? PLEAT_OK : PLEAT_E_TIMEOUT;
        uint64_t slice_ns = timeout_ns && timeout_ns - past_ns < SLICE_NS ? timeout_ns - past_ns : SLICE_NS;
        int result = pleat_machine_run_until(monitor->machine, condition, context, slice_ns);
        if (result == PLEAT_OK)
            return PLEAT_OK;
    }
}

/* The deterministic machine's time goes on at the pace of the host's. */
static void paced_tick(uv_timer_t *timer)
{
    struct pleat_monitor *monitor = timer->data;
    pleat_machine_run_for(monitor->machine, SLICE_NS);
    uint64_t duration_ns = pleat_machine_config(monitor->machine)->duration_ns;
    if (duration_ns && pleat_machine_time_ns(monitor->machine) >= duration_ns)
        end_with(monitor, "host-ui");
}

static void duration_over(uv_timer_t *timer)
{
    end_with(timer->data, "host-ui");
}

/* Sets the end that the config's duration says; 0: none. */
static void arm_duration(struct pleat_monitor *monitor)
{
    uint64_t duration_ns = pleat_machine_config(monitor->machine)->duration_ns;
    uint64_t now_ns = pleat_machine_time_ns(monitor->machine);
    if (!duration_ns || pleat_machine_is_deterministic(monitor->machine))
        return;
    uint64_t rest_ms = duration_ns > now_ns ? (duration_ns - now_ns + 999999) / 1000000 : 0;
    uv_timer_start(&monitor->end_timer, duration_over, rest_ms, 0);
}

/* ---- commands ---- */

static int run_line(struct pleat_monitor *monitor, const char *line, struct pleat_hmp_output *output,
                    struct pleat_message *message)
{
    int error = pleat_hmp_run(&monitor->control, line, output, message);
    take_said(monitor);
    if (monitor->control.ended)
        end_with(monitor, "host-qmp-quit");
    return error;
}

/* A line from the terminal or from a pipe; NULL at its end. */
static void take_line(void *context, const char *line)
{
    struct pleat_monitor *monitor = context;
    bool terminal = monitor->terminal.open;
    struct pleat_hmp_output output = {.colour = terminal && !getenv("NO_COLOR")};
    struct pleat_message ignored;
    if (!line) {
        if (terminal || (!monitor->socket && !pleat_machine_config(monitor->machine)->duration_ns))
            end_with(monitor, "host-ui");
        return;
    }
    if (!terminal)
        printf("%s%s\n", PLEAT_MONITOR_PROMPT, line);
    run_line(monitor, line, &output, &ignored);
    fputs(pleat_text_string(&output.text), stdout);
    pleat_text_free(&output.text);
    if (fflush(stdout) && !monitor->end_reason)
        end_with(monitor, "host-error");
    if (!terminal && !monitor->end_reason && pleat_machine_is_deterministic(monitor->machine))
        pleat_machine_run_until(monitor->machine, is_settled, monitor, SETTLE_NS);
    if (monitor->end_reason)
        pleat_input_close(&monitor->input);
}

/* ---- scenarios ---- */

static int scenario_command(void *context, const char *line, char *output, size_t output_bytes,
                            struct pleat_message *message)
{
    struct pleat_hmp_output printed = {.colour = false};
    int error = run_line(context, line, &printed, message);
    snprintf(output, output_bytes, "%s", pleat_text_string(&printed.text));
    fputs(output, stdout);
    pleat_text_free(&printed.text);
    return error;
}

static int scenario_device_bytes(void *context, const char *device, uint64_t *bytes,
                                 struct pleat_message *message)
{
    struct pleat_monitor *monitor = context;
    struct pleat_memory_device_info info;
    int error = pleat_machine_memory_device(monitor->machine, device, &info, message);
    if (!error)
        *bytes = info.size_bytes;
    struct pleat_balloon_info balloon;
    struct pleat_message none;
    if (error == PLEAT_E_NOT_FOUND && !strcmp(device, "balloon") &&
        !pleat_machine_balloon_info(monitor->machine, &balloon, &none)) {
        *bytes = balloon.actual_bytes;
        error = PLEAT_OK;
    }
    return error;
}

static bool scenario_settled(void *context)
{
    return is_settled(context);
}

static int scenario_run_until(void *context, bool (*condition)(void *context), void *condition_context,
                              uint64_t timeout_ns)
{
    fflush(stdout);
    return pleat_monitor_run_until(context, condition, condition_context, timeout_ns);
}

static void scenario_print(void *context, const char *line)
{
    (void)context;
    printf("%s\n", line);
    fflush(stdout);
}

int pleat_monitor_run_scenario(struct pleat_monitor *monitor, const struct pleat_scenario *scenario,
                               struct pleat_message *message)
{
    static const struct pleat_scenario_ops ops = {
        .command = scenario_command,
        .device_bytes = scenario_device_bytes,
        .settled = scenario_settled,
        .run_until = scenario_run_until,
        .print = scenario_print,
    };
    int error = pleat_scenario_run(scenario, &ops, monitor, message);
    fflush(stdout);
    return error;
}

/* ---- life ---- */

static void signalled(uv_signal_t *signal, int number)
{
    (void)number;
    end_with(signal->data, "host-signal");
}

static void init_handles(struct pleat_monitor *monitor)
{
    uv_async_init(&monitor->loop, &monitor->spoke, spoke);
    uv_timer_init(&monitor->loop, &monitor->events_due);
    uv_timer_init(&monitor->loop, &monitor->tick);
    uv_timer_init(&monitor->loop, &monitor->end_timer);
    uv_signal_init(&monitor->loop, &monitor->interrupt);
    uv_signal_init(&monitor->loop, &monitor->terminate);
    uv_signal_init(&monitor->loop, &monitor->hang_up);
    monitor->spoke.data = monitor->events_due.data = monitor->tick.data = monitor->end_timer.data = monitor;
    monitor->interrupt.data = monitor->terminate.data = monitor->hang_up.data = monitor;
    uv_signal_start(&monitor->interrupt, signalled, SIGINT);
    uv_signal_start(&monitor->terminate, signalled, SIGTERM);
    uv_signal_start(&monitor->hang_up, signalled, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
}

int pleat_monitor_create(struct pleat_machine *machine, struct pleat_monitor **result,
                         struct pleat_message *message)
{
    const struct pleat_monitor_config *config = &pleat_machine_config(machine)->monitor;
    struct pleat_monitor *monitor = calloc(1, sizeof(*monitor));
    *result = NULL;
    if (!monitor || uv_loop_init(&monitor->loop)) {
        free(monitor);
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "out of memory");
    }
    monitor->machine = machine;
    monitor->control.machine = machine;
    monitor->control.was_continued = !pleat_machine_config(machine)->stopped;
    monitor->events.send = send_event;
    monitor->events.context = monitor;
    monitor->wants_terminal = config->stdio && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    monitor->last = &monitor->first;
    pthread_mutex_init(&monitor->lock, NULL);
    init_handles(monitor);
    struct pleat_machine_listener listener = {hear_event, hear_line, monitor};
    pleat_machine_listen(machine, &listener);
    int error = PLEAT_OK;
    if (config->qmp_path[0]) {
        monitor->socket = calloc(1, sizeof(*monitor->socket));
        error = monitor->socket
                    ? pleat_monitor_socket_open(monitor->socket, &monitor->loop, config->qmp_path,
                                                &monitor->control, before_answer, monitor, message)
                    : pleat_message_set(message, PLEAT_E_NO_MEMORY, "out of memory");
    }
    if (error)
        pleat_monitor_destroy(monitor);
    else
        *result = monitor;
    return error;
}

int pleat_monitor_wait_client(struct pleat_monitor *monitor)
{
    while (monitor->socket && !monitor->socket->connections && !monitor->end_reason)
        uv_run(&monitor->loop, UV_RUN_ONCE);
    return monitor->end_reason ? PLEAT_E_CANCELLED : PLEAT_OK;
}

/* With nobody there who could say when, the deterministic machine runs to its end as fast as it can. */
static bool runs_alone(const struct pleat_monitor *monitor)
{
    return pleat_machine_is_deterministic(monitor->machine) && !monitor->terminal.open &&
           !monitor->input.open && !monitor->socket;
}

void pleat_monitor_run(struct pleat_monitor *monitor)
{
    const struct pleat_machine_config *config = pleat_machine_config(monitor->machine);
    if (monitor->end_reason)
        return;
    arm_duration(monitor);
    if (monitor->wants_terminal)
        pleat_terminal_open(&monitor->terminal, &monitor->loop, &monitor->control, take_line, monitor);
    else if (config->monitor.stdio)
        pleat_input_open(&monitor->input, &monitor->loop, take_line, monitor);
    else
        take_line(monitor, NULL);
    if (pleat_machine_is_deterministic(monitor->machine) && (monitor->terminal.open || monitor->socket))
        uv_timer_start(&monitor->tick, paced_tick, SLICE_NS / 1000000, SLICE_NS / 1000000);
    while (!monitor->end_reason) {
        if (runs_alone(monitor)) {
            uint64_t now_ns = pleat_machine_time_ns(monitor->machine);
            if (!config->duration_ns || now_ns >= config->duration_ns)
                end_with(monitor, "host-ui");
            else
                pleat_monitor_run_until(monitor, NULL, NULL, config->duration_ns - now_ns);
        } else {
            uv_run(&monitor->loop, UV_RUN_ONCE);
        }
        if (monitor->control.ended)
            end_with(monitor, "host-qmp-quit");
    }
    pleat_terminal_close(&monitor->terminal);
    pleat_input_close(&monitor->input);
}

bool pleat_monitor_has_terminal(const struct pleat_monitor *monitor)
{
    return monitor->wants_terminal;
}

const char *pleat_monitor_end_reason(const struct pleat_monitor *monitor)
{
    return monitor->end_reason;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void flush_over(uv_timer_t *timer)
{
    bool *over = timer->data;
    *over = true;
}

/* Gives QMP clients the time to take what is on its way. */
static void flush_socket(struct pleat_monitor *monitor)
{
    bool over = false;
    monitor->end_timer.data = &over;
    uv_timer_stop(&monitor->tick);
    uv_timer_start(&monitor->end_timer, flush_over, FLUSH_MS, 0);
    while (!over && pleat_monitor_socket_is_sending(monitor->socket))
        uv_run(&monitor->loop, UV_RUN_ONCE);
}

void pleat_monitor_destroy(struct pleat_monitor *monitor)
{
    if (!monitor)
        return;
    static const struct pleat_machine_listener nobody;
    take_said(monitor);
    monitor->control.ended = true;
    pleat_terminal_close(&monitor->terminal);
    if (monitor->socket) {
        flush_socket(monitor);
        pleat_monitor_socket_close(monitor->socket);
    }
    pleat_machine_listen(monitor->machine, &nobody);
    uv_walk(&monitor->loop, close_handle, NULL);
    while (uv_loop_close(&monitor->loop) == UV_EBUSY)
        uv_run(&monitor->loop, UV_RUN_DEFAULT);
    take_said(monitor);
    pleat_events_free(&monitor->events);
    pleat_input_free(&monitor->input);
    pthread_mutex_destroy(&monitor->lock);
    free(monitor->socket);
    free(monitor);
}
