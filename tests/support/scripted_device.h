/* SPDX-License-Identifier: MIT
 *
 * A virtio-mem device for tests of its driver, with its transport. Without a script it is honest, and as
 * simple as can be: a byte for each block. A script sees each request first and may have any bytes
 * written in answer, or none, whether or not the request is carried out. The config space, the features and
 * the ring can be made to lie as well.
 *
 * Whatever is unplugged honestly is first checked to be unused, by the model memory.
 */
#ifndef PLEAT_TESTS_SCRIPTED_DEVICE_H
#define PLEAT_TESTS_SCRIPTED_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/virtio_device_ring.h>
#include <pleat/virtio_transport.h>
#include <pleat/wire/virtio_mem.h>

#include "tests/support/model_memory.h"

enum { SCRIPTED_BLOCKS = 4096, SCRIPTED_LOG = 4096, SCRIPTED_SHARED_BYTES = 4096 };

/** What a script wants to be done with a request. */
enum script_action {
    SCRIPT_HONEST = 0, /* carry it out and answer honestly */
    SCRIPT_ANSWER,     /* don't; the script has filled in the answer */
    SCRIPT_DO_ANSWER,  /* carry it out, but give the script's answer */
    SCRIPT_SILENT,     /* don't, and never answer */
    SCRIPT_DO_SILENT   /* carry it out, and never answer */
};

struct scripted_request {
    unsigned type;
    uint64_t address;
    uint64_t blocks;
    unsigned answer; /* 99: none */
};

struct scripted_answer {
    uint8_t bytes[PLEAT_VIRTIO_MEM_RESPONSE_BYTES];
    uint32_t written; /* so many of them are written ... */
    uint32_t length;  /* ... and so many it says that it has written */
};

struct scripted_device {
    struct pleat_virtio_transport transport;
    struct model_memory *model;

    /* The config space, as it is told; blocks[] goes by these too. */
    uint64_t block_bytes, address, region_bytes, usable_bytes, requested_bytes;
    uint64_t plugged_lie;                               /* added to what plugged_size says */
    uint8_t config_lies[PLEAT_VIRTIO_MEM_CONFIG_BYTES]; /* the same for all bytes: exclusive or */
    uint16_t node;
    uint32_t generation;
    unsigned torn_reads; /* so many reads of the generation change it */
    bool plugged[SCRIPTED_BLOCKS];

    uint64_t features_offered;
    uint64_t features;
    bool refuse_features;
    uint8_t status;
    unsigned reset_polls; /* a reset takes so many polls */
    unsigned reset_polls_left;
    unsigned resets;
    uint16_t queue_size_max;
    bool refuse_below_request; /* X8 */
    bool tolerant;             /* chains that are no requests are dropped, in place of a breach */
    bool deferred;             /* requests wait for scripted_device_run() */
    /* Called when a driver sets DRIVER_OK, while it isn't set yet; may be NULL. */
    void (*before_driver_ok)(struct scripted_device *device);

    enum script_action (*script)(void *context, const struct scripted_request *request,
                                 struct scripted_answer *answer);
    void *script_context;
    struct scripted_request log[SCRIPTED_LOG]; /* the first ones */
    unsigned logged;
    unsigned config_reads; /* of a field */
    unsigned config_writes;
    uint16_t config_vector, queue_vector;
    unsigned vectors_set;
    int vector_error;

    /* The ring. */
    uint8_t shared[SCRIPTED_SHARED_BYTES] __attribute__((aligned(64)));
    uint64_t shared_physical;
    struct pleat_virtqueue_config queue_config;
    struct pleat_virtqueue queue;
    bool queue_enabled;
    unsigned notifications;
    uint32_t interrupts; /* causes that wait */
    bool reset_pending;  /* the driver must not touch the shared memory */
    uint8_t shared_then[SCRIPTED_SHARED_BYTES];
};

/* A script: of the requests of some types, `times` after the first `skip` are treated otherwise. */
struct script_plan {
    unsigned types; /* mask of PLEAT_VIRTIO_MEM_REQ_ numbers */
    unsigned skip;
    unsigned times;
    enum script_action action;
    struct scripted_answer answer;
    void (*before)(void *context, const struct scripted_request *request); /* sees all; may be NULL */
    void *context;
    unsigned seen;
};

#define PLUGS   (1u << PLEAT_VIRTIO_MEM_REQ_PLUG)
#define UNPLUGS (1u << PLEAT_VIRTIO_MEM_REQ_UNPLUG)
#define ALLS    (1u << PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL)
#define STATES  (1u << PLEAT_VIRTIO_MEM_REQ_STATE)
#define FOREVER 1000000000u

/* For scripted_device.script, with a struct script_plan. */
enum script_action script_plan(void *context, const struct scripted_request *request,
                               struct scripted_answer *answer);
/* Fills in a plan that answers by a type alone and doesn't carry out, and gives it to the device. */
void script_plan_answer(struct scripted_device *device, struct script_plan *plan, unsigned types,
                        unsigned skip, unsigned times, unsigned answer);

/* Fills in a plan that carries requests out and grants them, in answers of which all but the type is 0xff. */
void script_plan_type_alone(struct scripted_device *device, struct script_plan *plan, unsigned types);

/* An honest device at `address` over `model`, with nothing plugged. */
void scripted_device_init(struct scripted_device *device, struct model_memory *model, uint64_t address,
                          uint64_t region_bytes, uint64_t block_bytes);

/* Part of the region is plugged from before, by an earlier guest or behind this one's back. */
void scripted_device_leave_plugged(struct scripted_device *device, uint64_t offset, uint64_t bytes);
/* So many requests of a type were made. */
unsigned scripted_device_count(const struct scripted_device *device, unsigned type);

/* The host wants another size. Usable region: up to `requested` and at least what it was. */
void scripted_device_request(struct scripted_device *device, uint64_t bytes);

/* Handles what waits in the queue. */
void scripted_device_run(struct scripted_device *device);

/* Causes since the last call, PLEAT_VIRTIO_INTERRUPT_ bits. */
uint32_t scripted_device_interrupts(struct scripted_device *device);

uint64_t scripted_device_plugged_bytes(const struct scripted_device *device);
bool scripted_device_is_plugged(const struct scripted_device *device, uint64_t address, uint64_t bytes);

/* Fills in an answer of a type (and state), all ten bytes of it. */
void scripted_answer(struct scripted_answer *answer, unsigned type, unsigned state);

#endif
