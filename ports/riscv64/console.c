/* SPDX-License-Identifier: MIT
 *
 * The console: an NS16550, polled, and the end of the machine, which a tester sees.
 */
#include "ports/bare/platform.h"

#include "pleat_port.h"
#include "riscv.h"

#define UART_DATA   0u
#define UART_STATUS 5u

#define STATUS_DATA 0x01
#define STATUS_ROOM 0x20

static volatile uint8_t *const uart = (volatile uint8_t *)RISCV_UART;

static void put(char c)
{
    while (!(uart[UART_STATUS] & STATUS_ROOM))
        pleat_port_pause();
    uart[UART_DATA] = (uint8_t)c;
}

void platform_write(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\n')
            put('\r');
        put(text[i]);
    }
}

int platform_read(void)
{
    return uart[UART_STATUS] & STATUS_DATA ? uart[UART_DATA] : -1;
}

void platform_exit(unsigned code)
{
    *(volatile uint32_t *)RISCV_EXIT =
        code ? (uint32_t)(code & 0xff) << 16 | RISCV_EXIT_FAIL : RISCV_EXIT_PASS;
    for (;;)
        __asm__ volatile("wfi");
}
