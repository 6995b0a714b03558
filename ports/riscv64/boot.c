/* SPDX-License-Identifier: MIT
 *
 * What hart 0 does from supervisor mode to image_main(), and the parts of "ports/bare/platform.h" that this
 * port has little to say to: one CPU, no interrupts, no PCI (QEMU 7.2 offers no virtio-mem on this machine).
 *
 * The command line may say hold=MIB: so much at the end of memory is no boot memory but an area where memory
 * may be plugged, because no firmware of this machine names one.
 */
#include "ports/bare/console_port.h"
#include "ports/bare/fdt.h"
#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "pleat_port.h"
#include "riscv.h"

#define FRAME_SHIFT 12u
#define MIB         (UINT64_C(1) << 20)
/* Memory comes and goes by memory blocks. */
#define HOLD_ALIGN (128 * MIB)

struct platform platform;

static struct fdt fdt;
/* Nanoseconds a tick of the clock, in units of 2^-32. */
static uint64_t scale;

static bool read_physical(void *context, uint64_t address, void *to, size_t bytes)
{
    (void)context;
    /* With paging off everything can be read, but what isn't there traps. */
    if (!riscv_touch((unsigned char *)(uintptr_t)address, false) ||
        !riscv_touch((unsigned char *)(uintptr_t)(address + bytes - 1), false))
        return false;
    __builtin_memcpy(to, (const void *)(uintptr_t)address, bytes);
    return true;
}

