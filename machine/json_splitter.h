/* SPDX-License-Identifier: MIT
 *
 * Cuts a stream of bytes into JSON texts.
 *
 * QMP has no frame round its messages: a message ends where its braces close. It may come in pieces, and
 * several may come in one piece, so that what was read is fed byte by byte through a small automaton
 * that knows strings, escapes and how deep it is inside of braces. Whether the text is JSON is for the
 * parser to say. What can't become a message (too long, too deep, a brace that closes nothing, a
 * control character) is reported once and then thrown away to the end of its line, where reading starts
 * anew; a peer that lost its place can send the byte 0xFF, as QEMU's documents advise.
 */
#ifndef PLEAT_MACHINE_JSON_SPLITTER_H
#define PLEAT_MACHINE_JSON_SPLITTER_H

#include "machine/text.h"

/** A longer message is refused; the longest sensible one has a few hundred bytes. */
#define PLEAT_JSON_MESSAGE_BYTES_MAX (256 * 1024)
/** Braces and brackets that may be open at once. */
#define PLEAT_JSON_DEPTH_MAX 64

/** Zero it before its first use; pleat_json_splitter_free() afterwards. */
struct pleat_json_splitter {
    /** The message so far. */
    struct pleat_text text;
    unsigned depth;
    bool in_string;
    bool escaped;
    /** Throwing away the rest of a line. */
    bool skipping;
};

/**
 * Hears of a whole message (ERROR is NULL; TEXT of LENGTH bytes, valid during the call), or of rubbish
 * (ERROR says what was wrong with it). Returns whether to go on with what is left of the input.
 */
typedef bool pleat_json_message_fn(void *context, const char *error, const char *text, size_t length);

/** Takes what was read, in pieces of any length, and calls EACH for each message that it completes. */
void pleat_json_split(struct pleat_json_splitter *splitter, const char *bytes, size_t length,
                      pleat_json_message_fn *each, void *context);

/** Gives its room back; it is as zeroed then. */
void pleat_json_splitter_free(struct pleat_json_splitter *splitter);

#endif
