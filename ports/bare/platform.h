/* SPDX-License-Identifier: MIT
 *
 * What the images ask of a bare-metal port, beyond <pleat/port.h>: the machine as it was found, a console, a
 * clock, CPUs, interrupts, PCI. Each folder of ports/ that boots by itself implements it; images/ use it and
 * know nothing of an architecture.
 *
 * A port boots CPU 0, finds out what `platform` holds, brings the other CPUs up, and calls image_main() on
 * CPU 0 with interrupts on. The other CPUs wait in platform_idle() until they are given something to run.
 */
#ifndef PLEAT_PORTS_BARE_PLATFORM_H
#define PLEAT_PORTS_BARE_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/pleat.h>
#include <pleat/port.h>
#include <pleat/xen.h>

#define PLATFORM_CPUS  256u
#define PLATFORM_NODES 16u
#define PLATFORM_SPANS 64u
#define PLATFORM_AREAS 16u

/* Where firmware says that memory may be plugged. */
struct platform_area {
    uint64_t start;
    uint64_t bytes;
    unsigned node;
};

struct platform {
    const char *command_line; /* never NULL */
    const char *architecture; /* "x86_64", ... */
    unsigned cpus;            /* that run, from 0 */
    unsigned nodes;
    uint8_t cpu_node[PLATFORM_CPUS];
    uint32_t proximity[PLATFORM_NODES]; /* the firmware's proximity domain of each node */
    /* The boot map, sorted, for pleat_init(): usable memory FREE, the image and firmware's memory RESERVED.
     */
    struct pleat_boot_span spans[PLATFORM_SPANS];
    unsigned span_count;
    struct platform_area areas[PLATFORM_AREAS];
    unsigned area_count;
    /* Addresses at which nothing is, neither memory nor devices, nor will be by itself: for memory that a
     * hypervisor gives beyond the boot map, and for pages that another domain grants. Inaccessible until they
     * are mapped, which can't fail for lack of tables, as in an area. bytes 0: there is no need of any. */
    struct platform_area unused;
    uint64_t highest_pfn; /* above all spans and areas, and what is unused */
    /* Ready to be handed to pleat_init(). map and unmap do page tables and the TLB; a frame of an area is
     * inaccessible until it is mapped. */
    struct pleat_port port;
};

extern struct platform platform;

/* The image's own; returns the code for platform_exit(). */
int image_main(void);

/* --- Console, clock, end -------------------------------------------------------------------------------- */

/* Writes text to the console; any CPU, any context. */
void platform_write(const char *text, size_t bytes);

/* A byte typed at the console, or -1. */
int platform_read(void);

/* Monotonic over all CPUs. */
uint64_t platform_clock_ns(void);

/* Ends the machine; a tester sees the code: on QEMU's isa-debug-exit as 2 * code + 1, of a domain of Xen that
 * isn't dom0 as "poweroff" (0) or "crash". */
_Noreturn void platform_exit(unsigned code);
/* The port's own code for it: an exception that nobody handles, a broken invariant, a machine that it can't
 * use. */
#define PLATFORM_EXIT_EXCEPTION 99u

/* --- CPUs ----------------------------------------------------------------------------------------------- */

/* Runs `run` on every CPU at once, CPU 0 included, and returns when all have returned. Called on CPU 0. */
void platform_on_all_cpus(void (*run)(void *context, unsigned cpu), void *context);

/* Gives CPU `cpu`, not 0, something to run, and returns. PLEAT_E_BUSY: it runs something already. */
int platform_start(unsigned cpu, void (*run)(void *context, unsigned cpu), void *context);

/* Whether what was given to CPU `cpu` has returned. */
bool platform_is_idle(unsigned cpu);

/* Halts this CPU until an interrupt comes, or until about `until_ns` (UINT64_MAX: no time). An interrupt that
 * came since platform_wake_begin() makes it return at once, so that none is missed. */
void platform_idle(uint64_t until_ns);
/* Call before the last look for work, then platform_idle(). */
void platform_wake_begin(void);
/* Ends another CPU's platform_idle(). */
void platform_wake(unsigned cpu);

/* Reads a byte or writes to it; false: that faulted, and nothing else has happened. */
bool platform_touch(volatile unsigned char *byte, bool write);

/* --- Interrupts and PCI --------------------------------------------------------------------------------- */

/*
 * Routes a message-signalled interrupt to CPU 0: `handler` runs in interrupt context, pinned. What a device
 * has to write where goes to *address and *data. PLEAT_E_NO_MEMORY: no vectors left. PLEAT_E_UNSUPPORTED:
 * this platform has none.
 */
int platform_message_interrupt(void (*handler)(void *context), void *context, uint64_t *address,
                               uint32_t *data);

/* Routes pin interrupts (INTx) of PCI functions: `handler` is called for each of them, whoever raised it. */
int platform_pin_interrupt(void (*handler)(void *context), void *context);

/* A PCI function, by its place in configuration space. */
struct platform_pci {
    uint16_t segment;
    uint8_t bus, device, function;
};

/* Functions that are there, in order; returns how many, and fills in at most `most`. Bars are assigned. */
unsigned platform_pci_list(struct platform_pci *list, unsigned most);
/* Configuration space: `bytes` is 1, 2 or 4, offset a multiple of it. */
uint32_t platform_pci_read(const struct platform_pci *function, unsigned offset, unsigned bytes);
void platform_pci_write(const struct platform_pci *function, unsigned offset, unsigned bytes, uint32_t value);
/* Device registers at a physical address, uncached; NULL: they can't be mapped. Stays for good. */
void *platform_map_registers(uint64_t address, uint64_t bytes);

/* --- Xen ------------------------------------------------------------------------------------------------ */

/* The hypervisor that this machine is a domain of, ready for drivers; NULL: it isn't Xen. */
const struct pleat_xen *platform_xen(void);

/* Ends this domain such that the toolstack starts it anew. Returns where nobody could: dom0, no Xen. */
void platform_xen_reboot(void);

#endif
