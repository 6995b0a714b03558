/* SPDX-License-Identifier: MIT
 *
 * The groups of `test=`.
 */
#ifndef PLEAT_IMAGES_GUEST_TEST_H
#define PLEAT_IMAGES_GUEST_TEST_H

#include "guest.h"

/** The core on one CPU of this port. */
void test_core(struct guest *guest);
/** All CPUs at once. */
void test_cpus(struct guest *guest);
/** Plug, use, unplug, and what a touch of unplugged memory does. */
void test_device(struct guest *guest);
/** A device that says what can't be, answers ERROR, doesn't answer, has gone. */
void test_faults(struct guest *guest);
/** Xen's memory, events and grants beneath the drivers; xen-grants needs to be dom0. */
void test_xen_memory(struct guest *guest);
void test_xen_events(struct guest *guest);
void test_xen_grants(struct guest *guest);
/** The Xen drivers over them, in dom0. */
void test_xen_balloon(struct guest *guest);
void test_xen_unpopulated(struct guest *guest);

/** Gives all memory of the device back and takes its driver away; false: it couldn't. */
bool test_detach(struct device *device);

#endif
