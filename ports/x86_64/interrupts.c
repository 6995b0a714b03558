/* SPDX-License-Identifier: MIT
 *
 * Interrupts and exceptions.
 *
 * An exception that nobody expects is a bug, of the image or of this port: it is printed with all that says
 * where, and the machine ends. Interrupts come from devices, from other CPUs and from the timer.
 */
#include "interrupts.h"

#include "ports/bare/print.h"

#include "apic.h"
#include "ioapic.h"
#include "paging.h"
#include "pleat_port.h"
#include "registers.h"
#include "xen.h"

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Called by vectors.S. */
void interrupt(struct frame *frame);

extern const char interrupt_stubs[], touch_begin[], touch_end[], touch_failed[], halt_at[], halted[];
bool touch_byte(volatile unsigned char *byte, bool write);

#define STUB_BYTES 16u

/* --- Tables of the CPU ---------------------------------------------------------------------------------- */

struct gate {
    uint16_t offset_low, selector;
    uint8_t stack, type;
    uint16_t offset_middle;
    uint32_t offset_high, zero;
};
_Static_assert(sizeof(struct gate) == 16, "as the CPU reads it");

struct __attribute__((packed)) task_state {
    uint32_t zero;
    uint64_t stacks[3];
    uint64_t zero2;
    uint64_t fault_stacks[7];
    uint64_t zero3;
    uint16_t zero4, io_map;
};
_Static_assert(sizeof(struct task_state) == 104, "as the CPU reads it");

struct __attribute__((packed)) table_pointer {
    uint16_t limit;
    uint64_t base;
};

#define GATE_INTERRUPT 0x8e
#define EXCEPTION_NMI  2u
#define EXCEPTION_DF   8u
#define EXCEPTION_GP   13u
#define EXCEPTION_PF   14u
#define EXCEPTION_MC   18u

static struct gate idt[256];
/* Null, code, data, then two words for the task state of each CPU. */
static uint64_t gdt[3 + 2 * PLATFORM_CPUS] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
static struct task_state tasks[PLATFORM_CPUS];

static void fill_idt(void)
{
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t offset = (uintptr_t)interrupt_stubs + (uint64_t)vector * STUB_BYTES;
        idt[vector] = (struct gate){
            .offset_low = (uint16_t)offset,
            .selector = SELECTOR_CODE,
            /* These may come while the stack is unusable. */
            .stack = vector == EXCEPTION_DF                              ? 1
                     : vector == EXCEPTION_NMI || vector == EXCEPTION_MC ? 2
                                                                         : 0,
            .type = GATE_INTERRUPT,
            .offset_middle = (uint16_t)(offset >> 16),
            .offset_high = (uint32_t)(offset >> 32),
        };
    }
}

void interrupts_start(struct cpu *cpu)
{
    struct task_state *task = &tasks[cpu->number];
    uint64_t at = (uintptr_t)task;
    unsigned slot = 3 + 2 * cpu->number;

    if (!cpu->number)
        fill_idt();
    task->fault_stacks[0] = cpu->fault_stack;
    task->fault_stacks[1] = cpu->fault_stack - CPU_FAULT_STACK_BYTES;
    task->io_map = sizeof(*task);
    gdt[slot] = (sizeof(*task) - 1) | (at & 0xffffff) << 16 | UINT64_C(0x89) << 40 | (at >> 24 & 0xff) << 56;
    gdt[slot + 1] = at >> 32;

    struct table_pointer gdt_pointer = {sizeof(gdt) - 1, (uintptr_t)gdt};
    struct table_pointer idt_pointer = {sizeof(idt) - 1, (uintptr_t)idt};
    __asm__ volatile("lgdt %0" ::"m"(gdt_pointer));
    __asm__ volatile("pushq %0; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:" ::"i"(SELECTOR_CODE)
                     : "rax", "memory");
    __asm__ volatile("movl %0, %%ds; movl %0, %%es; movl %0, %%ss" ::"r"(SELECTOR_DATA));
    __asm__ volatile("lidt %0" ::"m"(idt_pointer));
    __asm__ volatile("ltr %w0" ::"r"(slot * 8));
}

/* --- Exceptions ----------------------------------------------------------------------------------------- */

static const char *name_of(uint64_t vector)
{
    static const char *const names[] = {"divide error",
                                        "debug",
                                        "NMI",
                                        "breakpoint",
                                        "overflow",
                                        "bound range",
                                        "invalid opcode",
                                        "no coprocessor",
                                        "double fault",
                                        "segment overrun",
                                        "invalid TSS",
                                        "segment not present",
                                        "stack fault",
                                        "protection",
                                        "page fault",
                                        "reserved",
                                        "x87",
                                        "alignment",
                                        "machine check",
                                        "SIMD",
                                        "virtualization",
                                        "control protection"};
    return vector < sizeof(names) / sizeof(names[0]) ? names[vector] : "reserved";
}

