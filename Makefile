# SPDX-License-Identifier: MIT
#
# Builds Pleat into build/. `make help` lists targets and variables. Sources are found by wildcard, so
# a new file needs no line here: see "Sources" for which folder becomes what.

# ---- Settings: all can be given on the command line -------------------------------------------------

PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
MANDIR  ?= $(PREFIX)/share/man
# The port whose pleat_port.h the guest side is compiled against, a folder of ports/.
PORT    ?= hosted
# These count on the command line only, because they are common names in environments.
DEBUG   :=
T       :=
V       :=
# A debug build checks the invariants round every mutation; it has a folder of its own.
ifneq ($(DEBUG),)
BUILD   ?= build/debug
CFLAGS  ?= -O1 -g
DEFINES += -DPLEAT_DEBUG
else
BUILD   ?= build
CFLAGS  ?= -O2 -g
endif
# Seconds after which a test is ended and counts as failed.
TEST_SECONDS ?= 240

VERSION   := $(shell sed -n 's/^\#define PLEAT_VERSION *"\(.*\)"/\1/p' include/pleat/version.h)
# Changes when programs that were linked against an older shared library would break.
SOVERSION := 0

# As many jobs as there are CPUs, unless the command line says otherwise.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
MAKEFLAGS += --no-print-directory --no-builtin-rules

# One line a file; V=1 shows the commands.
ifneq ($(V),)
say := @:
else
Q   := @
say  = @printf '  %-7s %s\n'
endif

# ---- Flags --------------------------------------------------------------------------------------------

# The static library is linked into shared ones too.
PIC     ?= -fPIC -fno-semantic-interposition
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Werror
BASE    := -std=c17 $(WARN) $(DEFINES) -Iinclude -Iports/$(PORT) $(PIC)
# The guest side may use the compiler's freestanding headers and the port, nothing else.
GUEST   := $(BASE) -ffreestanding
HOST    := $(BASE) -D_GNU_SOURCE -I. -pthread

# What the library needs; what the machine, the program and the tests need besides, and the benchmarks
# on top. Asked for when first used, because pkg-config may only just have been installed by then.
LIBRARY_LIBS := -pthread -lnuma
PACKAGED     := jansson libedit libuv liblzma
MACHINE_CF    = $(eval MACHINE_CF := $$(shell pkg-config --cflags $(PACKAGED)))$(MACHINE_CF)
MACHINE_LIBS  = $(eval MACHINE_LIBS := $$(shell pkg-config --libs $(PACKAGED)) -lm)$(MACHINE_LIBS)
BENCH_CF      = $(eval BENCH_CF := $$(shell pkg-config --cflags gsl))$(BENCH_CF)
BENCH_LIBS    = $(eval BENCH_LIBS := $$(shell pkg-config --libs gsl))$(BENCH_LIBS)
LINK          = $(CC) $(CFLAGS) -Wl,--as-needed $(LDFLAGS)

# ---- Sources ------------------------------------------------------------------------------------------

