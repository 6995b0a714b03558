/* SPDX-License-Identifier: MIT
 *
 * What the parts of pleat-contract.elf know of each other.
 */
#ifndef IMAGES_CONTRACT_CONTRACT_IMAGE_H
#define IMAGES_CONTRACT_CONTRACT_IMAGE_H

#include "tests/ports/contract.h"

/* What "ports/bare/platform.h" promises; the last one has a NULL name. */
extern const struct contract_check platform_checks[];
/* Those of interrupts; they need QEMU's device "edu". */
extern const struct contract_check interrupt_checks[];
/* Those of MSI-X; they need QEMU's virtio-rng-pci, and its virtio-net-pci. */
extern const struct contract_check entropy_checks[];
extern const struct contract_check net_checks[];

/* Does what fault=NAME asks for, which ends the machine; returns when it is none of them. */
void fault_as_asked(uint64_t unmapped_pfn);

#endif
