/* SPDX-License-Identifier: MIT
 *
 * A message: one line of text that says why something was refused, in a buffer of the caller.
 *
 * Functions of the lab that read what people and files say return a negative error of pleat/error.h and
 * put into the caller's message what was wrong and what was expected instead. What is quoted from the
 * input is shown with control characters escaped and shortened, so that a message is always one
 * printable line of limited length.
 */
#ifndef PLEAT_MACHINE_MESSAGE_H
#define PLEAT_MACHINE_MESSAGE_H

#include <stddef.h>

#include <pleat/error.h>

/** Zero-terminated, no newline at its end. A zeroed message is empty. */
struct pleat_message {
    char text[512];
};

/** Room for a quoted piece of input, its quotes and the terminating zero. */
#define PLEAT_QUOTE_BYTES 96

/**
 * Writes the formatted text into MESSAGE (may be NULL: then nobody wants to know) and returns ERROR, so
 * that a refusal is one statement. Text that doesn't fit is cut.
 */
int pleat_message_set(struct pleat_message *message, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__
/* The analyser sees one file at a time; this shows it that what comes back is ERROR. */
#define pleat_message_set(message, error, ...) ((pleat_message_set)(message, error, __VA_ARGS__), (error))
#endif

/** Puts the formatted text in front of what MESSAGE says already. Text that doesn't fit is cut. */
void pleat_message_prefix(struct pleat_message *message, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/**
 * Writes TEXT in single quotes into BUFFER, with bytes that aren't printable ASCII as \xNN and a text
 * that is too long cut with "..." at its end. Looks at no more than LENGTH bytes of TEXT, and stops at
 * a zero. Returns BUFFER.
 */
const char *pleat_quote_bytes(char buffer[PLEAT_QUOTE_BYTES], const char *text, size_t length);

/** The same for a zero-terminated TEXT. */
const char *pleat_quote(char buffer[PLEAT_QUOTE_BYTES], const char *text);

#endif
