/* SPDX-License-Identifier: MIT
 *
 * `pleat run`: a machine from QEMU's options, with its monitor.
 */
#include "cli/command.h"

#include <pleat/version.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/machine.h"
#include "machine/monitor.h"
#include "machine/options.h"

/** How long the first prompt waits for the drivers to plug what was requested at the start. */
#define BOOT_SETTLE_NS UINT64_C(10000000000)

static void print_help(void)
{
    puts("Usage: pleat run [OPTION]...\n"
         "Runs a machine: a guest with a workload, and devices that plug and unplug its memory. Its options\n"
         "are QEMU's where QEMU has them. On a terminal there is a prompt; `help` lists the commands. Lines\n"
         "from a pipe are commands too.\n\n"
         "Example:\n"
         "  pleat run -m 4G,maxmem=20G -smp sockets=2,cores=2 \\\n"
         "    -numa node,nodeid=0,cpus=0-1 -numa node,nodeid=1,cpus=2-3 \\\n"
         "    -object memory-backend-ram,id=mem0,size=8G \\\n"
         "    -device virtio-mem-pci,id=vm0,memdev=mem0,node=0,requested-size=128M \\\n"
         "    -object memory-backend-ram,id=mem1,size=8G \\\n"
         "    -device virtio-mem-pci,id=vm1,memdev=mem1,node=1,requested-size=80M\n");
    pleat_machine_config_help(stdout);
    puts("\nExit codes: 0 done, 1 failed (the machine could not be made, a scenario failed, or content of\n"
         "the guest's memory was lost or wrong), 2 wrong usage.");
}

static bool machine_is_settled(void *context)
{
    return pleat_machine_is_settled(context);
}

/* What a run came to. */
struct summary {
    struct pleat_workload_info workload;
    uint64_t time_ns;
    struct pleat_memory_device_info devices[PLEAT_MACHINE_DEVICES_MAX];
    unsigned device_count;
};

static void collect_summary(struct pleat_machine *machine, struct summary *summary)
{
    pleat_machine_workload_info(machine, &summary->workload);
    summary->time_ns = pleat_machine_time_ns(machine);
    summary->device_count =
        pleat_machine_memory_devices(machine, summary->devices, PLEAT_MACHINE_DEVICES_MAX);
}

static void print_summary(struct pleat_machine *machine)
{
    struct summary *summary = calloc(1, sizeof(*summary));
    if (!summary)
        return;
    collect_summary(machine, summary);
    const struct pleat_workload_info *workload = &summary->workload;
    printf("Ran for %.2f s. ", (double)summary->time_ns / 1e9);
    for (unsigned i = 0; i < summary->device_count; i++) {
        const struct pleat_memory_device_info *device = &summary->devices[i];
        char size[32], requested[32];
        printf("%s has %s of %s. ", device->id[0] ? device->id : "A device without id",
               pleat_format_size(size, device->size_bytes),
               pleat_format_size(requested, device->requested_bytes));
    }
    printf("%llu operations, %llu frames moved; contents checked: %llu, wrong: %llu.\n",
           (unsigned long long)workload->operations, (unsigned long long)workload->migrated_frames,
           (unsigned long long)workload->stamps_checked, (unsigned long long)workload->stamps_wrong);
    free(summary);
}

/* Writes the picture that the options ask for, if they do. */
static int write_picture(struct pleat_machine *machine, struct pleat_message *message)
{
    const char *stem = pleat_machine_config(machine)->picture_path;
    int error = stem[0] ? pleat_machine_picture(machine, stem, message) : PLEAT_OK;
    if (stem[0] && !error)
        printf("%s.svg and %s.png show the run.\n", stem, stem);
    return error;
}

static int run_scenario(struct pleat_monitor *monitor, const char *path, struct pleat_message *message)
{
    struct pleat_scenario scenario;
    int error = pleat_scenario_load(&scenario, path, message);
    if (!error)
        error = pleat_monitor_run_scenario(monitor, &scenario, message);
    pleat_scenario_free(&scenario);
    return error;
}

/* From a machine that is booted to the end of what is to be done with it. */
static int drive(struct pleat_machine *machine, struct pleat_monitor *monitor, struct pleat_message *message)
{
    const char *scenario = pleat_machine_config(machine)->scenario_path;
    const bool terminal = pleat_monitor_has_terminal(monitor);
    int error = PLEAT_OK;
    if (pleat_monitor_run_until(monitor, machine_is_settled, machine, BOOT_SETTLE_NS) == PLEAT_E_CANCELLED)
        return PLEAT_OK;
    if (scenario[0])
        error = run_scenario(monitor, scenario, message);
    if (!error && scenario[0] && terminal)
        error = write_picture(machine, message);
    /* After a scenario a person may go on; a pipe isn't read: it may belong to whoever started us. */
    if (!error && (terminal || !scenario[0])) {
        if (terminal)
            puts("Pleat " PLEAT_VERSION " monitor - type 'help' for more information");
        pleat_monitor_run(monitor);
    }
    return error ? error : write_picture(machine, message);
}

static int run_machine(struct pleat_machine *machine, struct pleat_message *message)
{
    const struct pleat_machine_config *config = pleat_machine_config(machine);
    struct pleat_monitor *monitor;
    int error = pleat_monitor_create(machine, &monitor, message);
    if (error)
        return error;
    if (config->monitor.qmp_path[0] && config->monitor.qmp_wait) {
        fprintf(stderr, "pleat run: waiting for a connection on unix:%s\n", config->monitor.qmp_path);
        error = pleat_monitor_wait_client(monitor);
    }
    if (!error)
        error = pleat_machine_start(machine, message);
    else
        pleat_message_set(message, error, "ended by a signal while it waited for a connection");
    if (!error) {
        error = drive(machine, monitor, message);
        struct pleat_message found;
        const char *reason = pleat_monitor_end_reason(monitor);
        int wrong = pleat_machine_stop(machine, reason ? reason : "host-ui", &found);
        if (!error && wrong) {
            error = wrong;
            *message = found;
        }
        print_summary(machine);
    }
    pleat_monitor_destroy(monitor);
    return error;
}

/* Whoever started us may have closed these three; what is opened next would take their places. */
static void open_standard_files(void)
{
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDWR);
    if (fd >= 0)
        close(fd);
}

int pleat_command_run(int argc, char **argv)
{
    struct pleat_message message = {""};
    struct pleat_machine *machine = NULL;
    if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "-help"))) {
        print_help();
        return PLEAT_EXIT_OK;
    }
    open_standard_files();
    struct pleat_machine_config *config = calloc(1, sizeof(*config));
    if (!config) {
        pleat_message_set(&message, PLEAT_E_NO_MEMORY, "out of memory");
        return pleat_command_failed(argv[0], &message);
    }
    int code = PLEAT_EXIT_OK;
    if (pleat_machine_config_parse(argc - 1, argv + 1, config, &message))
        code = pleat_usage_error(argv[0], "%s", message.text);
    else if (pleat_machine_create(config, &machine, &message) || run_machine(machine, &message))
        code = pleat_command_failed(argv[0], &message);
    pleat_machine_destroy(machine);
    free(config);
    return code;
}
