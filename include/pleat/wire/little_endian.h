/* SPDX-License-Identifier: MIT
 *
 * Little-endian integers as they lie on a wire: arrays of bytes. VIRTIO 1.x is little-endian on every
 * machine (VIRTIO 1.4, 1.4 "Structure Specifications"), and a buffer of the peer is aligned to nothing. So
 * a field of a wire structure is one of the types below: alignment 1, no padding, the same bytes on a
 * big-endian machine, and no way to read it but by the function that converts it. gcc and clang compile
 * each function to one load or store where the machine is little-endian.
 *
 * These functions read and write bytes, one copy, with no promise of atomicity: what the peer may change
 * at the same time (a ring's index) needs an atomic access of its own before the conversion.
 */
#ifndef PLEAT_WIRE_LITTLE_ENDIAN_H
#define PLEAT_WIRE_LITTLE_ENDIAN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** 16 bits, least significant byte first. */
struct pleat_le16 {
    uint8_t bytes[2];
};

/** 32 bits, least significant byte first. */
struct pleat_le32 {
    uint8_t bytes[4];
};

/** 64 bits, least significant byte first. */
struct pleat_le64 {
    uint8_t bytes[8];
};

/** Reads 2 bytes at any address. */
static inline uint16_t pleat_read_le16(const void *from)
{
    const uint8_t *b = (const uint8_t *)from;
    return (uint16_t)((uint16_t)b[0] | (uint16_t)((uint16_t)b[1] << 8));
}

/** Reads 4 bytes at any address. */
static inline uint32_t pleat_read_le32(const void *from)
{
    const uint8_t *b = (const uint8_t *)from;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/** Reads 8 bytes at any address. */
static inline uint64_t pleat_read_le64(const void *from)
{
    const uint8_t *b = (const uint8_t *)from;
    return (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 |
           (uint64_t)b[4] << 32 | (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48 | (uint64_t)b[7] << 56;
}

/** Writes 2 bytes at any address. */
static inline void pleat_write_le16(void *to, uint16_t value)
{
    uint8_t *b = (uint8_t *)to;
    b[0] = (uint8_t)value;
    b[1] = (uint8_t)(value >> 8);
}

/** Writes 4 bytes at any address. */
static inline void pleat_write_le32(void *to, uint32_t value)
{
    uint8_t *b = (uint8_t *)to;
    b[0] = (uint8_t)value;
    b[1] = (uint8_t)(value >> 8);
    b[2] = (uint8_t)(value >> 16);
    b[3] = (uint8_t)(value >> 24);
}

/** Writes 8 bytes at any address. */
static inline void pleat_write_le64(void *to, uint64_t value)
{
    uint8_t *b = (uint8_t *)to;
    b[0] = (uint8_t)value;
    b[1] = (uint8_t)(value >> 8);
    b[2] = (uint8_t)(value >> 16);
    b[3] = (uint8_t)(value >> 24);
    b[4] = (uint8_t)(value >> 32);
    b[5] = (uint8_t)(value >> 40);
    b[6] = (uint8_t)(value >> 48);
    b[7] = (uint8_t)(value >> 56);
}

/** The value of a field. */
static inline uint16_t pleat_le16_get(struct pleat_le16 field)
{
    return pleat_read_le16(field.bytes);
}

/** The value of a field. */
static inline uint32_t pleat_le32_get(struct pleat_le32 field)
{
    return pleat_read_le32(field.bytes);
}

/** The value of a field. */
static inline uint64_t pleat_le64_get(struct pleat_le64 field)
{
    return pleat_read_le64(field.bytes);
}

/** A field that holds a value. */
static inline struct pleat_le16 pleat_le16(uint16_t value)
{
    struct pleat_le16 field;
    pleat_write_le16(field.bytes, value);
    return field;
}

/** A field that holds a value. */
static inline struct pleat_le32 pleat_le32(uint32_t value)
{
    struct pleat_le32 field;
    pleat_write_le32(field.bytes, value);
    return field;
}

/** A field that holds a value. */
static inline struct pleat_le64 pleat_le64(uint64_t value)
{
    struct pleat_le64 field;
    pleat_write_le64(field.bytes, value);
    return field;
}

#ifdef __cplusplus
}
#endif
#endif
