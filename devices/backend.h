/* SPDX-License-Identifier: MIT
 *
 * What the files of the backends share: one open backend, and its two ways to be in memory.
 */
#ifndef PLEAT_DEVICES_BACKEND_H
#define PLEAT_DEVICES_BACKEND_H

#include <pleat/backend.h>

struct bitmask; /* libnuma's */

struct pleat_backend_memory {
    uint8_t *at; /* all of it, [at, at + bytes) */
    uint64_t bytes;
    uint64_t page_bytes;
    int fd;    /* of a memfd or a file; -1: anonymous */
    bool huge; /* pages of hugetlb */
    bool prealloc;
    int policy;            /* MPOL_..., as mbind() has it */
    struct bitmask *nodes; /* NULL: no policy */
};

/* Memory of a descriptor that is mapped shared, and memory that is mapped private. */
extern const struct pleat_memory_backend_ops pleat_backend_shared_ops;
extern const struct pleat_memory_backend_ops pleat_backend_private_ops;

/** Lays private memory over the range, inaccessible, in one mapping that its pieces can join again. */
int pleat_backend_private_start(struct pleat_backend_memory *memory);

/** Aligned, not empty, inside. */
bool pleat_backend_range_is_good(const struct pleat_backend_memory *memory, uint64_t offset, uint64_t bytes);

/** Lays inaccessible memory without content over a range of addresses. 0 or NO_MEMORY. */
int pleat_backend_blank(void *at, uint64_t bytes);

/**
 * What map() does after the mapping is there: places it on the host nodes, populates it. On an error the
 * caller takes the mapping away again.
 */
int pleat_backend_settle(const struct pleat_backend_memory *memory, uint64_t offset, uint64_t bytes);

/** Blanks all of it and frees the context; the end of every close(). */
void pleat_backend_end(struct pleat_backend_memory *memory);

/* Placement, in backend_nodes.c. */

/** Reads policy and nodes of the config. 0, INVALID or UNSUPPORTED with a sentence. */
int pleat_backend_nodes_open(const struct pleat_memory_backend_config *config,
                             struct pleat_backend_memory *memory, char *why, size_t why_bytes);
/** Binds mapped memory as the config says. 0 or NO_MEMORY. */
int pleat_backend_nodes_bind(const struct pleat_backend_memory *memory, void *at, uint64_t bytes);
void pleat_backend_nodes_close(struct pleat_backend_memory *memory);

/* Descriptors, in backend_file.c. */

/** Makes a memfd, or opens the file; sets fd, huge and page_bytes. Errors as pleat_memory_backend_open(). */
int pleat_backend_memfd_open(const struct pleat_memory_backend_config *config,
                             struct pleat_backend_memory *memory, char *why, size_t why_bytes);
int pleat_backend_file_open(const struct pleat_memory_backend_config *config,
                            struct pleat_backend_memory *memory, char *why, size_t why_bytes);

#endif
