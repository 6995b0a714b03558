/* SPDX-License-Identifier: MIT
 *
 * Grants of memory between domains, version 1 (xen/include/public/grant_table.h): this domain's table, and
 * mapping what others grant.
 */
#include "xen.h"

#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "xen_hypercall.h"

#include <xen/grant_table.h>
#include <xen/memory.h>

#define TABLE_FRAMES 4u
#define PAGE_BYTES   4096u
#define PAGE_SHIFT   12u
#define ENTRIES      (TABLE_FRAMES * PAGE_BYTES / sizeof(struct pleat_xen_grant_entry))
/* In one hypercall. */
#define BATCH 16u

_Static_assert(sizeof(struct pleat_xen_grant_entry) == sizeof(struct grant_entry_v1), "as Xen has it");

static struct pleat_xen_grant_entry table[ENTRIES] __attribute__((aligned(4096)));

unsigned xen_grants_start(struct pleat_xen_grant_entry **grants)
{
    struct gnttab_set_version version = {.version = 1};
    unsigned frames = 0;
    int error = PLEAT_OK;

    /* It is 1 already unless the domain has been somebody else's before, and may be fixed. */
    (void)xen_grant_op(GNTTABOP_set_version, &version, 1);
    while (frames < TABLE_FRAMES && !error) {
        error = xen_put_page((char *)table + (size_t)frames * PAGE_BYTES, XENMAPSPACE_grant_table, frames);
        frames += !error;
    }
    if (error)
        print("xen: %u frames of the grant table: %s\n", frames, pleat_error_text(error));
    *grants = frames ? table : NULL;
    return frames * (PAGE_BYTES / sizeof(struct pleat_xen_grant_entry));
}

static int status_error(int status)
{
    switch (status) {
    case GNTST_okay:
        return PLEAT_OK;
    case GNTST_bad_domain:
    case GNTST_bad_gntref:
        return PLEAT_E_NOT_FOUND;
    case GNTST_bad_handle:
    case GNTST_bad_virt_addr:
    case GNTST_address_too_big:
        return PLEAT_E_INVALID;
    case GNTST_permission_denied:
        return PLEAT_E_REFUSED;
    case GNTST_no_device_space:
        return PLEAT_E_NO_MEMORY;
    case GNTST_eagain:
        return PLEAT_E_BUSY;
    default:
        return PLEAT_E_DEVICE;
    }
}

static int map_batch(struct pleat_xen_map *maps, unsigned count)
{
    struct gnttab_map_grant_ref requests[BATCH];

    for (unsigned i = 0; i < count; i++)
        requests[i] = (struct gnttab_map_grant_ref){.host_addr = maps[i].pfn << PAGE_SHIFT,
                                                    .flags = GNTMAP_host_map |
                                                             (maps[i].read_only ? GNTMAP_readonly : 0),
                                                    .ref = maps[i].reference,
                                                    .dom = maps[i].domain};
    long result = xen_grant_op(GNTTABOP_map_grant_ref, requests, count);
    if (result)
        return xen_error(result);
    for (unsigned i = 0; i < count; i++) {
        maps[i].result = status_error(requests[i].status);
        maps[i].handle = requests[i].handle;
    }
    return PLEAT_OK;
}

static int unmap_batch(struct pleat_xen_unmap *unmaps, unsigned count)
{
    struct gnttab_unmap_grant_ref requests[BATCH];

    for (unsigned i = 0; i < count; i++)
        requests[i] = (struct gnttab_unmap_grant_ref){.host_addr = unmaps[i].pfn << PAGE_SHIFT,
                                                      .handle = unmaps[i].handle};
    long result = xen_grant_op(GNTTABOP_unmap_grant_ref, requests, count);
    if (result)
        return xen_error(result);
    for (unsigned i = 0; i < count; i++)
        unmaps[i].result = status_error(requests[i].status);
    return PLEAT_OK;
}

/* Frame 0: Xen takes the address 0 of an unmapping for "nothing to do" and says that it was done. */
int xen_grants_map(void *context, struct pleat_xen_map *maps, unsigned count)
{
    (void)context;
    for (unsigned i = 0; i < count; i++) {
        maps[i].result = PLEAT_E_CANCELLED;
        if (!maps[i].pfn)
            return PLEAT_E_INVALID;
    }
    for (unsigned done = 0; done < count; done += BATCH) {
        int error = map_batch(&maps[done], count - done < BATCH ? count - done : BATCH);
        if (error && !done)
            return error;
        /* What was done before stays done: each one's result says what it is. */
        for (unsigned i = done; error && i < count; i++)
            maps[i].result = error;
        if (error)
            break;
    }
    return PLEAT_OK;
}

int xen_grants_unmap(void *context, struct pleat_xen_unmap *unmaps, unsigned count)
{
    (void)context;
    for (unsigned i = 0; i < count; i++) {
        unmaps[i].result = PLEAT_E_CANCELLED;
        if (!unmaps[i].pfn)
            return PLEAT_E_INVALID;
    }
    for (unsigned done = 0; done < count; done += BATCH) {
        int error = unmap_batch(&unmaps[done], count - done < BATCH ? count - done : BATCH);
        if (error && !done)
            return error;
        /* What was done before stays done: each one's result says what it is. */
        for (unsigned i = done; error && i < count; i++)
            unmaps[i].result = error;
        if (error)
            break;
    }
    return PLEAT_OK;
}
