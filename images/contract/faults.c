/* SPDX-License-Identifier: MIT
 *
 * fault=NAME: what a CPU can't do, for tests of how the port reports it.
 */
#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "arguments.h"
#include "contract_image.h"

static uint64_t frame;
static const unsigned constant = 1;
static volatile unsigned zero;

static void read_unmapped(void)
{
    (void)*(volatile unsigned char *)platform.port.frame_pointer(platform.port.context, frame);
}

static void write_unmapped(void)
{
    *((volatile unsigned char *)platform.port.frame_pointer(platform.port.context, frame) + 5) = 1;
}

/* Mapped, used and unmapped first: nothing may remember it. */
static void write_after_unmap(void)
{
    const struct pleat_port *port = &platform.port;
    if (port->map(port->context, frame, 512))
        return;
    *(volatile unsigned char *)port->frame_pointer(port->context, frame) = 1;
    port->unmap(port->context, frame, 512);
    *(volatile unsigned char *)port->frame_pointer(port->context, frame) = 1;
}

static void read_null(void)
{
    volatile unsigned char *nothing = (volatile unsigned char *)(uintptr_t)zero;
    (void)nothing[8];
}

static void write_constant(void)
{
    *(volatile unsigned *)(uintptr_t)&constant = 2;
}

static void write_code(void)
{
    *(volatile unsigned char *)(uintptr_t)&read_null = 0;
}

static void run_data(void)
{
    static unsigned char code[16];
    /* Through the address, because a pointer to data isn't one to a function. */
    ((void (*)(void))(uintptr_t)code)();
}

static unsigned deeper(unsigned n)
{
    volatile unsigned char room[512];
    room[n % sizeof(room)] = (unsigned char)n;
    return n == zero ? 0 : deeper(n + 1) + room[n % sizeof(room)];
}

static void run_out_of_stack(void)
{
    print("%u\n", deeper(1));
}

static void trap(void)
{
    __builtin_trap();
}

static void broken_invariant(void)
{
    platform.port.fatal(platform.port.context, "as asked");
}

static void on_last_cpu(void *context, unsigned cpu)
{
    (void)context;
    if (cpu == platform.cpus - 1)
        write_unmapped();
}

static void write_on_last_cpu(void)
{
    platform_on_all_cpus(on_last_cpu, NULL);
}

void fault_as_asked(uint64_t unmapped_pfn)
{
    static const struct {
        const char *name;
        void (*act)(void);
    } faults[] = {
        {"read-unmapped", read_unmapped},
        {"write-unmapped", write_unmapped},
        {"write-after-unmap", write_after_unmap},
        {"write-on-last-cpu", write_on_last_cpu},
        {"read-null", read_null},
        {"write-constant", write_constant},
        {"write-code", write_code},
        {"run-data", run_data},
        {"stack", run_out_of_stack},
        {"trap", trap},
        {"fatal", broken_invariant},
    };
    frame = unmapped_pfn;
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        if (argument_is("fault", faults[i].name)) {
            faults[i].act();
            print("nothing happened\n");
        }
    }
}
