/* SPDX-License-Identifier: MIT
 *
 * What XenStore and its clients say to each other: Xen 4.17, xen/include/public/io/xs_wire.h, with
 * docs/misc/xenstore.txt and docs/misc/xenstore-ring.txt. One page that both sides write holds two rings of
 * bytes, requests and responses. A message is a header of four numbers and a payload, mostly of strings that
 * end with NUL; it may lie over the end of a ring, and longer ones than the ring come in parts. All numbers
 * are those of the machine, little-endian on every machine that Pleat runs on.
 */
#ifndef PLEAT_WIRE_XEN_STORE_H
#define PLEAT_WIRE_XEN_STORE_H

#include <stdint.h>

#include <pleat/wire/layout.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    PLEAT_XEN_STORE_RING_BYTES = 1024,
    PLEAT_XEN_STORE_PAYLOAD_MAX = 4096, /**< more than that ends the connection */
    PLEAT_XEN_STORE_ABSOLUTE_PATH_MAX = 3072,
    PLEAT_XEN_STORE_RELATIVE_PATH_MAX = 2048
};

/** Types of messages. An answer has the type of its request, or PLEAT_XEN_STORE_ERROR. */
enum {
    PLEAT_XEN_STORE_DIRECTORY = 1,
    PLEAT_XEN_STORE_READ = 2,
    PLEAT_XEN_STORE_GET_PERMISSIONS = 3,
    PLEAT_XEN_STORE_WATCH = 4,
    PLEAT_XEN_STORE_UNWATCH = 5,
    PLEAT_XEN_STORE_WRITE = 11,
    PLEAT_XEN_STORE_MKDIR = 12,
    PLEAT_XEN_STORE_RM = 13,
    PLEAT_XEN_STORE_SET_PERMISSIONS = 14,
    PLEAT_XEN_STORE_WATCH_EVENT = 15, /**< nobody's answer; its req_id is 0 */
    PLEAT_XEN_STORE_ERROR = 16        /**< the payload is a name such as "ENOENT" */
};

/** The header of a message. */
struct pleat_xen_store_header {
    uint32_t type;
    uint32_t req_id; /**< the client's choice; the answer has the same */
    uint32_t tx_id;  /**< 0: outside of a transaction */
    uint32_t len;    /**< bytes of payload that follow */
};

/** Bits of server_features. */
enum {
    PLEAT_XEN_STORE_FEATURE_RECONNECTION = 1, /**< the client may ask for the rings to be reset */
    PLEAT_XEN_STORE_FEATURE_ERROR = 2         /**< `error` says why the server has stopped to listen */
};

/** Values of connection. */
enum { PLEAT_XEN_STORE_CONNECTED = 0, PLEAT_XEN_STORE_RECONNECT = 1 };

/** Values of error. */
enum {
    PLEAT_XEN_STORE_ERROR_NONE = 0,
    PLEAT_XEN_STORE_ERROR_COMMUNICATION = 1,
    PLEAT_XEN_STORE_ERROR_INDEX = 2,
    PLEAT_XEN_STORE_ERROR_PROTOCOL = 3
};

/**
 * The shared page. An index counts all bytes that were ever put in (produced) or taken out (consumed), modulo
 * 2^32; its place in the ring is what remains modulo PLEAT_XEN_STORE_RING_BYTES.
 */
struct pleat_xen_store_page {
    uint8_t requests[PLEAT_XEN_STORE_RING_BYTES];  /**< the client writes, the server reads */
    uint8_t responses[PLEAT_XEN_STORE_RING_BYTES]; /**< the other way: answers and watch events */
    uint32_t request_consumed;                     /**< the server's */
    uint32_t request_produced;                     /**< the client's */
    uint32_t response_consumed;                    /**< the client's */
    uint32_t response_produced;                    /**< the server's */
    uint32_t server_features;
    uint32_t connection; /**< the client sets RECONNECT, the server CONNECTED when the rings are new */
    uint32_t error;
};

PLEAT_WIRE_SIZE(pleat_xen_store_header, 16);
PLEAT_WIRE_OFFSET(pleat_xen_store_page, request_consumed, 2048);
PLEAT_WIRE_OFFSET(pleat_xen_store_page, response_produced, 2060);
PLEAT_WIRE_OFFSET(pleat_xen_store_page, error, 2072);

#ifdef __cplusplus
}
#endif
#endif
