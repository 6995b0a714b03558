/* SPDX-License-Identifier: MIT
 *
 * Boot RAM: a memfd for each piece that is contiguous and of one node, or what -numa memdev= and
 * -M memory-backend= name.
 */
#include "machine/guest_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FOUR_GIB (4 * PLEAT_GIB)

void pleat_guest_memory_backend_config(const struct pleat_backend_config *from,
                                       struct pleat_memory_backend_config *to)
{
    *to = (struct pleat_memory_backend_config){
        .kind = from->kind == PLEAT_BACKEND_RAM     ? PLEAT_MEMORY_BACKEND_ANONYMOUS
                : from->kind == PLEAT_BACKEND_MEMFD ? PLEAT_MEMORY_BACKEND_MEMFD
                                                    : PLEAT_MEMORY_BACKEND_FILE,
        .share = from->share ? PLEAT_MEMORY_BACKEND_SHARE_ON : PLEAT_MEMORY_BACKEND_SHARE_OFF,
        .bytes = from->size_bytes,
        .name = from->id,
        .path = from->kind == PLEAT_BACKEND_FILE ? from->mem_path : NULL,
        .huge = from->hugetlb,
        .huge_bytes = from->hugetlb_size_bytes,
        .prealloc = from->prealloc,
        .policy = (enum pleat_memory_backend_policy)from->policy,
        .host_nodes = from->host_nodes,
    };
}

/* The backend that boot RAM of a node comes from; NULL: the machine's own memfd. */
static const struct pleat_backend_config *backend_of(const struct pleat_machine_config *config, unsigned node)
{
    const char *id = config->ram_memdev[0] ? config->ram_memdev : config->node[node].memdev;

    return id[0] ? pleat_machine_config_backend(config, id) : NULL;
}

/* Xen brings this memory; here is only where it lies. */
static int note_piece(struct pleat_guest_memory_space *space, uint64_t start, uint64_t bytes, unsigned node)
{
    space->piece[space->piece_count++] =
        (struct pleat_guest_memory_piece){.start = start, .bytes = bytes, .node = node};
    return PLEAT_OK;
}

static int open_piece(const struct pleat_machine_config *config, struct pleat_guest_memory_space *space,
                      uint64_t start, uint64_t bytes, unsigned node, bool cut, struct pleat_message *message)
{
    struct pleat_guest_memory_piece *piece = &space->piece[space->piece_count];
    const struct pleat_backend_config *backend = backend_of(config, node);
    struct pleat_memory_backend_config open = {.kind = PLEAT_MEMORY_BACKEND_MEMFD, .name = "pleat-ram"};
    char why[256] = "";

    if (config->type == PLEAT_MACHINE_XENPVH && backend)
        return pleat_message_set(
            message, PLEAT_E_UNSUPPORTED,
            "%s: the memory of a guest on Xen comes from Xen, expected no backend for it", backend->id);
    if (config->type == PLEAT_MACHINE_XENPVH)
        return note_piece(space, start, bytes, node);
    if (backend)
        pleat_guest_memory_backend_config(backend, &open);
    if (cut && open.kind == PLEAT_MEMORY_BACKEND_FILE)
        return pleat_message_set(message, PLEAT_E_UNSUPPORTED,
                                 "%s: a file can't be cut by the hole below 4 GiB, expected boot memory that "
                                 "fits below it",
                                 backend->id);
    open.bytes = bytes;
    *piece = (struct pleat_guest_memory_piece){.start = start, .bytes = bytes, .node = node};
    int error = pleat_memory_backend_open(&open, space->base + start, &piece->backend, why, sizeof why);
    if (error)
        return pleat_message_set(message, error, "boot memory of 0x%" PRIx64 " bytes: %s", bytes,
                                 why[0] ? why : pleat_error_text(error));
    space->piece_count++;
    error = pleat_memory_backend_map(&piece->backend, 0, bytes);
    if (error)
        return pleat_message_set(message, error, "boot memory of 0x%" PRIx64 " bytes: %s", bytes,
                                 pleat_error_text(error));
    return PLEAT_OK;
}

/* Boot RAM from `offset` on, `bytes` of it, belongs to `node`: it lies below 4 GiB, above, or both. */
static int open_node(const struct pleat_machine_config *config, const struct pleat_layout *layout,
                     struct pleat_guest_memory_space *space, uint64_t offset, uint64_t bytes, unsigned node,
                     struct pleat_message *message)
{
    const uint64_t below = offset >= layout->below_4g_bytes          ? 0
                           : bytes < layout->below_4g_bytes - offset ? bytes
                                                                     : layout->below_4g_bytes - offset;
    const bool cut = below && below < bytes;
    int error = PLEAT_OK;

    if (below)
        error = open_piece(config, space, offset, below, node, cut, message);
    if (!error && bytes > below)
        error = open_piece(config, space, FOUR_GIB + offset + below - layout->below_4g_bytes, bytes - below,
                           node, cut, message);
    return error;
}

int pleat_guest_memory_create(const struct pleat_machine_config *config, const struct pleat_layout *layout,
                              struct pleat_guest_memory_space *space, struct pleat_message *message)
{
    int error = PLEAT_OK;

    memset(space, 0, sizeof *space);
    /* Aligned as the largest huge page is, so that a backend of huge pages fits where the guest has it. */
    space->base = pleat_memory_backend_reserve(layout->end, PLEAT_GIB);
    if (!space->base)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY,
                                 "the host has no 0x%" PRIx64 " bytes of addresses", layout->end);
    space->bytes = layout->end;
    uint64_t offset = 0;
    if (config->ram_memdev[0])
        error = open_node(config, layout, space, 0, config->ram_bytes, 0, message);
    else
        for (unsigned node = 0; node < config->nodes && !error; node++) {
            const uint64_t bytes = config->node[node].memory_bytes;
            if (bytes)
                error = open_node(config, layout, space, offset, bytes, node, message);
            offset += bytes;
        }
    if (error)
        pleat_guest_memory_destroy(space);
    return error;
}

void pleat_guest_memory_destroy(struct pleat_guest_memory_space *space)
{
    for (unsigned i = 0; i < space->piece_count; i++)
        if (space->piece[i].backend.ops)
            pleat_memory_backend_close(&space->piece[i].backend);
    pleat_memory_backend_release(space->base, space->bytes);
    memset(space, 0, sizeof *space);
}

bool pleat_guest_memory_is_boot(const struct pleat_guest_memory_space *space, uint64_t address,
                                uint64_t bytes)
{
    uint64_t at = address;

    if (bytes > UINT64_MAX - address)
        return false;
    for (bool moved = true; at < address + bytes && moved;) {
        moved = false;
        for (unsigned i = 0; i < space->piece_count; i++) {
            const struct pleat_guest_memory_piece *piece = &space->piece[i];
            if (at >= piece->start && at - piece->start < piece->bytes) {
                at = piece->start + piece->bytes;
                moved = true;
            }
        }
    }
    return at >= address + bytes;
}
