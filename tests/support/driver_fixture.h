/* SPDX-License-Identifier: MIT
 *
 * A virtio-mem driver between a model memory and a scripted device, for tests. After each step the driver's
 * invariants and the memory's rules are checked. The clock is the model's: it jumps to when the driver wants
 * to be called again.
 */
#ifndef PLEAT_TESTS_DRIVER_FIXTURE_H
#define PLEAT_TESTS_DRIVER_FIXTURE_H

#include <pleat/virtio_mem_driver.h>

#include "tests/support/model_memory.h"
#include "tests/support/scripted_device.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

/* Blocks of 1 MiB, pieces and device blocks of 64 KiB; the region has eight of these blocks. */
#define FIXTURE_ADDRESS  UINT64_C(0x140000000)
#define FIXTURE_BLOCK    MIB
#define FIXTURE_PIECE    (64 * KIB)
#define FIXTURE_REGION   (8 * MIB)
#define FIXTURE_METADATA (8 * KIB)

/* What a test wants to be otherwise; 0: as above. */
struct fixture_shape {
    uint64_t device_block_bytes;
    uint64_t block_bytes;
    uint64_t piece_bytes;
    uint64_t metadata_bytes; /* UINT64_MAX: none */
    uint64_t region_offset;  /* the region starts so far from an aligned address */
    uint64_t region_bytes;
};

struct fixture {
    struct model_memory model;
    struct scripted_device device;
    struct pleat_virtio_mem_driver_config config;
    struct pleat_virtio_mem_driver *driver;
    enum pleat_virtio_mem_wake wake;
    uint64_t steps;
};

/* Memory and device are there, and config is filled in; the driver isn't created, so that tests can
 * change all of it. The floor is off. */
struct fixture *fixture_prepare(const struct fixture_shape *shape);
/* Creates the driver, and asserts that it worked. */
void fixture_create(struct fixture *fixture);
/* The same, with `requested` bytes at first, and runs it until it is quiet. */
void fixture_go(struct fixture *fixture, uint64_t requested);
/* fixture_prepare() and fixture_go(). */
struct fixture *fixture_start(const struct fixture_shape *shape, uint64_t requested);
void fixture_free(struct fixture *fixture);
/* A guest that starts anew: the driver and all added memory are gone, the device isn't. */
void fixture_restart_guest(struct fixture *fixture);

/* One step, with all checks. */
enum pleat_virtio_mem_wake fixture_step(struct fixture *fixture, uint64_t budget);
/* Steps until the driver waits for something else than time, or for more than 100 s in all. */
void fixture_run(struct fixture *fixture);
/* Steps until it waits for anything at all. */
void fixture_run_until_waiting(struct fixture *fixture);
/* The host requests another size; then fixture_run(). */
void fixture_request(struct fixture *fixture, uint64_t bytes);

/* Detaches, runs it, and returns how that ended; attaches again, and runs it. */
int fixture_detach(struct fixture *fixture, enum pleat_virtio_mem_detach how);
void fixture_attach(struct fixture *fixture);

enum pleat_virtio_mem_reason fixture_reason(const struct fixture *fixture);
const char *fixture_line(const struct fixture *fixture);
struct pleat_virtio_mem_status fixture_status(const struct fixture *fixture);
struct pleat_virtio_mem_statistics fixture_statistics(const struct fixture *fixture);
/* Asserts: quiet, books and device agree on `bytes`, all of them ready. */
void fixture_assert_at(const struct fixture *fixture, uint64_t bytes);
/* Asserts that books and device agree block by block. */
void fixture_assert_agree(const struct fixture *fixture);
/* The address of the n-th unit. */
uint64_t fixture_unit(const struct fixture *fixture, unsigned unit);

#endif