port_c    := $(wildcard ports/$(PORT)/*.c)
# Freestanding: the guest side, and every port but the hosted one.
guest_c   := $(wildcard core/*.c drivers/*.c drivers/*/*.c) $(if $(filter-out hosted,$(PORT)),$(port_c))
# What bare-metal ports share; freestanding too. Hosted tests use what readers of firmware there are, but not what
# would take the place of the C library's own.
bare_c    := $(filter-out ports/bare/memory_functions.c,$(wildcard ports/bare/*.c))
# Freestanding, too, but no part of the library.
conform_c := $(wildcard conform/*.c)
device_c  := $(wildcard devices/*.c)
machine_c := $(wildcard machine/*.c)
cli_c     := $(wildcard cli/*.c)
test_c    := $(wildcard tests/*/test_*.c)
test_lib_c  := $(wildcard tests/support/*.c)
bench_c     := $(wildcard bench/*.c)
bench_lib_c := $(wildcard bench/support/*.c)
example_c   := $(wildcard examples/*/*.c)
fuzz_c      := $(wildcard fuzz/*.c)
# What the guest image is made of and tests on the host link, but for its entry.
image_lib_c := $(filter-out images/guest/main.c,$(wildcard images/guest/*.c))
public_h  := $(wildcard include/pleat/*.h include/pleat/*/*.h)
all_c     := $(sort $(guest_c) $(bare_c) $(conform_c) $(device_c) $(port_c) $(machine_c) $(cli_c) $(test_c) $(test_lib_c) \
             $(bench_c) $(bench_lib_c) $(example_c) $(fuzz_c) $(image_lib_c))

obj      = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
lib_o   := $(sort $(call obj,$(guest_c) $(device_c) $(port_c)))
static  := $(BUILD)/libpleat.a
shared  := $(BUILD)/libpleat.so.$(VERSION)
machine := $(if $(machine_c),$(BUILD)/libmachine.a)
bare    := $(if $(bare_c),$(BUILD)/libbare.a)
conform := $(if $(conform_c),$(BUILD)/libconform.a)
# What several tests or benchmarks share.
test_lib  := $(if $(test_lib_c),$(BUILD)/libtest.a)
image_lib := $(if $(image_lib_c),$(BUILD)/libimage.a)
bench_lib := $(if $(bench_lib_c),$(BUILD)/libbench.a)
program := $(if $(cli_c),$(BUILD)/pleat)
# A test is a cmocka program, or a script that prints TAP.
tests   := $(patsubst %.c,$(BUILD)/%,$(test_c))
# Builds for debugging, sanitizers and coverage aren't what is installed.
special := $(DEBUG)$(findstring -fsanitize,$(CFLAGS))$(findstring --coverage,$(CFLAGS))
scripts := $(filter-out $(if $(special),tests/build/% tests/qemu/% tests/xen/%),$(wildcard tests/*/*.t))
# These run in a debug build too: there the core checks itself, and the hosted port who calls it.
debug_too := $(filter $(BUILD)/tests/core/%,$(foreach t,$(tests),$(if $(findstring model,$(t)),$(t)))) \
	$(filter $(BUILD)/tests/ports/test_hosted%,$(tests))
benches := $(patsubst %.c,$(BUILD)/%,$(bench_c))
fuzzers := $(patsubst %.c,$(BUILD)/%,$(fuzz_c))
# Each folder of examples/ is one program.
examples := $(patsubst %/,$(BUILD)/%,$(sort $(dir $(example_c))))

lint_settings := .clang-tidy scripts/cppcheck.txt
.DEFAULT_GOAL := all
include images/build.mk

# ---- Building -----------------------------------------------------------------------------------------

.PHONY: all everything guest lint run run-qemu test test-xen debug-tests bench bench-qemu bench-xen check coverage size \
        format install clean help packages FORCE
.DELETE_ON_ERROR:

all: $(static) $(shared) $(program) $(tests) $(examples) $(if $(special),,$(images_here))
everything: all $(benches)

# The Debian packages that the goals at hand need come first, before anything that make could run beside
# the check: only one of the recipes that run at once can read an answer from the terminal.
# PACKAGES_CHECKED=1 leaves packages alone.
goals  := $(or $(MAKECMDGOALS),all)
groups := build $(if $(filter run,$(goals)),run) $(if $(filter run-qemu bench-qemu bench-xen,$(goals)),qemu) \
          $(if $(filter test test-xen coverage check images,$(goals)),run test) $(if $(filter bench,$(goals)),bench) \
          $(if $(filter check format,$(goals)),check)
packages:
ifndef PACKAGES_CHECKED
	@scripts/packages $(groups)
endif

# Files that change when their text does: objects are compiled anew when the compiler or its flags
# change, archives are made anew when a source appears or disappears.
stamp = @mkdir -p $(@D); echo '$(1)' | cmp -s - $@ || echo '$(1)' >$@
$(BUILD)/flags: FORCE | packages
	$(call stamp,$(CC) $(CFLAGS) $(GUEST) $(HOST))
$(BUILD)/sources: FORCE | packages
	$(call stamp,$(all_c))

$(call obj,$(guest_c) $(bare_c) $(conform_c)): $(BUILD)/obj/%.o: %.c $(BUILD)/flags | packages
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(GUEST) -MMD -MP -c $< -o $@

$(call obj,$(filter-out $(guest_c) $(bare_c) $(conform_c),$(all_c))): $(BUILD)/obj/%.o: %.c $(BUILD)/flags | packages
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(HOST) $(MACHINE_CF) $(if $(filter bench/%,$<),$(BENCH_CF)) -MMD -MP -c $< -o $@

$(static): $(lib_o)
$(BUILD)/libmachine.a: $(call obj,$(machine_c))
$(BUILD)/libbare.a: $(call obj,$(bare_c))
$(BUILD)/libconform.a: $(call obj,$(conform_c))
$(BUILD)/libimage.a: $(call obj,$(image_lib_c))
$(BUILD)/libtest.a: $(call obj,$(test_lib_c))
$(BUILD)/libbench.a: $(call obj,$(bench_lib_c))
$(static) $(machine) $(conform) $(bare) $(image_lib) $(test_lib) $(bench_lib): $(BUILD)/sources
	$(say) AR $@
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

# The shared library exports what the public headers name, and nothing else.
$(BUILD)/exports: $(public_h) | packages
	@mkdir -p $(@D)
	@{ echo '{ global:'; grep -hoE '\<pleat_[a-z0-9_]+' $^ | sort -u | sed 's/$$/;/'; echo 'local: *; };'; } >$@

$(shared): $(lib_o) $(BUILD)/exports $(BUILD)/sources
	$(say) LD $@
	$(Q)$(LINK) -shared -Wl,-soname,libpleat.so.$(SOVERSION) -Wl,--version-script,$(BUILD)/exports -Wl,-z,defs \
		$(lib_o) $(LIBRARY_LIBS) -o $@

$(program): $(call obj,$(cli_c)) $(machine) $(static)
	$(say) LD $@
	$(Q)$(LINK) $(filter %.o %.a,$^) $(MACHINE_LIBS) $(LIBRARY_LIBS) -o $@

$(tests): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(test_lib) $(conform) $(machine) $(image_lib) $(bare) $(static)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) $(filter %.o %.a,$^) $(MACHINE_LIBS) $(LIBRARY_LIBS) -lcmocka -o $@

$(benches): $(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(bench_lib) $(machine) $(static)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) $(filter %.o %.a,$^) $(MACHINE_LIBS) $(BENCH_LIBS) $(LIBRARY_LIBS) -o $@

$(foreach e,$(examples),$(eval $(e): $(call obj,$(wildcard $(patsubst $(BUILD)/%,%,$(e))/*.c))))
$(examples): $(static)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) $(filter %.o,$^) $(static) $(LIBRARY_LIBS) -o $@

# Core, drivers and a freestanding port as one object, as an embedder links them: what it leaves
# unresolved is what it asks for. The same of what bare-metal ports share.
guest: $(BUILD)/guest.o $(BUILD)/bare.o
$(BUILD)/guest.o: $(call obj,$(guest_c)) $(BUILD)/sources
$(BUILD)/bare.o: $(call obj,$(bare_c)) $(BUILD)/sources
$(BUILD)/guest.o $(BUILD)/bare.o:
	$(say) LD $@
	$(Q)$(LD) -r $(filter %.o,$^) -o $@

# Built by clang with the flags that scripts/check-fuzz gives.
$(fuzzers): $(BUILD)/fuzz/%: $(BUILD)/obj/fuzz/%.o $(test_lib) $(machine) $(bare) $(static)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -fsanitize=fuzzer $(filter %.o %.a,$^) $(MACHINE_LIBS) $(LIBRARY_LIBS) -lcmocka -o $@

# Static analysis, again for each file whose object is made again.
# cppcheck sees no system headers, so it has to be told that this is a 64-bit target.
cppcheck_defines := -D__STDC__ -DUINTPTR_MAX=18446744073709551615u -DUINT64_MAX=18446744073709551615u
# cppcheck PORT
cppcheck = cppcheck --quiet --error-exitcode=1 --enable=warning,portability,information --inline-suppr --std=c11 \
	--suppressions-list=scripts/cppcheck.txt $(cppcheck_defines) -Iinclude -I$(1) -I. $(DEFINES)
linted = $(patsubst %.c,$(BUILD)/lint/%.ok,$(all_c))
# These are executed as a whole under the sanitizers, which symbolic execution comes nowhere near; and
# they may say their seed when they die.
, := ,
executed_c := $(test_c) $(test_lib_c) $(bench_c) $(bench_lib_c) $(fuzz_c)
lint: $(linted)
$(linted): $(BUILD)/lint/%.ok: %.c $(BUILD)/obj/%.o $(lint_settings)
	$(say) LINT $<
	@mkdir -p $(@D)
	$(Q)clang-tidy --quiet $(if $(filter $<,$(executed_c)),--checks='-clang-analyzer-*$(,)-bugprone-signal-handler') $< -- \
		$(if $(filter $<,$(guest_c) $(bare_c) $(conform_c)),$(GUEST),$(HOST) $(MACHINE_CF)) 2>$@.log || \
		{ cat $@.log; exit 1; }
	$(Q)$(call cppcheck,ports/$(PORT)) $<
	@touch $@

-include $(patsubst %.o,%.d,$(call obj,$(all_c)))

# ---- Running ------------------------------------------------------------------------------------------

run: all
	@[ -x scripts/run-demo ] || { echo 'make run: scripts/run-demo is missing from this tree' >&2; exit 1; }
	@BUILD=$(BUILD) scripts/run-demo

run-qemu: $(program) $(BUILD)/pleat-guest.elf
	@BUILD=$(BUILD) scripts/run-qemu

# Every test; T=TEXT builds and runs only those whose name contains TEXT. The model tests of the core and the
# tests of the hosted port run a second time in a debug build, under the name build/debug/tests/...
debug  := $(if $(special),,$(patsubst $(BUILD)/%,$(BUILD)/debug/%,$(debug_too)))
every  := $(tests) $(debug) $(scripts)
chosen := $(strip $(if $(T),$(foreach t,$(every),$(if $(findstring $(T),$(t)),$(t))),$(every)))
wanted := $(program) $(filter $(tests),$(chosen)) $(if $(filter tests/examples/%,$(chosen)),$(examples)) \
	$(if $(filter tests/qemu/%,$(chosen)),$(images)) $(if $(filter tests/xen/%,$(chosen)),$(images_here))
test: $(if $(T),,all) $(wanted) $(if $(filter $(debug),$(chosen)),debug-tests)
	@[ -n '$(chosen)' ] || { echo "make test: no test has '$(T)' in its name" >&2; exit 2; }
	@BUILD=$(BUILD) CC='$(CC)' CMOCKA_MESSAGE_OUTPUT=TAP prove -j$(shell nproc) \
		--exec 'timeout -k 5 $(TEST_SECONDS)' $(chosen)

test-xen: packages
	@$(MAKE) test T=tests/xen/ PACKAGES_CHECKED=1

debug-tests: packages
	@$(MAKE) DEBUG=1 BUILD=$(BUILD)/debug PACKAGES_CHECKED=1 $(debug)

bench: all $(benches)
	@BUILD=$(BUILD) scripts/bench $(benches)

bench-qemu: $(program) $(BUILD)/pleat-guest.elf
	@BUILD=$(BUILD) CC='$(CC)' scripts/bench-qemu

bench-xen: $(BUILD)/pleat-guest.elf
	@BUILD=$(BUILD) CC='$(CC)' scripts/bench-xen

check: packages
	@BUILD=$(BUILD) MAKE='$(MAKE)' scripts/check

coverage: packages
	@BUILD=$(BUILD) MAKE='$(MAKE)' scripts/coverage

size: packages
	@BUILD=$(BUILD) MAKE='$(MAKE)' scripts/size

format: packages
	@find * -path 'build*' -prune -o -name '*.[ch]' -print | xargs clang-format -i

# For the scripts: make print-GUEST
print-%:
	@echo $($*)

clean:
	rm -rf $(BUILD)

help:
	@scripts/help

# ---- Installing ---------------------------------------------------------------------------------------

to := $(DESTDIR)$(PREFIX)
install: $(static) $(shared) $(program)
	$(say) INSTALL $(to)
	$(Q)for header in $(patsubst include/%,%,$(public_h)); do \
		install -D -m 644 include/$$header $(to)/include/$$header || exit 1; done
	$(Q)install -d $(DESTDIR)$(LIBDIR)/pkgconfig
	$(Q)install -m 644 $(static) $(DESTDIR)$(LIBDIR)/libpleat.a
	$(Q)install -m 644 $(shared) $(DESTDIR)$(LIBDIR)/libpleat.so.$(VERSION)
	$(Q)ln -sf libpleat.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libpleat.so.$(SOVERSION)
	$(Q)ln -sf libpleat.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libpleat.so
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		-e 's|@LIBS@|$(LIBRARY_LIBS)|' scripts/pleat.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/pleat.pc
	$(Q)$(if $(program),install -D -m 755 $(program) $(to)/bin/pleat)
	$(Q)$(if $(wildcard docs/pleat.1),install -D -m 644 docs/pleat.1 $(DESTDIR)$(MANDIR)/man1/pleat.1)
