/* SPDX-License-Identifier: MIT
 *
 * Benchmark of the whole stack: how long the machine takes to give 1 GiB back to the host, all steps from the
 * request to rest, against the host's own price of punching the same bytes out of a mapped memfd.
 *
 * The guest is idle and its memory populated with 4 KiB pages. The two are measured in turn, because the host
 * is shared and its speed drifts.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/support/measure.h"
#include "machine/machine_parts.h"

#define SIZE    PLEAT_GIB
#define PIECE   (128 * PLEAT_MIB)
#define SECONDS UINT64_C(1000000000)

static void refuse(const char *what, const char *why)
{
    fprintf(stderr, "bench_machine: %s: %s\n", what, why);
    exit(1);
}

/* Every page gets memory behind it; what it holds stays. */
static void populate(unsigned char *memory, uint64_t bytes)
{
    for (uint64_t offset = 0; offset < bytes; offset += 4096)
        atomic_fetch_or((_Atomic(unsigned char) *)(memory + offset), 0);
}

/* ---- the host ---- */

static double punch_ms(void)
{
    const int fd = memfd_create("bench", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)SIZE))
        refuse("memfd", "the host has none");
    unsigned char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        refuse("mmap", "the host refused");
    populate(memory, SIZE);
    const uint64_t start = now_ns();
    for (uint64_t offset = 0; offset < SIZE; offset += PIECE)
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)PIECE))
            refuse("fallocate", "the host refused");
    const uint64_t end = now_ns();
    munmap(memory, SIZE);
    close(fd);
    return (double)(end - start) / 1e6;
}

/* ---- the machine ---- */

static bool settled(void *context)
{
    return pleat_machine_is_settled(context);
}

static void resize(struct pleat_machine *machine, uint64_t bytes)
{
    struct pleat_message message = {{0}};
    struct pleat_memory_device_info info;

    if (pleat_machine_set_requested_bytes(machine, "vm0", bytes, &message))
        refuse("qom-set", message.text);
    if (pleat_machine_run_until(machine, settled, machine, 60 * SECONDS))
        refuse("resize", "no end after a minute");
    pleat_machine_memory_device(machine, "vm0", &info, NULL);
    if (info.size_bytes != bytes)
        refuse("resize", "not all was given");
}

static double last_ms(struct pleat_machine *machine)
{
    struct pleat_driver_info info;

    pleat_machine_driver_info(machine, "vm0", &info, NULL);
    return (double)info.last_step_ns / 1e6;
}

static struct pleat_machine *make_machine(void)
{
    static struct pleat_machine_config config;
    static char *const options[] = {
        "-m",      "1G,maxmem=4G",
        "-object", "memory-backend-memfd,id=mem0,size=1G",
        "-device", "virtio-mem-pci,id=vm0,memdev=mem0",
        "-floor",  "off",
    };
    struct pleat_machine *machine = NULL;
    struct pleat_message message = {{0}};

    if (pleat_machine_config_parse(sizeof options / sizeof options[0], options, &config, &message) ||
        pleat_machine_create(&config, &machine, &message) || pleat_machine_start(machine, &message))
        refuse("machine", message.text);
    return machine;
}

int main(int argc, char **argv)
{
    const struct bench_options options = bench_options(argc, argv);
    struct pleat_machine *machine = make_machine();
    double punch[RUNS], shrink[RUNS], grow[RUNS];

    for (unsigned run = 0; run < RUNS; run++) {
        punch[run] = punch_ms();
        resize(machine, SIZE);
        grow[run] = last_ms(machine);
        populate(machine->space.base + machine->slots[0]->address, SIZE);
        resize(machine, 0);
        shrink[run] = last_ms(machine);
    }
    struct table *table = table_new("machine: 1 GiB of populated 4 KiB memfd, guest idle");
    /* Growing touches no memory: the machine's part of it is as good as nothing beside the host's. */
    table_row(table, "grow by 1 GiB, all steps", median(grow, RUNS), "ms", median(punch, RUNS),
              "fallocate(PUNCH_HOLE)", 0.1, false);
    table_row(table, "shrink by 1 GiB, all steps", median(shrink, RUNS), "ms", median(punch, RUNS),
              "fallocate(PUNCH_HOLE)", 1.2, false);
    table_end(table, options.json);
    pleat_machine_stop(machine, "host-qmp-quit", NULL);
    pleat_machine_destroy(machine);
    return 0;
}
