/* SPDX-License-Identifier: MIT
 *
 * The automaton that finds the end of a JSON text.
 */
#include "machine/json_splitter.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void start_anew(struct pleat_json_splitter *splitter)
{
    pleat_text_clear(&splitter->text);
    splitter->depth = 0;
    splitter->in_string = false;
    splitter->escaped = false;
}

/* Follows C, which belongs to the message; returns what is wrong with it, or NULL. */
static const char *follow(struct pleat_json_splitter *splitter, char c)
{
    if (splitter->text.length == PLEAT_JSON_MESSAGE_BYTES_MAX)
        return "JSON token size limit exceeded";
    pleat_text_add(&splitter->text, &c, 1);
    if (splitter->text.failed)
        return "out of memory";
    unsigned char byte = (unsigned char)c;
    if ((byte < 0x20 && (splitter->in_string || !is_blank(c))) || byte == 0xff)
        return "JSON parse error, stray control character";
    if (splitter->escaped) {
        splitter->escaped = false;
    } else if (splitter->in_string) {
        splitter->escaped = c == '\\';
        splitter->in_string = c != '"';
    } else if (c == '"') {
        splitter->in_string = true;
    } else if (c == '{' || c == '[') {
        if (splitter->depth == PLEAT_JSON_DEPTH_MAX)
            return "JSON nesting depth limit exceeded";
        splitter->depth++;
    } else if (c == '}' || c == ']') {
        if (splitter->depth == 0)
            return "JSON parse error, expecting value";
        splitter->depth--;
    }
    return NULL;
}

/* Whether the message ends with C: with the brace that closes it, or with the end of a bare string. */
static bool ends_with(const struct pleat_json_splitter *splitter, char c)
{
    return splitter->depth == 0 && !splitter->in_string && (c == '}' || c == ']' || c == '"');
}

static bool hand_out(struct pleat_json_splitter *splitter, pleat_json_message_fn *each, void *context)
{
    bool more = each(context, NULL, splitter->text.bytes, splitter->text.length);
    start_anew(splitter);
    return more;
}

void pleat_json_split(struct pleat_json_splitter *splitter, const char *bytes, size_t length,
                      pleat_json_message_fn *each, void *context)
{
    for (size_t i = 0; i < length; i++) {
        char c = bytes[i];
        if (splitter->skipping) {
            splitter->skipping = c != '\n';
            continue;
        }
        bool outside = splitter->depth == 0 && !splitter->in_string;
        if (outside && splitter->text.length && (is_blank(c) || strchr("{[\"", c))) {
            /* A bare number or word ends where something else starts. */
            if (!hand_out(splitter, each, context))
                return;
        }
        if (outside && is_blank(c))
            continue;
        const char *error = follow(splitter, c);
        if (error) {
            start_anew(splitter);
            splitter->skipping = c != '\n' && (unsigned char)c != 0xff;
            if (!each(context, error, NULL, 0))
                return;
        } else if (ends_with(splitter, c) && !hand_out(splitter, each, context)) {
            return;
        }
    }
}

void pleat_json_splitter_free(struct pleat_json_splitter *splitter)
{
    pleat_text_free(&splitter->text);
    *splitter = (struct pleat_json_splitter){0};
}
