/* SPDX-License-Identifier: MIT
 *
 * Faults: named places where the machine goes wrong when it is told to, so that what a guest, a device or a
 * host does about it can be seen. A fault is written as its name and parameters,
 *
 *     device-busy:after=3,count=2
 *
 * and each place of the machine that can fail asks pleat_fault_hits() when it is passed.
 *
 *   after=N      the first N passes go well; default 0
 *   count=N      then it fails N times; default: always
 *   every=N      and of those only each Nth pass; default 1
 *   for=TIME     it fails only for so long after its first failure
 *   device=ID    only at this device; where the place belongs to one
 *
 * Some faults have parameters of their own; the table in fault.c describes them all. Parameters are separated
 * by `,` or `:`.
 */
#ifndef PLEAT_MACHINE_FAULT_H
#define PLEAT_MACHINE_FAULT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "machine/config.h"
#include "machine/machine.h"
#include "machine/message.h"

/** Places that can fail. */
enum pleat_fault_place {
    PLEAT_FAULT_DEVICE_BUSY = 0,
    PLEAT_FAULT_DEVICE_NACK,
    PLEAT_FAULT_DEVICE_ERROR,
    PLEAT_FAULT_DEVICE_SILENT,
    PLEAT_FAULT_CONFIG_CHANGE_IN_REQUEST,
    PLEAT_FAULT_HOST_OUT_OF_MEMORY,
    PLEAT_FAULT_HOST_OUT_OF_MAPPINGS,
    PLEAT_FAULT_HOST_DISCARD_FAILS,
    PLEAT_FAULT_ALLOCATION_REFUSED,
    PLEAT_FAULT_ADD_REFUSED,
    PLEAT_FAULT_LISTENER_REFUSES,
    PLEAT_FAULT_MIGRATE_FAILS,
    PLEAT_FAULT_ISOLATE_FAILS,
    PLEAT_FAULT_GUEST_TOUCHES_UNPLUGGED,
    PLEAT_FAULT_GUEST_REFUSES_UNPLUG,
    PLEAT_FAULT_FRAME_TORN,
    PLEAT_FAULT_FRAME_LOST,
    PLEAT_FAULT_XEN_POPULATE_PARTIAL,
    PLEAT_FAULT_XEN_HYPERCALL_FAILS,
    PLEAT_FAULT_XEN_STORE_GONE,
    PLEAT_FAULT_XEN_STORE_SLOW,
    PLEAT_FAULT_XEN_STORE_AGAIN,
    PLEAT_FAULT_XEN_STORE_GARBAGE,
    PLEAT_FAULT_XEN_STORE_OLD,
    PLEAT_FAULT_PLACES
};

/** A fault, parsed. */
struct pleat_fault {
    enum pleat_fault_place place;
    uint64_t after, count, every; /**< count 0: always */
    uint64_t for_ns;              /**< 0: no end */
    uint64_t bytes;               /**< size=; UINT64_MAX: not given */
    char device[PLEAT_MACHINE_ID_BYTES];
    char text[256];
};

/** The faults that are on. */
struct pleat_faults;

/** The name of a place. */
const char *pleat_fault_name(enum pleat_fault_place place);

/** Can it be limited to one device? */
bool pleat_fault_is_of_a_device(enum pleat_fault_place place);

/** Reads a fault. Errors: INVALID; an unknown name is refused by name, and the known ones are told. */
int pleat_fault_parse(const char *text, struct pleat_fault *fault, struct pleat_message *message);

/** An empty set; NULL: no memory. */
struct pleat_faults *pleat_faults_create(void);
void pleat_faults_destroy(struct pleat_faults *faults);

/** Turns one on; one for each place and device. Errors: EXISTS, NO_MEMORY (too many). */
int pleat_faults_add(struct pleat_faults *faults, const struct pleat_fault *fault,
                     struct pleat_message *message);
/** Turns all of this name off. Errors: NOT_FOUND. */
int pleat_faults_delete(struct pleat_faults *faults, const char *name, struct pleat_message *message);
/** Fills in at most `capacity`; returns how many are on. */
unsigned pleat_faults_list(struct pleat_faults *faults, struct pleat_fault_info *list, unsigned capacity);

/**
 * A place is passed: does it fail this time? `device` is the id of the device that it belongs to, or NULL;
 * `bytes`, if not NULL, receives the fault's size= when it fails. Any thread. Effort: a load while no fault
 * of the place is on.
 */
bool pleat_fault_hits(struct pleat_faults *faults, enum pleat_fault_place place, const char *device,
                      uint64_t now_ns, uint64_t *bytes);

/** Prints all faults and their parameters. */
void pleat_faults_help(FILE *out);

#endif
