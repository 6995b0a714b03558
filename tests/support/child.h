/* SPDX-License-Identifier: MIT
 *
 * Trying in a child process what is to end the process.
 */
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

struct child_ending {
    int status;       /**< as waitpid() gives it */
    char heard[8192]; /**< what the child wrote to stderr */
};

/** Forks, runs `run` in the child with the default handlers of faults, and waits for it. A child that
 * returns from `run` exits with 0; one that takes 20 s is ended. */
void child_run(void (*run)(void), struct child_ending *ending);

/** The child is to end by abort(), having said both texts; else the test fails. */
void child_stops(void (*run)(void), const char *text, const char *also);

#endif
