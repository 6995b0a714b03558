# SPDX-License-Identifier: MIT
# Builds everything into build/. `make help` lists the targets.

CC      ?= cc
BUILD   ?= build
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Werror
BASE    := -std=c17 $(WARN) -Iinclude -MMD -MP
# The guest side may use the compiler's freestanding headers and the port, nothing else.
GUEST   := $(BASE) -ffreestanding -Iports/hosted -fPIC
HOST    := $(BASE) -D_GNU_SOURCE -Iports/hosted -I. -fPIC -pthread

LIBS    := $(shell pkg-config --libs jansson libedit libuv liblzma gsl) -lnuma -lm
LIBCF   := $(shell pkg-config --cflags jansson libedit libuv liblzma gsl)

guest_c   := $(wildcard core/*.c drivers/*.c drivers/*/*.c)
device_c  := $(wildcard devices/*.c)
port_c    := $(wildcard ports/hosted/*.c)
machine_c := $(wildcard machine/*.c)
cli_c     := $(wildcard cli/*.c)
test_c    := $(wildcard tests/*/test_*.c)
example_c := $(wildcard examples/*/*.c)
bench_c   := $(wildcard bench/*.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
lib_o     := $(call obj,$(guest_c) $(device_c) $(port_c))
machine_o := $(call obj,$(machine_c))
tests     := $(patsubst %.c,$(BUILD)/%,$(test_c))
scripts_t := $(wildcard tests/*/*.t)

.PHONY: all test clean
all: $(BUILD)/libpleat.a $(if $(cli_c),$(BUILD)/pleat) $(tests)

$(call obj,$(guest_c)): $(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(GUEST) -c $< -o $@

$(call obj,$(device_c) $(port_c) $(machine_c) $(cli_c) $(test_c) $(example_c) $(bench_c)): $(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(HOST) $(LIBCF) -c $< -o $@

$(BUILD)/libpleat.a: $(lib_o)
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libmachine.a: $(machine_o)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/pleat: $(call obj,$(cli_c)) $(if $(machine_c),$(BUILD)/libmachine.a) $(BUILD)/libpleat.a
	$(CC) $(CFLAGS) -pthread $^ $(LIBS) -o $@

$(tests): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(if $(machine_c),$(BUILD)/libmachine.a) $(BUILD)/libpleat.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -pthread $^ $(LIBS) -lcmocka -o $@

test: all
	CMOCKA_MESSAGE_OUTPUT=TAP prove $(tests) $(scripts_t)

clean:
	rm -rf $(BUILD)

-include $(patsubst %.o,%.d,$(lib_o) $(machine_o) $(call obj,$(cli_c) $(test_c) $(example_c) $(bench_c)))
