/* SPDX-License-Identifier: MIT
 *
 * The one list of errors of Pleat, shared by core, drivers and devices.
 *
 * Functions return 0 (PLEAT_OK) or a positive result for success, a negative value of this list for an
 * error. Unless a function's comment says otherwise, an error means that nothing has changed.
 */
#ifndef PLEAT_ERROR_H
#define PLEAT_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

enum pleat_error {
    PLEAT_OK = 0,
    /** A _step() function has more to do: call it again. Not an error. */
    PLEAT_MORE = 1,
    /** An argument is outside what the function's comment allows. Cure: correct the caller. */
    PLEAT_E_INVALID = -1,
    /** No frame, no table slot or no storage is left. Cure: free or add some, then try again. */
    PLEAT_E_NO_MEMORY = -2,
    /** Somebody else is at work on the same thing. Cure: try again later. */
    PLEAT_E_BUSY = -3,
    /** The range overlaps one that is there already. */
    PLEAT_E_EXISTS = -4,
    /** There is no such range, block, zone, device or name. */
    PLEAT_E_NOT_FOUND = -5,
    /** The caller isn't the owner that added the range, or asks for a granularity it wasn't added for. */
    PLEAT_E_NOT_OWNER = -6,
    /** The object isn't in a state that allows the operation. */
    PLEAT_E_STATE = -7,
    /** A frame in the way can't be moved. Cure: its owner frees it; the report says who and where. */
    PLEAT_E_UNMOVABLE = -8,
    /** A listener, a policy or a floor refused. */
    PLEAT_E_REFUSED = -9,
    /** The deadline has passed before the work was done. */
    PLEAT_E_TIMEOUT = -10,
    /** The work was cancelled. */
    PLEAT_E_CANCELLED = -11,
    /** The host or the embedder doesn't offer what this needs. */
    PLEAT_E_UNSUPPORTED = -12,
    /** A frame was given back that isn't allocated, or with another order: the caller's bug. */
    PLEAT_E_MISUSE = -13,
    /** A peer (device, driver, file) said something that can't be true. */
    PLEAT_E_PROTOCOL = -14,
    /** The device answered ERROR, or needs a reset. */
    PLEAT_E_DEVICE = -15,
    /** The last one; all values lie between it and 0. */
    PLEAT_E_LAST = -15
};

/** A short English sentence without a full stop for an error; never NULL, also for unknown values. */
const char *pleat_error_text(int error);

#ifdef __cplusplus
}
#endif
#endif
