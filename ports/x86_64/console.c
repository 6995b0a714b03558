/* SPDX-License-Identifier: MIT
 *
 * The console: Xen's, or else the first serial port, polled; and the end of the machine, which a tester sees.
 */
#include "ports/bare/platform.h"

#include "console.h"
#include "pleat_port.h"
#include "registers.h"
#include "xen.h"

#define COM1           0x3f8
#define COM_DATA       (COM1 + 0)
#define COM_INTERRUPTS (COM1 + 1)
#define COM_FIFO       (COM1 + 2)
#define COM_LINE       (COM1 + 3)
#define COM_MODEM      (COM1 + 4)
#define COM_STATUS     (COM1 + 5)
#define COM_SCRATCH    (COM1 + 7)

#define STATUS_DATA 0x01
#define STATUS_ROOM 0x20

/* QEMU's isa-debug-exit. */
#define DEBUG_EXIT 0xf4

static bool present;
static bool locked;

void console_init(void)
{
    xen_console_find();
    if (xen_is_there())
        return;
    out8(COM_SCRATCH, 0x5a);
    present = in8(COM_SCRATCH) == 0x5a;
    if (!present)
        return;
    out8(COM_INTERRUPTS, 0);
    out8(COM_LINE, 0x80);
    out8(COM_DATA, 1); /* 115200 baud */
    out8(COM_INTERRUPTS, 0);
    out8(COM_LINE, 0x03); /* 8 bits, no parity, 1 stop bit */
    out8(COM_FIFO, 0x07);
    out8(COM_MODEM, 0x03);
}

static void put(char c)
{
    while (!(in8(COM_STATUS) & STATUS_ROOM))
        __builtin_ia32_pause();
    out8(COM_DATA, (uint8_t)c);
}

void platform_write(const char *text, size_t bytes)
{
    if (!present && !xen_is_there())
        return;
    /* A CPU that stops in the middle of a text must not silence the one that says so: after a while, text is
     * written without the lock. */
    uint64_t flags = interrupts_save();
    bool mine = false;
    for (unsigned tries = 0; tries < 10000000 && !mine; tries++) {
        mine = !__atomic_exchange_n(&locked, true, __ATOMIC_ACQUIRE);
        if (!mine)
            pleat_port_pause();
    }
    if (!xen_console_write(text, bytes)) {
        for (size_t i = 0; i < bytes && present; i++) {
            if (text[i] == '\n')
                put('\r');
            put(text[i]);
        }
    }
    if (mine)
        __atomic_store_n(&locked, false, __ATOMIC_RELEASE);
    interrupts_restore(flags);
}

int platform_read(void)
{
    if (xen_is_there())
        return xen_console_read();
    if (!present || !(in8(COM_STATUS) & STATUS_DATA))
        return -1;
    return in8(COM_DATA);
}

void platform_exit(unsigned code)
{
    xen_shutdown(code);
    out32(DEBUG_EXIT, code);
    /* Not under QEMU, or not with that device: a reset by the keyboard controller ends a -no-reboot machine.
     */
    out8(0x64, 0xfe);
    for (;;)
        __asm__ volatile("cli; hlt");
}
