/* SPDX-License-Identifier: MIT
 *
 * What the checks share: the device brought up and a queue to it, requests of any form, the books, the
 * config space looked at after each request, and the verdict that is forming.
 */
#ifndef PLEAT_CONFORM_SESSION_H
#define PLEAT_CONFORM_SESSION_H

#include <pleat/virtio_driver_ring.h>
#include <pleat/wire/virtio_mem.h>

#include "conform.h"
#include "text.h"

#define CONFORM_INACC (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

/* Room for a request or an answer, more than either needs. */
#define CONFORM_MESSAGE_BYTES 64u
/* What a response buffer is filled with, to see what was written. */
#define CONFORM_UNWRITTEN  0xeeu
#define CONFORM_QUEUE_SIZE 64u

/* The config space, in the host's byte order. */
struct conform_config {
    uint64_t block_bytes;
    uint64_t node_id;
    uint64_t address;
    uint64_t region_bytes;
    uint64_t usable_bytes;
    uint64_t plugged_bytes;
    uint64_t requested_bytes;
};

/* What holds all the time; a breach is kept with its first evidence. */
enum conform_watch {
    CONFORM_WATCH_FIXED = 0, /* D-CFG2 */
    CONFORM_WATCH_SUM,       /* D-CFG3 */
    CONFORM_WATCH_USABLE,    /* D-CFG4 */
    CONFORM_WATCH_MULTIPLES, /* D-CFG6 */
    CONFORM_WATCH_SHRINK,    /* D-CFG8 */
    CONFORM_WATCHES
};

struct conform {
    const struct conform_environment *environment;
    const struct pleat_virtio_transport *transport;
    uint64_t patience_ns;
    uint64_t host_patience_ns; /* less, once the host hasn't answered */

    /* The session with the device. */
    bool up;
    uint64_t offered;
    uint64_t features; /* negotiated */
    struct pleat_virtio_ring ring;
    uint64_t ring_bytes; /* of shared memory; messages follow */
    uint64_t token;

    struct conform_config first; /* as it was found */
    struct conform_config config;
    uint64_t looks;
    bool may_shrink; /* an UNPLUG_ALL is, or was just, under way */
    char watched[CONFORM_WATCHES][256];

    /* The books. Unknown: the device has said ACK to what can't be. */
    uint64_t books;
    bool books_unknown;
    bool ever_plugged;
    unsigned window;
    unsigned quota;
    /* The device refuses to unplug below what is requested (X8): UNPLUGs are sent with nothing requested. */
    bool refuses_unrequested;
    uint64_t busy_answers;
    uint64_t resets_forced; /* because the device didn't answer */

    /* The check that is running. */
    enum conform_verdict verdict;
    struct conform_text seen;
    char seen_text[2048];
    unsigned seen_lines;

    struct conform_counts counts;
    unsigned number;
};

/* --- The verdict ---------------------------------------------------------------------------------------- */

