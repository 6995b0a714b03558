/* SPDX-License-Identifier: MIT
 *
 * Single accesses to ring memory, which two sides use at the same time from different CPUs. A field is
 * loaded or stored once, whole, in little-endian byte order; it must be aligned to its size. Everything
 * that isn't an index, a flag or an event field is ordered by those that are:
 *
 *   _plain      no order of its own: entries and descriptors, which an index or a flag announces
 *   _acquire    a load; what the other side stored before its announcing store is visible after it
 *   _ordered    sequentially consistent: an announcement, or an event field. Each side stores its own
 *               (an index; where it wants to be woken) and then loads the other's. Of two such pairs at
 *               least one sees the other's store, so no wake-up is lost. A store of this kind also releases
 *               what came before it.
 *
 * These are C11's memory orders in the form of the compiler's builtins, because public headers are C99 and
 * C++11, too. No fences are used: ThreadSanitizer doesn't know them.
 */
#ifndef PLEAT_WIRE_RING_MEMORY_H
#define PLEAT_WIRE_RING_MEMORY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Ring memory is somebody's array of bytes, or a mapping without a type. */
typedef uint16_t __attribute__((may_alias)) pleat_ring_u16;
typedef uint32_t __attribute__((may_alias)) pleat_ring_u32;
typedef uint64_t __attribute__((may_alias)) pleat_ring_u64;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define PLEAT_RING_SWAP16(x) ((uint16_t)(x))
#define PLEAT_RING_SWAP32(x) ((uint32_t)(x))
#define PLEAT_RING_SWAP64(x) ((uint64_t)(x))
#else
#define PLEAT_RING_SWAP16(x) __builtin_bswap16(x)
#define PLEAT_RING_SWAP32(x) __builtin_bswap32(x)
#define PLEAT_RING_SWAP64(x) __builtin_bswap64(x)
#endif

static inline uint16_t pleat_ring_load16_plain(const void *at)
{
    return PLEAT_RING_SWAP16(__atomic_load_n((const pleat_ring_u16 *)at, __ATOMIC_RELAXED));
}

static inline uint32_t pleat_ring_load32_plain(const void *at)
{
    return PLEAT_RING_SWAP32(__atomic_load_n((const pleat_ring_u32 *)at, __ATOMIC_RELAXED));
}

static inline uint64_t pleat_ring_load64_plain(const void *at)
{
    return PLEAT_RING_SWAP64(__atomic_load_n((const pleat_ring_u64 *)at, __ATOMIC_RELAXED));
}

static inline uint16_t pleat_ring_load16_acquire(const void *at)
{
    return PLEAT_RING_SWAP16(__atomic_load_n((const pleat_ring_u16 *)at, __ATOMIC_ACQUIRE));
}

static inline uint16_t pleat_ring_load16_ordered(const void *at)
{
    return PLEAT_RING_SWAP16(__atomic_load_n((const pleat_ring_u16 *)at, __ATOMIC_SEQ_CST));
}

static inline uint32_t pleat_ring_load32_ordered(const void *at)
{
    return PLEAT_RING_SWAP32(__atomic_load_n((const pleat_ring_u32 *)at, __ATOMIC_SEQ_CST));
}

static inline void pleat_ring_store16_plain(void *at, uint16_t value)
{
    __atomic_store_n((pleat_ring_u16 *)at, PLEAT_RING_SWAP16(value), __ATOMIC_RELAXED);
}

static inline void pleat_ring_store32_plain(void *at, uint32_t value)
{
    __atomic_store_n((pleat_ring_u32 *)at, PLEAT_RING_SWAP32(value), __ATOMIC_RELAXED);
}

static inline void pleat_ring_store64_plain(void *at, uint64_t value)
{
    __atomic_store_n((pleat_ring_u64 *)at, PLEAT_RING_SWAP64(value), __ATOMIC_RELAXED);
}

static inline void pleat_ring_store16_ordered(void *at, uint16_t value)
{
    __atomic_store_n((pleat_ring_u16 *)at, PLEAT_RING_SWAP16(value), __ATOMIC_SEQ_CST);
}

static inline void pleat_ring_store32_ordered(void *at, uint32_t value)
{
    __atomic_store_n((pleat_ring_u32 *)at, PLEAT_RING_SWAP32(value), __ATOMIC_SEQ_CST);
}

#ifdef __cplusplus
}
#endif
#endif
