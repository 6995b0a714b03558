/* SPDX-License-Identifier: MIT
 *
 * pleat-contract.elf: what a port promises, checked on the machine that it is for, as TAP on the console.
 *
 *     memory=area     checks map and unmap at the start of the first area where memory may be plugged; the
 * machine has to have memory there. Otherwise frames of boot memory are used, and map and unmap aren't.
 *     device=edu      checks interrupts, instead, on QEMU's device of that name
 *     device=rng      checks MSI-X, instead, on virtio-rng-pci; device=net on virtio-net-pci
 *     show=machine    prints what the port has found, instead
 *     fault=NAME      does something that a CPU can't do, instead: see faults.c
 *     code=N          exits with this code if nothing has failed
 */
#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "arguments.h"
#include "contract_image.h"

#define FRAME_SHIFT 12u
/* More than one page of 2 MiB and no multiple of one. */
#define FRAMES 1032u

static void show_machine(void)
{
    static const char *const uses[] = {
        [PLEAT_BOOT_FREE] = "free", [PLEAT_BOOT_RESERVED] = "reserved", [PLEAT_BOOT_IN_USE] = "in use"};
    static struct platform_pci functions[64];

    print("# architecture: %s\n", platform.architecture);
    print("# command line: %s\n", platform.command_line);
    for (unsigned i = 0; i < platform.nodes; i++)
        print("# node %u: proximity domain %u\n", i, platform.proximity[i]);
    for (unsigned i = 0; i < platform.cpus; i++)
        print("# CPU %u: node %u\n", i, platform.cpu_node[i]);
    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        print("# span 0x%llx to 0x%llx, node %u, %s\n", (unsigned long long)span->start_pfn,
              (unsigned long long)(span->start_pfn + span->frames), span->node, uses[span->use]);
    }
    for (unsigned i = 0; i < platform.area_count; i++) {
        const struct platform_area *area = &platform.areas[i];
        print("# area at 0x%llx, 0x%llx bytes, node %u\n", (unsigned long long)area->start,
              (unsigned long long)area->bytes, area->node);
    }
    unsigned count = platform_pci_list(functions, sizeof(functions) / sizeof(functions[0]));
    for (unsigned i = 0; i < count && i < sizeof(functions) / sizeof(functions[0]); i++) {
        print("# PCI %04x:%02x:%02x.%u: %04x:%04x\n", functions[i].segment, functions[i].bus,
              functions[i].device, functions[i].function, platform_pci_read(&functions[i], 0, 2),
              platform_pci_read(&functions[i], 2, 2));
    }
}

/* --- The checks ----------------------------------------------------------------------------------------- */

struct some_cpus {
    void (*run)(void *argument, unsigned cpu);
    void *argument;
};

static void run_on_some(void *context, unsigned cpu)
{
    struct some_cpus *some = context;
    if (cpu < CONTRACT_CPUS)
        some->run(some->argument, cpu);
}

static void on_all_cpus(void *context, void (*run)(void *argument, unsigned cpu), void *argument)
{
    struct some_cpus some = {run, argument};
    (void)context;
    platform_on_all_cpus(run_on_some, &some);
}

static bool touch(void *context, volatile unsigned char *byte, bool write)
{
    (void)context;
    return platform_touch(byte, write);
}

static uint64_t boot_frames(void)
{
    for (unsigned i = 0; i < platform.span_count; i++) {
        if (platform.spans[i].use == PLEAT_BOOT_FREE && platform.spans[i].frames >= FRAMES)
            return platform.spans[i].start_pfn;
    }
    return 0;
}

static unsigned failed, count;

static void run_checks(const struct contract *contract, const struct contract_check *checks)
{
    for (const struct contract_check *check = checks; check->name; check++) {
        const char *broken = check->check(contract);
        print("%sok %u - %s\n", broken ? "not " : "", ++count, check->name);
        if (broken) {
            print("# %s\n", broken);
            failed++;
        }
    }
}

int image_main(void)
{
    struct pleat_port port = platform.port;
    struct contract contract = {
        .port = &port,
        .frame_shift = FRAME_SHIFT,
        .frames = FRAMES,
        .cpus = platform.cpus < CONTRACT_CPUS ? platform.cpus : CONTRACT_CPUS,
        .on_all_cpus = on_all_cpus,
        .touch = touch,
    };

    if (argument_is("show", "machine")) {
        show_machine();
        return (int)argument_number("code");
    }
    uint64_t area_pfn = platform.area_count ? platform.areas[0].start >> FRAME_SHIFT : 0;
    fault_as_asked(area_pfn);
    if (argument_is("memory", "area")) {
        if (!area_pfn) {
            print("Bail out! There is no area where memory may be plugged.\n");
            return 1;
        }
        contract.start_pfn = area_pfn;
    } else {
        contract.start_pfn = boot_frames();
        port.map = NULL;
        port.unmap = NULL;
    }
    if (argument_is("device", "edu")) {
        run_checks(&contract, interrupt_checks);
    } else if (argument_is("device", "rng")) {
        run_checks(&contract, entropy_checks);
    } else if (argument_is("device", "net")) {
        run_checks(&contract, net_checks);
    } else {
        run_checks(&contract, contract_checks);
        run_checks(&contract, platform_checks);
    }
    print("1..%u\n", count);
    return failed ? 1 : (int)argument_number("code");
}
