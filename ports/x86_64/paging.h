/* SPDX-License-Identifier: MIT
 *
 * The address space.
 *
 *     0                    nothing: null pointers fault
 *     16 MiB               the image, each part with the rights that it needs
 *     0xffff800000000000   the direct map: frame PFN at base + PFN * 4096, where there is memory now
 *     0xffffc00000000000   device registers, uncached, and pages shared with a hypervisor
 *     0xffffd00000000000   stacks, each with nothing below it
 */
#ifndef PORTS_X86_64_PAGING_H
#define PORTS_X86_64_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "ports/bare/platform.h"

#define DIRECT_MAP UINT64_C(0xffff800000000000)
/* 64 TiB, so that a stray access beyond memory is named, too. */
#define DIRECT_MAP_BYTES (UINT64_C(1) << 46)

/* Makes page tables for platform.spans, out of them, and uses them; fills in platform.port's functions. */
void paging_start(void);
/* Sets aside the tables for an area, so that map() never lacks any there. */
void paging_add_area(const struct platform_area *area);
/* Uses them on another CPU; its first value of CR3. */
uint64_t paging_root(void);

/* Maps a stack of these many bytes, a multiple of 4096, with nothing below it; returns its upper end. */
uint64_t paging_new_stack(uint64_t bytes);

/* Maps memory that is in no span: shared with a hypervisor or another domain. Stays for good. NULL: it can't
 * be. */
void *paging_map_shared(uint64_t address, uint64_t bytes);

/* What an address is, for who reports a fault. */
bool paging_frame_of(uint64_t address, uint64_t *pfn);
bool paging_is_stack_guard(uint64_t address);

#endif