/* The demand isn't met; the text says why, in one line. May be called again: all is reported. */
void conform_fail(struct conform *conform, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* It can't be seen here. A failure stands. */
void conform_skip(struct conform *conform, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whatever else is worth saying. */
void conform_note(struct conform *conform, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- The device ----------------------------------------------------------------------------------------- */

/* Resets the device and waits. PLEAT_E_TIMEOUT: it didn't in the time that was given. */
int conform_reset(struct conform *conform);
/* Reset, features (INACC only with `inaccessible`, ring features `ring`), queue, DRIVER_OK. An error is that
 * of pleat_virtio_negotiate(), or PLEAT_E_TIMEOUT, or of the queue. */
int conform_bring_up(struct conform *conform, bool inaccessible, uint64_t ring);
/* The same with the run's own features. */
int conform_bring_up_again(struct conform *conform);

/* Reads the config space and holds it against what was before. False: it couldn't be read. */
bool conform_look(struct conform *conform);

/* --- Requests ------------------------------------------------------------------------------------------- */

enum conform_outcome {
    CONFORM_CAME_BACK = 0, /* the device returned the chain */
    CONFORM_SILENT,        /* it didn't, in time */
    CONFORM_WEDGED         /* it said NEEDS_RESET, or broke the ring */
};

/* One chain of any form. */
struct conform_message {
    uint8_t request[CONFORM_MESSAGE_BYTES];
    uint32_t request_bytes; /* 0: nothing for the device to read */
    uint32_t room_bytes;    /* for the answer; 0: nothing to write */
    uint32_t piece_bytes;   /* the size of the chain's buffers; 0: one for each of the two */
    /* Where the two lie, if not in shared memory; 0: there. Both or none. */
    uint64_t request_physical;
    uint64_t response_physical;
    /* Outcome. */
    uint32_t used_bytes;
    uint8_t response[CONFORM_MESSAGE_BYTES];
    uint8_t status; /* of the device, if the chain didn't come back */
};

/* A plain request with room for exactly its answer. */
struct conform_message conform_message(unsigned type, uint64_t address, unsigned blocks);
/* Sends it. If it doesn't come back, the device is reset and brought up again before this returns, because it
 * owns the buffers until then. The books follow an ACK. */
enum conform_outcome conform_exchange(struct conform *conform, struct conform_message *message);
/* What has come back: the type of the response. */
unsigned conform_answer(const struct conform_message *message);

/* Sends a plain request, again while BUSY; the type of the response, or -1 with *why (a short text): no
 * answer. *state: of a STATE; may be NULL. */
int conform_send(struct conform *conform, unsigned type, uint64_t address, unsigned blocks, unsigned *state,
                 const char **why);
/* Sends a plain request and fails the check unless the answer is `wanted`; `what` describes it to people. */
bool conform_expect(struct conform *conform, unsigned type, uint64_t address, unsigned blocks,
                    unsigned wanted, const char *what);
/* The same, with blocks of the window counted from 0. */
bool conform_expect_block(struct conform *conform, unsigned type, unsigned first, unsigned blocks,
                          unsigned wanted, const char *what);
/* Fails the check unless STATE agrees with the books, for each of the first `blocks` blocks, and
 * plugged_size with their sum. */
bool conform_expect_books(struct conform *conform, unsigned blocks, const char *what);

/* How many blocks the books have as plugged. */
unsigned conform_count(uint64_t books);
uint64_t conform_block(const struct conform *conform, unsigned block);
const char *conform_request_name(unsigned type);
const char *conform_response_name(int type);

/* --- Host, time, memory --------------------------------------------------------------------------------- */

uint64_t conform_now_ns(const struct conform *conform);
void conform_pause_ns(struct conform *conform, uint64_t ns);
/* Asks the host for a size and waits for it. False: there is nobody to ask, or he didn't answer. */
bool conform_request_bytes(struct conform *conform, uint64_t bytes);
bool conform_request_blocks(struct conform *conform, unsigned blocks);
/* A session with the run's features, and nothing plugged. False: the check can't run, and has failed. */
bool conform_begin_empty(struct conform *conform);
/* The same with the quota requested. False: the check can't run, and has been skipped or failed. */
bool conform_begin(struct conform *conform);

/* Writes a pattern all over the first, last and some bytes in between of a block; or looks for it. False:
 * an access faulted, was impossible (the check is skipped), or held something else; the check says so. */
bool conform_fill(struct conform *conform, unsigned block, uint8_t salt);
bool conform_still_filled(struct conform *conform, unsigned block, uint8_t salt, const char *when);
/* Can memory be touched here? If not, the check is skipped. */
bool conform_can_touch(struct conform *conform);

/* Finds out, before any check, in what a device may choose. */
void conform_learn(struct conform *conform);

/* --- Checks --------------------------------------------------------------------------------------------- */

struct conform_check {
    const char *ids;
    const char *title;
    const char *section;
    bool should;
    void (*run)(struct conform *conform);
};

/* By subject; each ends with a row of NULLs. */
extern const struct conform_check conform_checks_of_config[];
extern const struct conform_check conform_checks_of_start[];
extern const struct conform_check conform_checks_of_requests[];
extern const struct conform_check conform_checks_of_memory[];
extern const struct conform_check conform_checks_of_bad_input[];
/* What was watched all the time; comes after all others. */
extern const struct conform_check conform_checks_watched[];

#endif
