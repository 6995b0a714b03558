/* SPDX-License-Identifier: MIT
 *
 * The device's side of a virtqueue, split or packed (VIRTIO 2.7, 2.8), over a guest's memory. A device pops
 * chains, reads requests out of them, writes answers into them, pushes them back and interrupts if the
 * guest wants it.
 *
 * The guest is hostile. Guest memory is reached through one callback that knows which ranges are memory, and
 * it is asked anew at every access: between two calls memory may be unplugged, the ring's own included. So
 * a chain is a list of guest-physical segments, not of pointers. Each descriptor is copied once and only the
 * copy is looked at; what the guest changes afterwards makes no difference.
 *
 * Two kinds of errors are told apart. A bad chain (PLEAT_E_REFUSED) concerns only itself: its place in the
 * ring is known, so that the device completes it with used length 0 and goes on. A broken ring
 * (PLEAT_E_PROTOCOL) has no trustworthy next step: the device sets NEEDS_RESET; the queue answers the same
 * to everything until init. `fault` says which, by name.
 *
 * Concurrency: one thread at a time for each queue; the guest's CPUs run at the same time. Nothing waits and
 * nothing is allocated. Ordering is as on the driver's side: what the guest stored before it published is
 * visible after pop; what was written into a chain is visible before its push; enabling notifications and
 * looking again, as well as push and should_interrupt, are ordered as store before load.
 */
#ifndef PLEAT_VIRTIO_DEVICE_RING_H
#define PLEAT_VIRTIO_DEVICE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/wire/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The guest's memory as a device sees it. */
struct pleat_guest_memory {
    /**
     * The host's pointer to `length` bytes (at least 1) at a guest-physical address, good until the
     * embedder unmaps the range; NULL where any of it isn't memory, isn't plugged, or may not be accessed
     * this way. The range may wrap: the callback checks. Alignment is kept up to 16 bytes.
     */
    void *(*guest_pointer)(void *context, uint64_t guest_physical, uint64_t length, bool write);
    void *context;
};

/** What is wrong with a chain or a ring. */
enum pleat_virtqueue_fault {
    PLEAT_VIRTQUEUE_FAULT_NONE = 0,
    /* Of a chain: complete it with length 0. */
    /** A buffer isn't guest memory, or may not be accessed as the chain says. */
    PLEAT_VIRTQUEUE_FAULT_ADDRESS,
    /** More segments than the caller's array holds, or than an indirect table has. */
    PLEAT_VIRTQUEUE_FAULT_TOO_LONG,
    /** All bytes together don't fit into 32 bits (2.7.5.2). */
    PLEAT_VIRTQUEUE_FAULT_TOO_BIG,
    /** Split: the chain comes back to itself, or is longer than the ring. */
    PLEAT_VIRTQUEUE_FAULT_LOOP,
    /** Split: `next` is outside the table. */
    PLEAT_VIRTQUEUE_FAULT_NEXT,
    /** A buffer for the device to read comes after one to write (2.7.4.2). */
    PLEAT_VIRTQUEUE_FAULT_ORDER,
    /** An indirect table isn't guest memory, is empty, too long, or no multiple of 16 bytes. */
    PLEAT_VIRTQUEUE_FAULT_TABLE,
    /** An indirect descriptor with NEXT (2.7.5.3.1), or not negotiated; split: in an indirect table. */
    PLEAT_VIRTQUEUE_FAULT_INDIRECT,
    /* Of the ring: NEEDS_RESET. */
    /** The ring's own areas aren't (any more) guest memory. */
    PLEAT_VIRTQUEUE_FAULT_RING_MEMORY,
    /** Split: the available index runs further ahead than the ring is long. */
    PLEAT_VIRTQUEUE_FAULT_INDEX,
    /** Split: a chain's head is outside the table. */
    PLEAT_VIRTQUEUE_FAULT_HEAD,
    /** More is out to the device than the ring holds. */
    PLEAT_VIRTQUEUE_FAULT_OVERRUN,
    /** Packed: a chain runs on over more slots than the driver can own, so its end can't be known. */
    PLEAT_VIRTQUEUE_FAULT_ENDLESS
};

/** A few words for a fault; never NULL. */
const char *pleat_virtqueue_fault_text(enum pleat_virtqueue_fault fault);

/** Where and how a queue is; as the driver set it up. */
struct pleat_virtqueue_config {
    /** As negotiated; RING_PACKED, EVENT_IDX and INDIRECT_DESC are looked at. */
    uint64_t features;
    /** 1 to PLEAT_VIRTQ_SIZE_MAX; split: a power of two. */
    uint16_t size;
    uint64_t descriptor_physical;
    uint64_t driver_physical;
    uint64_t device_physical;
};

/** Part of a chain, in guest memory. */
struct pleat_virtqueue_segment {
    uint64_t physical;
    uint32_t length_bytes;
};

