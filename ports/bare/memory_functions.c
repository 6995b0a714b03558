/* SPDX-License-Identifier: MIT
 *
 * The four functions that a compiler may call at any time. -fno-builtin alone doesn't keep it from turning
 * these loops into calls of themselves.
 */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *at, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

#ifdef __clang__
#define AS_WRITTEN
#else
#define AS_WRITTEN __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

/* A word that may alias anything and lie anywhere. */
typedef uint64_t __attribute__((may_alias, aligned(1))) word;

AS_WRITTEN void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
#if defined(__x86_64__)
    /* By words: an emulator does one after the other. */
    void *at = to;
    size_t words = bytes / 8, rest = bytes % 8;
    __asm__ volatile("rep movsq" : "+D"(at), "+S"(from), "+c"(words)::"memory");
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(rest)::"memory");
#else
    unsigned char *at = to;
    const unsigned char *source = from;
    for (; bytes >= 8 && !(((uintptr_t)at | (uintptr_t)source) & 7); bytes -= 8, at += 8, source += 8)
        *(volatile word *)(void *)at = *(const word *)(const void *)source;
    while (bytes--)
        *(volatile unsigned char *)at++ = *source++;
#endif
    return to;
}

AS_WRITTEN void *memmove(void *to, const void *from, size_t bytes)
{
    unsigned char *at = to;
    const unsigned char *source = from;
    if ((uintptr_t)at - (uintptr_t)source >= bytes)
        return memcpy(to, from, bytes);
    while (bytes--)
        *(volatile unsigned char *)(at + bytes) = source[bytes];
    return to;
}

AS_WRITTEN void *memset(void *to, int value, size_t bytes)
{
#if defined(__x86_64__)
    void *at = to;
    size_t words = bytes / 8, rest = bytes % 8;
    const uint64_t pattern = (unsigned char)value * UINT64_C(0x0101010101010101);
    __asm__ volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(pattern) : "memory");
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(rest) : "a"(pattern) : "memory");
#else
    unsigned char *at = to;
    uint64_t pattern = (unsigned char)value * UINT64_C(0x0101010101010101);
    for (; bytes >= 8 && !((uintptr_t)at & 7); bytes -= 8, at += 8)
        *(volatile word *)(void *)at = pattern;
    while (bytes--)
        *(volatile unsigned char *)at++ = (unsigned char)value;
#endif
    return to;
}

AS_WRITTEN int memcmp(const void *a, const void *b, size_t bytes)
{
    const unsigned char *left = a, *right = b;
    for (; bytes; bytes--, left++, right++) {
        if (*left != *right)
            return *left < *right ? -1 : 1;
    }
    return 0;
}