static void print_page_fault(const struct frame *frame)
{
    uint64_t at = cr2_read();
    const char *what = frame->error & 16 ? "executes" : frame->error & 2 ? "writes to" : "reads";
    uint64_t pfn;

    print("  it %s 0x%lx", what, at);
    if (paging_frame_of(at, &pfn))
        print(": frame 0x%lx, which is %s\n", pfn, frame->error & 1 ? "protected" : "not mapped");
    else if (paging_is_stack_guard(at))
        print(": the end of a stack\n");
    else
        print("%s\n", at < 4096 ? ": a null pointer" : "");
}

static _Noreturn void die(const struct frame *frame)
{
    static unsigned dying;
    unsigned me = pleat_port_cpu() + 1, nobody = 0;

    /* One CPU tells its story; a fault in the middle of it ends it. */
    if (!__atomic_compare_exchange_n(&dying, &nobody, me, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        if (nobody == me)
            platform_exit(PLATFORM_EXIT_EXCEPTION);
        for (;;)
            __asm__ volatile("cli; hlt");
    }
    print("exception %lu (%s), error code 0x%lx, on CPU %u at RIP 0x%lx\n", frame->vector,
          name_of(frame->vector), frame->error, me - 1, frame->rip);
    if (frame->vector == EXCEPTION_PF || frame->vector == EXCEPTION_DF)
        print_page_fault(frame);
    print("  CR2 %016lx CR3 %016lx RFLAGS %lx\n", cr2_read(), cr3_read(), frame->rflags);
    print("  RAX %016lx RBX %016lx RCX %016lx RDX %016lx\n", frame->rax, frame->rbx, frame->rcx, frame->rdx);
    print("  RSI %016lx RDI %016lx RBP %016lx RSP %016lx\n", frame->rsi, frame->rdi, frame->rbp, frame->rsp);
    print("  R8  %016lx R9  %016lx R10 %016lx R11 %016lx\n", frame->r8, frame->r9, frame->r10, frame->r11);
    print("  R12 %016lx R13 %016lx R14 %016lx R15 %016lx\n", frame->r12, frame->r13, frame->r14, frame->r15);
    platform_exit(PLATFORM_EXIT_EXCEPTION);
}

bool platform_touch(volatile unsigned char *byte, bool write)
{
    return touch_byte(byte, write);
}

static void exception(struct frame *frame)
{
    bool touches = frame->rip >= (uintptr_t)touch_begin && frame->rip < (uintptr_t)touch_end;
    if (touches && (frame->vector == EXCEPTION_PF || frame->vector == EXCEPTION_GP))
        frame->rip = (uintptr_t)touch_failed;
    else
        die(frame);
}

/* --- Interrupts ----------------------------------------------------------------------------------------- */

static struct {
    void (*handler)(void *context);
    void *context;
} messages[VECTOR_MESSAGES_END - VECTOR_MESSAGES];
static unsigned message_count;

int platform_message_interrupt(void (*handler)(void *context), void *context, uint64_t *address,
                               uint32_t *data)
{
    unsigned slot = __atomic_fetch_add(&message_count, 1, __ATOMIC_RELAXED);
    if (slot >= VECTOR_MESSAGES_END - VECTOR_MESSAGES) {
        __atomic_fetch_sub(&message_count, 1, __ATOMIC_RELAXED);
        return PLEAT_E_NO_MEMORY;
    }
    messages[slot].context = context;
    __atomic_store_n(&messages[slot].handler, handler, __ATOMIC_RELEASE);
    *address = UINT64_C(0xfee00000) | (uint64_t)cpus[0].apic_id << 12;
    *data = VECTOR_MESSAGES + slot;
    return 0;
}

/* A guest of Xen under QEMU's emulation isn't always given the instruction that STI promises. */
static void leave_halt(struct frame *frame)
{
    if (frame->rip == (uintptr_t)halt_at)
        frame->rip = (uintptr_t)halted;
}

void interrupt(struct frame *frame)
{
    uint64_t vector = frame->vector;
    struct cpu *me = &cpus[pleat_port_cpu()];

    if (vector < 32) {
        exception(frame);
        return;
    }
    leave_halt(frame);
    cpus_awake(me);
    if (vector == VECTOR_SPURIOUS)
        return;
    if (vector == VECTOR_EVENTS) {
        me->woken = true;
        xen_events_interrupt();
        return;
    }
    if (vector == VECTOR_ASK) {
        x86_answer();
    } else {
        me->woken = true;
        if (vector >= VECTOR_MESSAGES && vector < VECTOR_MESSAGES_END) {
            void (*handler)(void *) =
                __atomic_load_n(&messages[vector - VECTOR_MESSAGES].handler, __ATOMIC_ACQUIRE);
            if (handler)
                handler(messages[vector - VECTOR_MESSAGES].context);
        } else if (vector == VECTOR_PINS) {
            ioapic_interrupt();
        }
    }
    apic_end_of_interrupt();
}
