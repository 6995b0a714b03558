/* SPDX-License-Identifier: MIT
 *
 * Where things lie in guest-physical memory: boot RAM below and above 4 GiB, the holes and firmware pieces in
 * it, and the area for memory devices. The numbers are those of QEMU's PC machines, so that an address seen
 * here is the one seen there.
 *
 * The rules, from QEMU's sources:
 *   - hw/i386/pc_piix.c (pc): up to 3.5 GiB of RAM lie below 4 GiB; of more, 3 GiB do.
 *   - hw/i386/pc_q35.c (q35): up to 2.75 GiB lie below 4 GiB; of more, 2 GiB do.
 *   - hw/i386/pc.c, pc_get_device_memory_range(): the device area begins where RAM above 4 GiB ends,
 *     rounded up to 1 GiB, and is maxmem - size long, and 1 GiB longer for each of slots=.
 *   - hw/mem/memory-device.c, memory_device_get_free_addr(): a device is put at the lowest free place that is
 *     aligned to the larger of its block size and its backend's alignment (2 MiB for ordinary memory).
 *   - hw/i386/x86.c and SeaBIOS' memory map: RAM ends at 0x9fc00, the BIOS lies at 0xf0000, and the last
 *     128 KiB below 4 GiB hold the ACPI tables.
 *   - hw/core/numa.c, numa_default_auto_assign_ram(): without mem= and memdev= each node gets an equal part,
 *     rounded down to 8 MiB, and the last one the rest.
 */
#ifndef PLEAT_MACHINE_LAYOUT_H
#define PLEAT_MACHINE_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/pleat.h>

#include "machine/config.h"
#include "machine/message.h"

#define PLEAT_KIB UINT64_C(1024)
#define PLEAT_MIB (UINT64_C(1) << 20)
#define PLEAT_GIB (UINT64_C(1) << 30)

/** Least boot RAM of a machine: what a small kernel's image and the core's tables fit into. */
#define PLEAT_LAYOUT_RAM_BYTES_MIN (UINT64_C(16) << 20)
/** Frames of the machine's guest: 4 KiB. */
#define PLEAT_LAYOUT_FRAME_SHIFT 12
/** Memory blocks of its guest: 128 MiB, the default of the core and of Linux. */
#define PLEAT_LAYOUT_BLOCK_BYTES (UINT64_C(128) << 20)

struct pleat_layout {
    uint64_t below_4g_bytes;     /**< boot RAM at address 0 */
    uint64_t above_4g_bytes;     /**< boot RAM at 4 GiB */
    uint64_t device_area_start;  /**< 0 if there is none */
    uint64_t device_area_bytes;  /**< 0: no memory devices */
    uint64_t device_total_bytes; /**< maxmem - size: what the regions of all devices may come to */
    uint64_t growth_start;       /**< of a guest on Xen: where it grows over its boot RAM */
    uint64_t growth_bytes;       /**< whole memory blocks; 0: it can't grow, or isn't on Xen */
    uint64_t hole_start; /**< of a guest on Xen: addresses in which there is never memory of its own */
    uint64_t hole_bytes; /**< 0: not on Xen */
    uint64_t end;        /**< first address beyond everything */
};

/** A device that has its place. */
struct pleat_layout_region {
    uint64_t start, bytes;
};

/** Errors: INVALID (sizes that no machine has). */
int pleat_layout_make(enum pleat_machine_type type, uint64_t ram_bytes, uint64_t maximum_bytes,
                      unsigned slots, struct pleat_layout *layout, struct pleat_message *message);

/**
 * Finds a place for a region of `bytes`, aligned to `alignment_bytes`, beside `count` regions that are sorted
 * by start. `wished` is the address asked for, 0 for any. Errors: INVALID, in QEMU's words.
 */
int pleat_layout_place(const struct pleat_layout *layout, const struct pleat_layout_region *regions,
                       unsigned count, uint64_t bytes, uint64_t alignment_bytes, uint64_t wished,
                       const char *(*name_of)(void *context, unsigned region), void *context,
                       uint64_t *address, struct pleat_message *message);

/** Spans that pleat_layout_boot_spans() makes at most. */
#define PLEAT_LAYOUT_SPANS_MAX (PLEAT_MACHINE_NODES_MAX + 12)

/**
 * The boot map for pleat_init(): RAM of the nodes in order of addresses, firmware and the kernel's image
 * reserved, frame 0 reserved. `node_bytes` holds the memory of each node and sums up to all boot RAM. A piece
 * of a frame is left out. Returns the number of spans.
 */
unsigned pleat_layout_boot_spans(const struct pleat_layout *layout, const uint64_t *node_bytes,
                                 unsigned nodes, struct pleat_boot_span spans[PLEAT_LAYOUT_SPANS_MAX]);

/** Splits boot RAM among nodes as QEMU does when nobody says how. */
void pleat_layout_split_nodes(uint64_t ram_bytes, unsigned nodes, uint64_t *node_bytes);

/** A piece of boot RAM or firmware with its name, for the range tree. */
struct pleat_layout_piece {
    uint64_t start, bytes;
    const char *name; /**< "System RAM", "Reserved", "Kernel image" */
    unsigned depth;   /**< 0, or 1: inside the piece before it of depth 0 */
};
#define PLEAT_LAYOUT_PIECES_MAX 8
unsigned pleat_layout_pieces(const struct pleat_layout *layout,
                             struct pleat_layout_piece pieces[PLEAT_LAYOUT_PIECES_MAX]);

#endif