static void port_fence(void *context)
{
    (void)context;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* The number after hold=, in bytes; 0: it isn't there. */
static uint64_t hold_bytes(void)
{
    static const char word[] = "hold=";
    uint64_t mib = 0;
    const char *at = fdt.command_line;
    while (*at) {
        unsigned i = 0;
        while (word[i] && at[i] == word[i])
            i++;
        if (!word[i]) {
            for (at += i; *at >= '0' && *at <= '9' && mib < 1 << 20; at++)
                mib = mib * 10 + (uint64_t)(*at - '0');
            break;
        }
        while (*at && *at != ' ')
            at++;
        while (*at == ' ')
            at++;
    }
    return mib * MIB;
}

/* Cuts what is held off the entry that ends highest. */
static void hold(uint64_t bytes)
{
    struct boot_memory *highest = NULL;
    for (unsigned i = 0; i < fdt.memory_count; i++) {
        struct boot_memory *memory = &fdt.memory[i];
        if (memory->type == BOOT_MEMORY_RAM && (!highest || memory->start > highest->start))
            highest = memory;
    }
    if (!bytes || !highest || highest->bytes < bytes + HOLD_ALIGN)
        return;
    /* QEMU puts the device tree at the end of memory; it has been read, and isn't needed any more. */
    uint64_t end = (highest->start + highest->bytes) / HOLD_ALIGN * HOLD_ALIGN;
    uint64_t start = (end - bytes) / HOLD_ALIGN * HOLD_ALIGN;
    if (start <= (uintptr_t)image_end || start <= highest->start)
        return;
    highest->bytes = start - highest->start;
    platform.areas[0] = (struct platform_area){.start = start, .bytes = end - start, .node = 0};
    platform.area_count = 1;
}

static bool has_free_memory(void)
{
    for (unsigned i = 0; i < platform.span_count; i++) {
        if (platform.spans[i].use == PLEAT_BOOT_FREE)
            return true;
    }
    return false;
}

static void find_memory(const struct firmware *firmware)
{
    const struct boot_range taken[] = {
        {(uintptr_t)image_start, (uintptr_t)image_end - (uintptr_t)image_start}};
    hold(hold_bytes());
    const struct boot_map map = {.memory = fdt.memory,
                                 .memory_count = fdt.memory_count,
                                 .taken = taken,
                                 .taken_count = 1,
                                 .affinity = fdt.affinity,
                                 .affinity_count = fdt.affinity_count,
                                 .frame_shift = FRAME_SHIFT,
                                 .limit_pfn = RISCV_DIRECT_MAP_BYTES >> FRAME_SHIFT};
    platform.span_count = boot_map_spans(&map, firmware, platform.spans, PLATFORM_SPANS);
    platform.highest_pfn = boot_map_highest_pfn(platform.spans, platform.span_count, platform.areas,
                                                platform.area_count, FRAME_SHIFT);
}

void boot(uint64_t device_tree)
{
    const struct firmware firmware = {.read = read_physical, .log = console_port_line};

    /* What came before the damage is better than nothing, if there is memory in it. */
    if (!fdt_read(&firmware, device_tree, &fdt))
        print("boot: no whole device tree at 0x%lx\n", device_tree);
    if (!fdt.timebase_hz) {
        print("boot: the device tree doesn't say how fast the clock is, 10 MHz are taken for it\n");
        fdt.timebase_hz = 10000000;
    }
    scale = (uint64_t)(((unsigned __int128)1000000000 << 32) / fdt.timebase_hz);
    platform.command_line = fdt.command_line;
    platform.architecture = "riscv64";
    platform.cpus = 1;
    platform.nodes = fdt.nodes;
    for (unsigned i = 0; i < fdt.nodes; i++)
        platform.proximity[i] = i;
    if (fdt.cpu_count)
        platform.cpu_node[0] = fdt.cpus[0].node;
    find_memory(&firmware);
    if (!has_free_memory()) {
        print("boot: the device tree at 0x%lx names no memory\n", device_tree);
        platform_exit(PLATFORM_EXIT_EXCEPTION);
    }
    console_port(&platform.port);
    platform.port.fence_cpus = port_fence;
    riscv_paging_start();
    platform_exit((unsigned)image_main());
}

uint64_t platform_clock_ns(void)
{
    uint64_t ticks;
    __asm__ volatile("rdtime %0" : "=r"(ticks)::"memory");
    return (uint64_t)((unsigned __int128)ticks * scale >> 32);
}

/* --- One CPU ---------------------------------------------------------------------------------------------
 */

void platform_on_all_cpus(void (*run)(void *context, unsigned cpu), void *context)
{
    run(context, 0);
}

int platform_start(unsigned cpu, void (*run)(void *context, unsigned cpu), void *context)
{
    (void)cpu;
    (void)run;
    (void)context;
    return PLEAT_E_INVALID;
}

bool platform_is_idle(unsigned cpu)
{
    (void)cpu;
    return false;
}

/* No interrupt will come, so that only time ends it. */
void platform_idle(uint64_t until_ns)
{
    while (platform_clock_ns() < until_ns)
        pleat_port_pause();
}

void platform_wake_begin(void)
{
}

void platform_wake(unsigned cpu)
{
    (void)cpu;
}

/* --- No interrupts, no PCI -------------------------------------------------------------------------------
 */

int platform_message_interrupt(void (*handler)(void *context), void *context, uint64_t *address,
                               uint32_t *data)
{
    (void)handler;
    (void)context;
    (void)address;
    (void)data;
    return PLEAT_E_UNSUPPORTED;
}

int platform_pin_interrupt(void (*handler)(void *context), void *context)
{
    (void)handler;
    (void)context;
    return PLEAT_E_UNSUPPORTED;
}

unsigned platform_pci_list(struct platform_pci *list, unsigned most)
{
    (void)list;
    (void)most;
    return 0;
}

uint32_t platform_pci_read(const struct platform_pci *function, unsigned offset, unsigned bytes)
{
    (void)function;
    (void)offset;
    return UINT32_MAX >> (32 - 8 * bytes);
}

void platform_pci_write(const struct platform_pci *function, unsigned offset, unsigned bytes, uint32_t value)
{
    (void)function;
    (void)offset;
    (void)bytes;
    (void)value;
}

void *platform_map_registers(uint64_t address, uint64_t bytes)
{
    (void)address;
    (void)bytes;
    return NULL;
}
