/* SPDX-License-Identifier: MIT
 *
 * Placement on host nodes. libnuma says which nodes there are; mbind() places each piece when it is mapped,
 * before it is populated, because a policy goes away with the mapping that it was given to. Pieces of one
 * policy are joined by the kernel like those without.
 */
#include <numa.h>
#include <numaif.h>
#include <stdio.h>

#include "devices/backend.h"

static int refuse(char *why, size_t why_bytes, int error, const char *sentence)
{
    if (why)
        snprintf(why, why_bytes, "%s", sentence);
    return error;
}

int pleat_backend_nodes_open(const struct pleat_memory_backend_config *config,
                             struct pleat_backend_memory *memory, char *why, size_t why_bytes)
{
    switch (config->policy) {
    case PLEAT_MEMORY_BACKEND_POLICY_DEFAULT:
        if (config->host_nodes)
            return refuse(why, why_bytes, PLEAT_E_INVALID, "host-nodes needs a policy other than default");
        return PLEAT_OK;
    case PLEAT_MEMORY_BACKEND_POLICY_PREFERRED:
        memory->policy = MPOL_PREFERRED;
        break;
    case PLEAT_MEMORY_BACKEND_POLICY_BIND:
        memory->policy = MPOL_BIND;
        break;
    case PLEAT_MEMORY_BACKEND_POLICY_INTERLEAVE:
        memory->policy = MPOL_INTERLEAVE;
        break;
    default:
        return refuse(why, why_bytes, PLEAT_E_INVALID, "the policy is none of the four");
    }
    if (!config->host_nodes)
        return refuse(why, why_bytes, PLEAT_E_INVALID, "a policy needs host-nodes");
    if (numa_available() < 0)
        return refuse(why, why_bytes, PLEAT_E_UNSUPPORTED, "this host has no NUMA nodes to bind memory to");

    struct bitmask *nodes = numa_allocate_nodemask();
    if (!nodes)
        return refuse(why, why_bytes, PLEAT_E_NO_MEMORY, "out of memory");
    for (unsigned node = 0; node < 64; node++) {
        if (!(config->host_nodes >> node & 1))
            continue;
        if (node >= nodes->size || !numa_bitmask_isbitset(numa_all_nodes_ptr, node)) {
            if (why)
                snprintf(why, why_bytes, "this host has no memory on node %u; its highest node is %d", node,
                         numa_max_node());
            numa_free_nodemask(nodes);
            return PLEAT_E_UNSUPPORTED;
        }
        numa_bitmask_setbit(nodes, node);
    }
    memory->nodes = nodes;
    return PLEAT_OK;
}

int pleat_backend_nodes_bind(const struct pleat_backend_memory *memory, void *at, uint64_t bytes)
{
    if (!memory->nodes)
        return PLEAT_OK;
    /* The kernel takes the number of bits as one more than there are. */
    return mbind(at, bytes, memory->policy, memory->nodes->maskp, memory->nodes->size + 1, 0)
               ? PLEAT_E_NO_MEMORY
               : PLEAT_OK;
}

void pleat_backend_nodes_close(struct pleat_backend_memory *memory)
{
    if (memory->nodes)
        numa_free_nodemask(memory->nodes);
    memory->nodes = NULL;
}
