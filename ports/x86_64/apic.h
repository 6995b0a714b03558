/* SPDX-License-Identifier: MIT
 *
 * Each CPU's interrupt controller: ends of interrupts, interrupts to other CPUs, the timer.
 */
#ifndef PORTS_X86_64_APIC_H
#define PORTS_X86_64_APIC_H

#include <stdbool.h>
#include <stdint.h>

/* Finds it (paging has to be there), and quiets the controllers of the time before it. On CPU 0. */
void apic_find(void);
/* Switches this CPU's on. */
void apic_start(void);
/* This CPU's own number. */
uint32_t apic_id(void);

/* Whether a CPU of this number can be interrupted. */
bool apic_reaches(uint32_t id);

void apic_end_of_interrupt(void);

void apic_send(uint32_t id, unsigned vector);
/* Resets a CPU, and lets it begin at `page` << 12, in real mode. */
void apic_send_reset(uint32_t id);
void apic_send_start(uint32_t id, unsigned page);

/* Measures the timer; clock.c has to run. On CPU 0. */
void apic_measure_timer(void);
/* An interrupt to this CPU after this time, or earlier if that is too long. 0: none. */
void apic_timer(uint64_t ns);

#endif
