/* SPDX-License-Identifier: MIT
 *
 * Xen beneath this machine, as a PVH guest sees it: a domain of its own, or the initial one (dom0). What it
 * is to drivers is struct pleat_xen (<pleat/xen.h>), by platform_xen(); this is what the rest of the port
 * asks. Where there is no Xen, all of it does nothing and says so.
 */
#ifndef PORTS_X86_64_XEN_H
#define PORTS_X86_64_XEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/xen.h>

#include "ports/bare/pvh.h"

/* Looks for Xen and makes hypercalls possible. The first thing on CPU 0. */
void xen_find(void);
bool xen_is_there(void);
/* The first of its leaves of CPUID; 0: it isn't there. */
uint32_t xen_leaves(void);

/* The memory map, which dom0's start_info lacks. Returns how many entries; 0: none. */
unsigned xen_memory_map(const struct firmware *firmware, struct boot_memory *memory, unsigned most);

/* Shared info, events, grants, the store's page; paging has to be there, and interrupts_start() to have been.
 */
void xen_start(bool is_dom0);

/* How far the domain may grow beyond this much memory. */
uint64_t xen_growth_frames(uint64_t frames);

/* A domain that ends says why to who has started it, and comes back when that isn't possible; dom0 comes back
 * at once. */
void xen_shutdown(unsigned code);

/* The error of <pleat/error.h> for one of Xen's, which is negative. */
int xen_error(long result);
/* A parameter of this domain (<xen/hvm/params.h>); 0, if there is none. */
uint64_t xen_parameter(unsigned index);
bool xen_set_parameter(unsigned index, uint64_t value);
/* Puts one of Xen's own pages where this frame of the image is; the memory that was there goes back to Xen.
 * `space` and `index` as for XENMEM_add_to_physmap. */
int xen_put_page(void *frame, unsigned space, unsigned index);

/* --- xen_events.c --------------------------------------------------------------------------------------- */

int xen_events_start(void);
/* The handler of VECTOR_EVENTS. */
void xen_events_interrupt(void);

int xen_event_offer(void *context, uint16_t domain, void (*handler)(void *), void *handler_context);
int xen_event_bind(void *context, uint16_t domain, uint32_t remote_channel, void (*handler)(void *),
                   void *handler_context);
int xen_event_listen(void *context, uint32_t channel, void (*handler)(void *), void *handler_context);
int xen_event_send(void *context, uint32_t channel);
/* On CPU 0, so that the handler isn't running. */
int xen_event_close(void *context, uint32_t channel);

/* --- xen_grants.c --------------------------------------------------------------------------------------- */

/* Puts the grant table into place; returns how many entries it has, 0: there is none. */
unsigned xen_grants_start(struct pleat_xen_grant_entry **grants);

int xen_grants_map(void *context, struct pleat_xen_map *maps, unsigned count);
int xen_grants_unmap(void *context, struct pleat_xen_unmap *unmaps, unsigned count);

/* --- xen_console.c -------------------------------------------------------------------------------------- */

/* Finds the console: from then on xen_console_write() writes there. */
void xen_console_find(void);
/* Its page, once the boot's tables are gone. */
void xen_console_map(void);
/* False: there is none. Calls are one at a time. */
bool xen_console_write(const char *text, size_t bytes);
/* A byte, or -1. */
int xen_console_read(void);
/* Waits, not for ever, until all that was written has been read. */
void xen_console_flush(void);

#endif
