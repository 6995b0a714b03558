/* SPDX-License-Identifier: MIT
 *
 * Text in storage of a fixed size, cut to what there is room for: the lines that drivers say to people, and
 * short strings for a peer.
 */
#ifndef PLEAT_DRIVERS_COMMON_TEXT_H
#define PLEAT_DRIVERS_COMMON_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct pleat_fixed_text {
    char *at;    /**< the NUL */
    size_t left; /**< with the NUL */
};

/** Begins an empty text; `storage` NULL or 0 bytes: everything is cut away. */
struct pleat_fixed_text pleat_fixed_text_begin(char *storage, size_t bytes);
void pleat_put(struct pleat_fixed_text *text, const char *string);
void pleat_put_number(struct pleat_fixed_text *text, uint64_t number);
void pleat_put_hex(struct pleat_fixed_text *text, uint64_t number);
/** In the largest unit that says it exactly. */
void pleat_put_bytes(struct pleat_fixed_text *text, uint64_t bytes);

#endif
