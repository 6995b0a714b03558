/* SPDX-License-Identifier: MIT
 *
 * The words of the command line.
 */
#ifndef IMAGES_CONTRACT_ARGUMENTS_H
#define IMAGES_CONTRACT_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

/* Whether NAME=word is on the command line. */
bool argument_is(const char *name, const char *word);
/* The number after NAME=, or 0. */
unsigned argument_number(const char *name);

/* Copies the word after NAME= to `to`, at most `bytes` - 1 characters and a NUL. False: there is none. */
bool argument_text(const char *name, char *to, size_t bytes);

#endif
