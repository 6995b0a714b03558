/* SPDX-License-Identifier: MIT
 *
 * When a Xen driver of the guest wants its step to be called again. Calling it earlier does no harm.
 */
#ifndef PLEAT_XEN_WAKE_H
#define PLEAT_XEN_WAKE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum pleat_xen_wake {
    PLEAT_XEN_WAKE_NOW = 0,  /**< it has more to do */
    PLEAT_XEN_WAKE_ON_EVENT, /**< after config.wake was called */
    PLEAT_XEN_WAKE_AT_TIME   /**< the same, or at the time that its wake_ns function says */
};

/** For times: never. For sizes: none. */
#define PLEAT_XEN_OFF UINT64_MAX

#ifdef __cplusplus
}
#endif
#endif