/** A popped chain. The caller owns it, sets the first two fields and gives it back to push. */
struct pleat_virtqueue_chain {
    struct pleat_virtqueue_segment *segments;
    uint16_t capacity;
    /** segments[0 .. readable - 1] are for the device to read, the next `writable` ones to write. */
    uint16_t readable;
    uint16_t writable;
    uint32_t readable_bytes;
    uint32_t writable_bytes;
    /** For push: the head (split) or buffer id (packed), and the slots that the chain takes. */
    uint16_t id;
    uint16_t slots;
    enum pleat_virtqueue_fault fault;
};

/** What a queue is besides its config: for migration and for vhost. Versioned by its user. */
struct pleat_virtqueue_state {
    /** Split: free-running index. Packed: slot, and the wrap counter in bit 15, as vhost has it. */
    uint16_t next_available;
    uint16_t next_used;
    /** Slots (packed) or chains (split) popped and not pushed. */
    uint16_t in_flight;
};

/** A queue; fields are for this library only. */
struct pleat_virtqueue {
    struct pleat_guest_memory memory;
    struct pleat_virtqueue_config config;
    bool packed;
    bool event_index;
    bool indirect;
    bool available_wrap;
    bool used_wrap;
    /** Not PLEAT_VIRTQUEUE_FAULT_NONE: broken. */
    enum pleat_virtqueue_fault fault;
    uint16_t next_available;
    uint16_t next_used;
    uint16_t in_flight;
    /** Pushed since should_interrupt was last asked; chains (split) or slots (packed). */
    uint32_t pushed_since_asked;
};

/**
 * Sets a queue up, empty, with notifications enabled. Guest memory isn't touched. PLEAT_E_INVALID: a bad
 * size, misaligned areas, or areas that aren't guest memory now; nothing has changed.
 */
int pleat_virtqueue_init(struct pleat_virtqueue *queue, const struct pleat_virtqueue_config *config,
                         const struct pleat_guest_memory *memory);

/**
 * Takes the next chain that the guest has made available. 1: it is in *chain. 0: there is none.
 * PLEAT_E_REFUSED: a bad chain, chain->fault says why, its segments are none; push it with length 0.
 * PLEAT_E_PROTOCOL: the queue is broken, queue->fault says why; set NEEDS_RESET. Buffers of no bytes are
 * passed over. An indirect chain may be longer than the ring, because Linux makes such. Effort: linear in
 * the chain's descriptors, which the ring's size or the table's length bounds (a table is at most
 * PLEAT_VIRTQ_SIZE_MAX entries).
 */
int pleat_virtqueue_pop(struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain);

/**
 * Gives a popped chain back; `written_bytes` from the front of its writable part were written. Chains may
 * be pushed in any order. PLEAT_E_INVALID: more bytes than the chain's writable part, or nothing is out;
 * nothing has changed. PLEAT_E_PROTOCOL: the queue is, or is now, broken.
 */
int pleat_virtqueue_push(struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                         uint32_t written_bytes);

/** After push: does the guest want an interrupt for what was pushed since this was last asked? */
bool pleat_virtqueue_should_interrupt(struct pleat_virtqueue *queue);

/**
 * Asks the guest to notify of the next chain. True: there is one already (or the queue is broken); pop
 * again, the notification may not come. Under EVENT_IDX it holds for one notification: call it again when
 * pop returned 0.
 */
bool pleat_virtqueue_enable_notifications(struct pleat_virtqueue *queue);

/** Asks the guest not to notify, while the device polls by itself. A hint. */
void pleat_virtqueue_disable_notifications(struct pleat_virtqueue *queue);

/** The indices, for migration or hand-over. Chains that are out are the caller's to save. */
struct pleat_virtqueue_state pleat_virtqueue_save(const struct pleat_virtqueue *queue);

/**
 * Continues a queue at saved indices; right after init. PLEAT_E_INVALID: values that the ring can't have;
 * nothing has changed. The next should_interrupt is true unless the guest forbids interrupts by flag,
 * because an interrupt may have been due when the indices were saved.
 */
int pleat_virtqueue_load(struct pleat_virtqueue *queue, const struct pleat_virtqueue_state *state);

/**
 * Copies up to `length` bytes at `offset` of the chain's readable part to `to`. Returns how many were there
 * (less than length: the part is shorter), or PLEAT_E_PROTOCOL: a segment isn't guest memory any more; to[]
 * is undefined then. Read each byte once, then use the copy.
 */
int64_t pleat_virtqueue_read(const struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                             uint32_t offset, void *to, uint32_t length);

/**
 * Copies up to `length` bytes to `offset` of the chain's writable part. Returns how many had room, or
 * PLEAT_E_PROTOCOL: a segment isn't guest memory any more; what comes before it may have been written.
 */
int64_t pleat_virtqueue_write(const struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                              uint32_t offset, const void *from, uint32_t length);

#ifdef __cplusplus
}
#endif
#endif
