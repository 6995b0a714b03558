/* SPDX-License-Identifier: MIT
 *
 * The guest of a bare machine: a core over the memory that the port has found, a driver for each virtio-mem
 * device on PCI, and what is done with the memory.
 */
#ifndef PLEAT_IMAGES_GUEST_GUEST_H
#define PLEAT_IMAGES_GUEST_GUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <pleat/pleat.h>
#include <pleat/virtio_mem_driver.h>
#include <pleat/virtio_pci.h>

#include "ports/bare/platform.h"

#include "blocks.h"
#include "domain.h"
#include "fill.h"
#include "held.h"
#include "options.h"
#include "workload.h"

#define GUEST_DEVICES 8u

struct guest;

/* A virtio-mem device and its driver. */
struct device {
    struct guest *guest;
    struct platform_pci function;
    char name[24]; /* "virtio-mem 00:02.0" */
    struct pleat_virtio_pci pci;
    struct pleat_virtio_transport transport;
    enum guest_interrupts interrupts;
    bool uses_vectors;
    uint16_t config_vector, queue_vector;
    struct pleat_virtio_mem_driver_needs needs;
    struct pleat_virtio_mem_driver *_Atomic driver; /* NULL: there is none (yet) */
    uint64_t storage_pfn, shared_pfn;
    unsigned storage_order, shared_order;
    uint64_t response_timeout_ns; /* 0: the driver's default */
    enum pleat_virtio_mem_wake wake;
    atomic_uint noted; /* somebody wants the driver stepped; a word, because not every CPU exchanges less */
    bool is_gone, was_described, is_busy;
    uint64_t busy_since_ns, next_look_ns;
    struct pleat_virtio_mem_statistics before; /* when it began to be busy */
    char said[256];                            /* the last line about its driver */
};

struct guest {
    struct pleat core;
    struct pleat_port port; /* the platform's, with the log filtered */
    struct pleat_memory memory;
    struct guest_options options;
    struct pleat_resource areas[PLATFORM_AREAS];
    struct device devices[GUEST_DEVICES];
    unsigned device_count;
    struct domain domain;
    unsigned owner;         /* of what the drivers need */
    uint64_t used_at_boot;  /* frames */
    uint64_t boot_frames;   /* online before anything was plugged */
    uint64_t driver_frames; /* what the drivers have, and the image itself */
    uint64_t first_plug_ns; /* 0: nothing has been plugged yet */
    struct held held;
    struct workload workload;
    struct blocks blocks;
    struct fill fill;
    struct fill_bound bound; /* plugged_frames 0: no fill */
    uint64_t bound_frames;
    uint64_t said_plugged_frames; /* when the outcome of a fill was said; UINT64_MAX: not yet */
    atomic_bool stops;            /* the other CPUs shall return */
};

/* The one that image_main() boots: too large for a stack. */
extern struct guest the_guest;

/** Makes the core, the owners, the claims. Says on the console why, if it can't. */
int guest_boot(struct guest *guest);

/** Out of the core's memory, 2^*order frames; errors of pleat_alloc(). */
int guest_allocate(struct guest *guest, size_t bytes, uint64_t *pfn, unsigned *order);
void guest_release(struct guest *guest, uint64_t *pfn, unsigned order);
void *guest_pointer(const struct guest *guest, uint64_t pfn);

/**
 * Holds the stamps, the accounts of all frames, and the core's own invariants against what must be. No other
 * CPU works, no evacuation goes on. False: the console has said what is wrong.
 */
bool guest_check(struct guest *guest);

/* --- devices.c ------------------------------------------------------------------------------------------ */

/** The end of the highest region of a device, in bytes; 0 without one, and where nothing can be plugged.
 * Before the core is there, which has to know how far memory may reach even if firmware doesn't say. */
uint64_t devices_end(void);

/** Finds the devices and makes a driver for each. What can't be used is named, and left alone. */
void devices_find(struct guest *guest);

/** Makes a driver over what is in device->transport; errors of measure and create, and of pleat_alloc(). */
int device_make_driver(struct device *device);

/** Calls the drivers that want to be called; returns when the next one does. CPU 0. */
uint64_t devices_serve(struct guest *guest, uint64_t now_ns);

/** Serves the devices until all are at rest; false if they aren't after so long. */
bool devices_settle(struct guest *guest, uint64_t timeout_ns);

bool device_is_at_rest(const struct device *device);

/** Plugged by all drivers' books. */
uint64_t devices_plugged_bytes(const struct guest *guest);

/* --- what it does --------------------------------------------------------------------------------------- */

/** Each returns the code for platform_exit(). */
int guest_run(struct guest *guest);
int guest_test(struct guest *guest);
int guest_bench(struct guest *guest);
int guest_stray(struct guest *guest);

#endif
