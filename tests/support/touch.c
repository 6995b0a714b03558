/* SPDX-License-Identifier: MIT
 *
 * See touch.h.
 */
#include "tests/support/touch.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

#include <pleat/error.h>

static sigjmp_buf faulted;

static void on_fault(int signal)
{
    (void)signal;
    siglongjmp(faulted, 1);
}

int test_touch(volatile uint8_t *at, uint8_t *byte, bool write)
{
    struct sigaction action = {.sa_handler = on_fault};
    struct sigaction old_segv;
    struct sigaction old_bus;
    volatile int result = PLEAT_E_REFUSED;

    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGBUS, &action, &old_bus);
    if (sigsetjmp(faulted, 1) == 0) {
        if (write) {
            *at = *byte;
        } else {
            *byte = *at;
        }
        result = PLEAT_OK;
    }
    sigaction(SIGSEGV, &old_segv, NULL);
    sigaction(SIGBUS, &old_bus, NULL);
    return result;
}
