/* SPDX-License-Identifier: MIT
 *
 * The range tree: who lies where in the guest's physical addresses, with names, printable like /proc/iomem.
 *
 * A node is a range of byte addresses, its last byte included, so that a range may end at the end of all
 * addresses. Children lie inside of their parent, are sorted and don't overlap; a child may have children in
 * turn (a window of a bus, a device in it, a region of the device). What lies between the children of a node
 * is free for more.
 *
 * Nodes are the caller's storage: zero one, describe it, insert it; it must stay where it is until it is
 * removed. Nothing here locks: one caller at a time changes a tree, or many read it.
 */
#ifndef PLEAT_RESOURCE_H
#define PLEAT_RESOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A named range. Zero it first; `flags` are the caller's own, the last three fields are the tree's. */
struct pleat_resource {
    const char *name; /**< shown to people; must outlive the node; NULL is shown as "?" */
    uint64_t start;   /**< address of its first byte */
    uint64_t last;    /**< address of its last byte, not below `start` */
    unsigned flags;
    struct pleat_resource *parent;
    struct pleat_resource *child; /**< its first child */
    struct pleat_resource *next;  /**< the next child of its parent */
};

/**
 * Describes a zeroed node: `bytes` bytes from `start`. Errors: INVALID (no bytes, or they wrap round; nothing
 * is written). The root of a tree is described so too, or has start 0 and last UINT64_MAX.
 */
int pleat_resource_describe(struct pleat_resource *node, const char *name, uint64_t start, uint64_t bytes);

/**
 * Makes `node` a child of `parent`. Errors, with `*conflict` (may be NULL) saying who stands in the way:
 * EXISTS (it overlaps a child of `parent`: that child, the first one), INVALID (it doesn't lie inside of
 * `parent`: `parent`, or start and last are in the wrong order: `node`), STATE (it is in a tree, or is one:
 * `node`). Effort: a walk over the children of `parent`.
 */
int pleat_resource_insert(struct pleat_resource *parent, struct pleat_resource *node,
                          struct pleat_resource **conflict);

/**
 * The same, but the children of `parent` that `node` covers whole become its children: a window that is found
 * after what lies in it. EXISTS then is an overlap in part, or a child that covers more than `node`.
 */
int pleat_resource_insert_over(struct pleat_resource *parent, struct pleat_resource *node,
                               struct pleat_resource **conflict);

/**
 * Gives a node in a tree another place between its neighbours: `bytes` bytes from `start`. Its children must
 * still lie inside. Errors as pleat_resource_insert(); EXISTS also for a child that would be outside.
 */
int pleat_resource_adjust(struct pleat_resource *node, uint64_t start, uint64_t bytes,
                          struct pleat_resource **conflict);

/** Takes a node without children out of its tree. Errors: NOT_FOUND (it is in no tree), STATE (children). */
int pleat_resource_remove(struct pleat_resource *node);

/** Takes a node out of its tree; its children take its place. Errors: NOT_FOUND (it is in no tree). */
int pleat_resource_remove_lift(struct pleat_resource *node);

/** The innermost node of the tree that holds the address; NULL if `root` doesn't. */
struct pleat_resource *pleat_resource_find(struct pleat_resource *root, uint64_t address);

/** The first child of `parent` that has a byte in common with start..last; NULL if there is none. */
struct pleat_resource *pleat_resource_overlap(struct pleat_resource *parent, uint64_t start, uint64_t last);

/**
 * The lowest `bytes` bytes, aligned to `alignment` (a power of two), that lie inside of `parent` and of
 * lowest..highest_last and hold no child of `parent`. Nothing is inserted. Errors: INVALID (no bytes, no such
 * alignment), NO_MEMORY (no such gap). Effort: a walk over the children of `parent`.
 */
int pleat_resource_gap(const struct pleat_resource *parent, uint64_t bytes, uint64_t alignment,
                       uint64_t lowest, uint64_t highest_last, uint64_t *start);

/**
 * The node after `node` in the order of printing, by address and parents before children; NULL after the
 * last one. Start with `root` itself.
 */
struct pleat_resource *pleat_resource_next(const struct pleat_resource *root,
                                           const struct pleat_resource *node);

/**
 * Writes a line without newline as /proc/iomem has it, "140000000-1bfffffff : virtio-mem vm0", moved in by
 * two spaces for each parent between `node` and `root`, which has no line of its own. Returns the length of
 * the whole line, without the NUL; at most bytes - 1 of it are written, and a NUL where bytes isn't 0.
 */
size_t pleat_resource_format(const struct pleat_resource *root, const struct pleat_resource *node, char *line,
                             size_t bytes);

/** Whether all of the tree is as this header says: order, no overlaps, children inside, links. */
bool pleat_resource_is_valid(const struct pleat_resource *root);

#ifdef __cplusplus
}
#endif
#endif
