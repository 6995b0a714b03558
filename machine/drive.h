/* SPDX-License-Identifier: MIT
 *
 * Drives the virtio-mem devices of a running machine through its QMP socket, QEMU with any guest or Pleat's
 * own machine: looks at them, resizes them with a deadline, watches them, runs scenarios, and draws what it
 * saw.
 *
 * Sizes are looked at twenty times a second, and whenever the server reports an event; more often just after
 * a request, so that a time that is told is off by no more than a twentieth or a few milliseconds. What is
 * known of a device is only what the server says: of the guest inside nothing is seen but how much it plugs,
 * unless it tells more on its console (guest_console.h).
 */
#ifndef PLEAT_MACHINE_DRIVE_H
#define PLEAT_MACHINE_DRIVE_H

#include <stdint.h>
#include <stdio.h>

#include "machine/config.h"
#include "machine/message.h"
#include "machine/scenario.h"

struct pleat_drive_device {
    char id[PLEAT_MACHINE_ID_BYTES];     /**< empty: it has none, and can only be looked at */
    char memdev[PLEAT_MACHINE_ID_BYTES]; /**< its backend, the last part of its path; cut if it is longer */
    uint64_t node;
    uint64_t address;
    uint64_t size_bytes, requested_bytes, maximum_bytes, block_bytes;
};

struct pleat_drive;

/**
 * Connects to the Unix socket PATH. CONSOLE is a file or pipe with what the guest says on its console, which
 * is followed from here on; NULL: none. Lines about what happens go to OUT. TIMEOUT_NS is how long an answer
 * may take. Errors, with *DRIVE NULL: those of pleat_drive_map_open() and of pleat_qmp_client_open().
 */
int pleat_drive_open(struct pleat_drive **drive, const char *path, const char *console, uint64_t timeout_ns,
                     FILE *out, struct pleat_message *message);

/** Closes the connection and gives all back; NULL is fine. */
void pleat_drive_close(struct pleat_drive *drive);

/**
 * Asks for the devices as they are now. Errors, as all below have them besides their own: those of
 * pleat_qmp_client_execute(), PROTOCOL when the server describes a device that can't be.
 */
int pleat_drive_look(struct pleat_drive *drive, struct pleat_message *message);

/** OK, or why the console isn't followed any more: the errors of pleat_drive_map_error(). What a guest says
 * there stops nobody from driving its machine, so no other function fails because of it. */
int pleat_drive_console(const struct pleat_drive *drive, struct pleat_message *message);

/** The devices as they were seen last, in the server's order; valid until the next look. */
const struct pleat_drive_device *pleat_drive_devices(const struct pleat_drive *drive, size_t *count);

/** How long a device may take to get to its size. */
struct pleat_drive_patience {
    uint64_t deadline_ns; /**< altogether; 0: for ever */
    uint64_t stall_ns;    /**< without any change of its size; 0: for ever */
};

/**
 * Requests BYTES of the device ID, and waits until it has them; a line for each change of its size. Errors:
 * NOT_FOUND (no such device, or it went away), REFUSED (the server's reason), BUSY (somebody else requested
 * another size meanwhile), TIMEOUT (it stalled, or the deadline passed; the message has the size that was
 * wanted and the one that was reached). The request stays as it is in any case.
 */
int pleat_drive_resize(struct pleat_drive *drive, const char *id, uint64_t bytes,
                       const struct pleat_drive_patience *patience, struct pleat_message *message);

/** Prints a line for each change of a size, a request or a device, for DURATION_NS (0: until a signal comes,
 * which is no error). */
int pleat_drive_watch(struct pleat_drive *drive, uint64_t duration_ns, struct pleat_message *message);

/**
 * Runs a scenario, its lines and their output going to OUT. Commands are HMP's, executed by the server. QEMU
 * doesn't have those of Pleat's own that look into the guest: they are passed over, by name. `picture` is
 * drawn by pleat_drive_picture(). Whether drivers have settled isn't told by QMP: here it means that each
 * device has what is requested, or that none has changed for three seconds. Errors: those of
 * pleat_scenario_run().
 */
int pleat_drive_run_scenario(struct pleat_drive *drive, const struct pleat_scenario *scenario,
                             struct pleat_message *message);

/**
 * Draws what has been seen so far into STEM.svg and STEM.png: sizes over time, and the memory blocks if the
 * guest tells them on its console; the line below the title says what they would need. Pleat's own machine,
 * asked for it while it is there, draws the blocks by itself. Errors: those of pleat_picture_draw().
 */
int pleat_drive_picture(struct pleat_drive *drive, const char *stem, struct pleat_message *message);

/** Who is driven, such as "QEMU 7.2.22". */
const char *pleat_drive_server(const struct pleat_drive *drive);

#endif
