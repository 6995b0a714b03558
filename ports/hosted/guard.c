/* SPDX-License-Identifier: MIT
 *
 * The guard: a touch of guest memory that isn't accessible is caught and named.
 *
 * One handler of SIGSEGV and SIGBUS serves all guests of the process. It runs where the touch was, with any
 * lock held, so it calls nothing that isn't async-signal-safe: numbers are written digit by digit, guests
 * stand in a fixed table of atomic pointers, what is known of a frame comes from the embedder's callback.
 */
#include "hosted.h"

#include <signal.h>
#include <string.h>
#include <ucontext.h>

#define GUESTS 64

static _Atomic(struct pleat_hosted *) guests[GUESTS];
static pthread_mutex_t installing = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before_segv, before_bus;
/** This thread's fault has gone on to whoever was there before us. */
static __thread bool passing;

/* --- Text without stdio --------------------------------------------------------------------------------- */

struct text {
    char *at;
    size_t left; /**< without the NUL */
};

static void add(struct text *text, const char *more)
{
    while (*more && text->left) {
        *text->at++ = *more++;
        text->left--;
    }
    *text->at = 0;
}

static void add_hex(struct text *text, uint64_t number)
{
    char digits[19] = "0x";
    unsigned length = 2;
    int shift = 60;
    while (shift && !(number >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        digits[length++] = "0123456789abcdef"[number >> shift & 15];
    digits[length] = 0;
    add(text, digits);
}

/* --- The handler ---------------------------------------------------------------------------------------- */

/** Whether the touch was a write; false where this kind of CPU doesn't say. */
static bool was_write(const void *ucontext)
{
#if defined(__x86_64__)
    const ucontext_t *context = ucontext;
    return context->uc_mcontext.gregs[REG_ERR] & 2;
#else
    (void)ucontext;
    return false;
#endif
}

static void name_touch(struct pleat_hosted *hosted, uint64_t offset, int signal_number, const void *ucontext)
{
    unsigned shift = hosted->config.frame_shift;
    char line[256], known[96] = "";
    struct text text = {.at = line, .left = sizeof(line) - 1};
    struct pleat_hosted_touch touch = {
        .pfn = hosted->config.first_pfn + (offset >> shift),
        .offset_bytes = offset & ((UINT64_C(1) << shift) - 1),
        .write = was_write(ucontext),
        .mapped = hosted->config.accessible || hosted_bit(hosted, offset >> shift),
        .line = line,
    };

    add(&text, touch.write ? "write to PFN " : "read of PFN ");
    add_hex(&text, touch.pfn);
    add(&text, " (guest address ");
    add_hex(&text, (touch.pfn << shift) + touch.offset_bytes);
    if (!touch.mapped)
        add(&text, "), which isn't mapped");
    else if (signal_number == SIGBUS)
        add(&text, "), which is mapped, but the host has no memory for it");
    else
        add(&text, "), which is mapped, but the host made it inaccessible");
    if (hosted->config.describe) {
        hosted->config.describe(hosted->config.context, touch.pfn, known, sizeof(known));
        known[sizeof(known) - 1] = 0;
        if (known[0]) {
            add(&text, ": ");
            add(&text, known);
        }
    }
    if (hosted->config.touched)
        hosted->config.touched(hosted->config.context, &touch);
    hosted_stop("touch of guest memory", line);
}

/** Not our memory: whoever was here before us gets it, by default the process ends as it would have. */
static void pass_on(int signal_number, siginfo_t *info, void *ucontext)
{
    const struct sigaction *before = signal_number == SIGSEGV ? &before_segv : &before_bus;

    /* Who was put there both before us and after us hands back what we hand on. */
    if (passing || (!(before->sa_flags & SA_SIGINFO) &&
                    (before->sa_handler == SIG_DFL || before->sa_handler == SIG_IGN))) {
        /* The touch is repeated when we return, and then ends the process. */
        signal(signal_number, SIG_DFL);
        return;
    }
    passing = true;
    if (before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(signal_number, info, ucontext);
    else
        before->sa_handler(signal_number);
    passing = false;
}

static void handle(int signal_number, siginfo_t *info, void *ucontext)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    /* A signal that somebody sent has no address. */
    for (unsigned i = 0; i < GUESTS && info->si_code > 0; i++) {
        struct pleat_hosted *hosted = atomic_load_explicit(&guests[i], memory_order_acquire);
        if (!hosted || address - (uintptr_t)hosted->memory >= hosted->bytes)
            continue;
        const uint64_t offset = address - (uintptr_t)hosted->memory;
        if (hosted->config.bring &&
            hosted->config.bring(hosted->config.context,
                                 hosted->config.first_pfn + (offset >> hosted->config.frame_shift),
                                 was_write(ucontext)))
            return;
        name_touch(hosted, offset, signal_number, ucontext);
    }
    pass_on(signal_number, info, ucontext);
}

/** Puts our handler on top; `before` becomes who was there. */
static void install(int signal_number, struct sigaction *before)
{
    struct sigaction action, now;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    if (sigaction(signal_number, NULL, &now) || (now.sa_flags & SA_SIGINFO && now.sa_sigaction == handle))
        return;
    *before = now;
    sigaction(signal_number, &action, NULL);
}

void pleat_hosted_guard(void)
{
    passing = false;
    pthread_mutex_lock(&installing);
    install(SIGSEGV, &before_segv);
    install(SIGBUS, &before_bus);
    pthread_mutex_unlock(&installing);
}

int hosted_guard_add(struct pleat_hosted *hosted)
{
    pleat_hosted_guard();
    for (unsigned i = 0; i < GUESTS; i++) {
        struct pleat_hosted *none = NULL;
        if (atomic_compare_exchange_strong(&guests[i], &none, hosted))
            return PLEAT_OK;
    }
    return PLEAT_E_BUSY;
}

void hosted_guard_remove(struct pleat_hosted *hosted)
{
    for (unsigned i = 0; i < GUESTS; i++) {
        struct pleat_hosted *found = hosted;
        atomic_compare_exchange_strong(&guests[i], &found, NULL);
    }
}
