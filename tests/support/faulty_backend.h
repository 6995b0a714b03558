/* SPDX-License-Identifier: MIT
 *
 * A backend in front of another: it passes every call on, but for those that it is told to fail.
 */
#ifndef PLEAT_TESTS_FAULTY_BACKEND_H
#define PLEAT_TESTS_FAULTY_BACKEND_H

#include <pleat/backend.h>

/* Fails the call number `at` (from 1) with `error`, and all after it if `for_good`. at 0: never. */
struct faulty_call {
    uint64_t at;
    bool for_good;
    int error;
    uint64_t calls;
};

struct faulty_backend {
    struct pleat_memory_backend behind;
    struct faulty_call map, unmap, map_zeroes, discard;
};

/* Puts `faulty` between the caller and *backend, which it takes over; closing it closes that one. */
void faulty_backend_wrap(struct faulty_backend *faulty, struct pleat_memory_backend *backend);

#endif
