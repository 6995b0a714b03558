/* SPDX-License-Identifier: MIT
 *
 * gnuplot as a child process that can be missing, fail, or hang.
 */
#ifndef PLEAT_MACHINE_GNUPLOT_H
#define PLEAT_MACHINE_GNUPLOT_H

#include <stdint.h>

#include "machine/message.h"

/**
 * Runs `gnuplot SCRIPT` in FOLDER, which is found in PATH, and waits for it. SCRIPT is a file in FOLDER;
 * what gnuplot says goes into the file "said" there.
 *
 * Errors: PLEAT_E_UNSUPPORTED (there is no gnuplot), PLEAT_E_TIMEOUT (it was killed after TIMEOUT_NS),
 * PLEAT_E_DEVICE (it exited with an error or by a signal; the message has the first line that it said),
 * PLEAT_E_NO_MEMORY (it can't be started). Context: any thread; SIGCHLD must not be ignored.
 */
int pleat_gnuplot_run(const char *folder, const char *script, uint64_t timeout_ns,
                      struct pleat_message *message);

#endif
