/* SPDX-License-Identifier: MIT
 *
 * What CPU 0 does from the first C to image_main(): device tree, boot map, page tables, PCI, CPUs.
 */
#include "machine.h"
#include "ports/bare/console_port.h"
#include "ports/bare/print.h"
#include "start.h"

struct platform platform;

/* The start of RAM on QEMU's `virt`, where the device tree of an ELF image is, and its console. What the
 * first page tables show ends at RAM_SHOWN_END. */
#define RAM_START     UINT64_C(0x40000000)
#define RAM_SHOWN_END UINT64_C(0x80000000)
#define PL011         UINT64_C(0x09000000)

static struct fdt fdt;

static bool read(void *context, uint64_t address, void *to, size_t bytes)
{
    (void)context;
    if (address < RAM_START || address + bytes > RAM_SHOWN_END)
        return false;
    __builtin_memcpy(to, (const void *)(uintptr_t)address, bytes);
    return true;
}

static void say(void *context, const char *line)
{
    (void)context;
    print("%s\n", line);
}

static const struct firmware firmware = {NULL, read, say};

static _Noreturn void give_up(const char *why)
{
    print("%s\n", why);
    platform_exit(PLATFORM_EXIT_EXCEPTION);
}

static void *frame_pointer(void *context, uint64_t pfn)
{
    (void)context;
    return (void *)(uintptr_t)(pfn << 12);
}

static bool is_pieces(uint64_t pfn, uint64_t frames)
{
    return (pfn << 12) % PAGING_PIECE == 0 && (frames << 12) % PAGING_PIECE == 0;
}

static int map(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    if (!is_pieces(pfn, frames))
        return PLEAT_E_UNSUPPORTED;
    return paging_show(pfn << 12, (pfn + frames) << 12, PAGING_MEMORY) ? PLEAT_OK : PLEAT_E_NO_MEMORY;
}

static void unmap(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    paging_hide(pfn << 12, (pfn + frames) << 12);
}

static void find_memory(void)
{
    const struct boot_range image = {(uintptr_t)image_start,
                                     (uint64_t)((uintptr_t)image_end - (uintptr_t)image_start)};
    const struct boot_map boot_map = {
        .memory = fdt.memory,
        .memory_count = fdt.memory_count,
        .taken = &image,
        .taken_count = 1,
        .affinity = fdt.affinity,
        .affinity_count = fdt.affinity_count,
        .frame_shift = 12,
        .limit_pfn = PAGING_END >> 12,
    };
    platform.span_count = boot_map_spans(&boot_map, &firmware, platform.spans, PLATFORM_SPANS);
    /* The tree doesn't say where memory may be plugged: anywhere that the page tables can show. */
    platform.highest_pfn = PAGING_END >> 12;
}

void boot(uint64_t device_tree)
{
    console_init(PL011);
    if (!fdt_read(&firmware, device_tree ? device_tree : RAM_START, &fdt))
        give_up("no device tree");
    platform.command_line = fdt.command_line;
    platform.architecture = "aarch64";
    platform.nodes = fdt.nodes;
    for (unsigned i = 0; i < fdt.nodes; i++)
        platform.proximity[i] = i;
    find_memory();
    const uint64_t console = fdt.pl011 ? fdt.pl011 : PL011;
    if (!paging_begin(console))
        give_up("boot memory can't be mapped");
    console_init(console);
    pci_begin(&fdt.pci);
    cpus_begin(&fdt);
    /* No fence: CPUs enter their own caches by an atomic, since nothing interrupts them. */
    platform.port = (struct pleat_port){
        .frame_pointer = frame_pointer,
        .map = map,
        .unmap = unmap,
    };
    console_port(&platform.port);
    platform_exit((unsigned)image_main());
}
