/* SPDX-License-Identifier: MIT
 *
 * Interrupts of a PCI device, on QEMU's "edu", which raises one when it is told to (docs/specs/edu.txt of
 * QEMU).
 */
#include <stdatomic.h>
#include <stddef.h>

#include "pleat_port.h"
#include "ports/bare/platform.h"

#include "contract_image.h"

#define MS       UINT64_C(1000000)
#define PATIENCE (20000 * MS)
#define TIMES    20u

#define PCI_ID           0x00u
#define PCI_COMMAND      0x04u
#define PCI_BAR          0x10u
#define PCI_CAPABILITIES 0x34u
#define COMMAND_MEMORY   0x002u
#define COMMAND_MASTER   0x004u
#define COMMAND_NO_PINS  0x400u
#define CAPABILITY_MSI   0x05u
#define MSI_ENABLED      0x01u
#define MSI_64_BITS      0x80u

#define EDU_ID          0x11e81234u
#define EDU_INVERT      (0x04u / 4)
#define EDU_STATUS      (0x24u / 4)
#define EDU_RAISE       (0x60u / 4)
#define EDU_ACKNOWLEDGE (0x64u / 4)

struct edu {
    struct platform_pci at;
    volatile uint32_t *registers;
    _Atomic unsigned heard, elsewhere;
};

static struct edu edu;

static unsigned read(unsigned offset, unsigned bytes)
{
    return platform_pci_read(&edu.at, offset, bytes);
}

static const char *find(void)
{
    static struct platform_pci list[64];
    unsigned count = platform_pci_list(list, 64);

    if (edu.registers)
        return NULL;
    for (unsigned i = 0; i < count && i < 64; i++) {
        if (platform_pci_read(&list[i], PCI_ID, 4) != EDU_ID)
            continue;
        edu.at = list[i];
        platform_pci_write(&edu.at, PCI_COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
        edu.registers = platform_map_registers(read(PCI_BAR, 4) & ~0xfu, 4096);
        return edu.registers ? NULL : "its registers can't be mapped";
    }
    return "there is no such device";
}

static void hear(void *context)
{
    struct edu *device = context;
    if (!device->registers[EDU_STATUS])
        return;
    device->registers[EDU_ACKNOWLEDGE] = device->registers[EDU_STATUS];
    if (pleat_port_cpu())
        atomic_fetch_add(&device->elsewhere, 1);
    atomic_fetch_add(&device->heard, 1);
}

/* Has it raise interrupts and waits for each, asleep. */
static const char *raise_them(void)
{
    edu.heard = 0;
    for (unsigned i = 1; i <= TIMES; i++) {
        uint64_t end = platform_clock_ns() + PATIENCE;
        edu.registers[EDU_RAISE] = 1;
        for (;;) {
            platform_wake_begin();
            if (atomic_load(&edu.heard) >= i)
                break;
            if (platform_clock_ns() >= end)
                return "an interrupt doesn't come";
            platform_idle(end);
        }
    }
    if (edu.elsewhere)
        return "an interrupt came to another CPU than 0";
    return atomic_load(&edu.heard) == TIMES ? NULL : "more interrupts came than were raised";
}

static const char *registers_can_be_read_and_written(const struct contract *contract)
{
    (void)contract;
    const char *broken = find();
    if (broken)
        return broken;
    edu.registers[EDU_INVERT] = 0x12345678;
    return edu.registers[EDU_INVERT] == ~0x12345678u ? NULL : "a register doesn't hold what it should";
}

static const char *pin_interrupts_come(const struct contract *contract)
{
    (void)contract;
    const char *broken = find();
    if (!broken && platform_pin_interrupt(hear, &edu))
        broken = "there are none";
    return broken ? broken : raise_them();
}

static const char *message_interrupts_come(const struct contract *contract)
{
    uint64_t address;
    uint32_t data;
    (void)contract;
    const char *broken = find();
    if (broken)
        return broken;
    if (platform_message_interrupt(hear, &edu, &address, &data))
        return "there are none";
    unsigned msi = read(PCI_CAPABILITIES, 1);
    while (msi && read(msi, 1) != CAPABILITY_MSI)
        msi = read(msi + 1, 1);
    if (!msi)
        return "the device has no message interrupt";
    unsigned control = read(msi + 2, 2), wide = control & MSI_64_BITS ? 4 : 0;
    platform_pci_write(&edu.at, PCI_COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_PINS);
    platform_pci_write(&edu.at, msi + 4, 4, (uint32_t)address);
    if (wide)
        platform_pci_write(&edu.at, msi + 8, 4, (uint32_t)(address >> 32));
    platform_pci_write(&edu.at, msi + 8 + wide, 2, data);
    platform_pci_write(&edu.at, msi + 2, 2, control | MSI_ENABLED);
    return raise_them();
}

const struct contract_check interrupt_checks[] = {
    {"registers_can_be_read_and_written", registers_can_be_read_and_written},
    {"pin_interrupts_come", pin_interrupts_come},
    {"message_interrupts_come", message_interrupts_come},
    {NULL, NULL},
};
