/* SPDX-License-Identifier: MIT
 *
 * The tree of XenStore: nodes by their paths, with values and permissions (docs/misc/xenstore.txt). It knows
 * nothing of clients but the number of their domain; 0 may do everything.
 */
#ifndef PLEAT_MACHINE_XEN_STORE_TREE_H
#define PLEAT_MACHINE_XEN_STORE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Domains that a node's permissions name. */
#define XEN_STORE_PERMISSIONS_MAX 8

enum { XEN_STORE_MAY_READ = 1, XEN_STORE_MAY_WRITE = 2 };

struct xen_store_permission {
    uint16_t domain;
    uint8_t may; /* XEN_STORE_MAY_... */
};

/* The first permission names the owner, who may do all; its `may` is everybody else's. */
struct xen_store_node {
    struct xen_store_node *next;
    char *path;
    char *value;
    size_t bytes;
    unsigned permission_count;
    struct xen_store_permission permissions[XEN_STORE_PERMISSIONS_MAX];
};

/* Zeroed: no node, not even the root. In order of strcmp(), so that a directory is listed in order of names.
 */
struct xen_store_tree {
    struct xen_store_node *first;
};

/** Absolute, of the characters that paths have, without an empty part. */
bool xen_store_path_is_valid(const char *path);
/** Is `path` below `above`, or the same? */
bool xen_store_is_below(const char *path, const char *above);

struct xen_store_node *xen_store_find(const struct xen_store_tree *tree, const char *path);
/** May this domain do all of `may` with the node? */
bool xen_store_may(const struct xen_store_node *node, uint16_t domain, uint8_t may);
/** The nearest node at or above a path; NULL only while there is none at all. */
struct xen_store_node *xen_store_nearest(const struct xen_store_tree *tree, const char *path);
/** The node of that path, made with all that is missing above: each with its parent's permissions, and its
 * maker as its owner. NULL: no memory. */
struct xen_store_node *xen_store_make(struct xen_store_tree *tree, const char *path, uint16_t maker);
bool xen_store_set_value(struct xen_store_node *node, const char *value, size_t bytes);
/** Removes the node and all below. */
void xen_store_remove(struct xen_store_tree *tree, const char *path);

#endif
