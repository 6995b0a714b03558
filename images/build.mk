# SPDX-License-Identifier: MIT
#
# Images that boot on a bare machine. Each folder images/NAME/ is one image: linked with the core, the drivers,
# ports/bare/ and the port of the architecture, all compiled for it in build/ARCH/obj/. x86-64's are
# build/pleat-NAME.elf, those of the others build/pleat-NAME-ARCH.elf.

image_names := $(patsubst images/%/,%,$(sort $(dir $(wildcard images/*/*.c))))

# For each architecture: which images, and how its code is compiled.
image_arches   := x86_64 aarch64 riscv64
images_x86_64  := $(image_names)
images_aarch64 := contract core guest
images_riscv64 := contract core guest
image_flags_x86_64  := -mno-red-zone -mgeneral-regs-only -mcmodel=small
# gcc's limits.h goes on to the C library's, which isn't there for other architectures, unless it has been.
image_flags_aarch64 := -D_LIBC_LIMITS_H_ -mgeneral-regs-only -mno-outline-atomics -mstrict-align
# No floating point; clang 14 doesn't know that reading CSRs is an extension.
image_flags_riscv64 := -D_LIBC_LIMITS_H_ -mabi=lp64 -mcmodel=medany \
                       $(if $(findstring clang,$(CC)),-march=rv64imac,-march=rv64imac_zicsr_zifencei)

# What an image has besides its folder.
image_more_contract := tests/ports/contract.c
image_more_conform  := $(wildcard conform/*.c) images/contract/arguments.c

# Sanitizers and coverage need a C library: their CFLAGS aren't for images.
IMAGE_CFLAGS ?= $(if $(DEBUG),-O1,-O2) -g
IMAGE_BASE   := -std=c17 $(WARN) $(DEFINES) -ffreestanding -fno-pic -fno-pie -fno-stack-protector \
                -fno-asynchronous-unwind-tables -I. -Iinclude

host_arch := $(shell uname -m)
# image_cc ARCH, image_flags ARCH
image_cc = $(if $(filter $(1),$(host_arch)),$(CC),$(if $(findstring clang,$(CC)),$(CC) --target=$(1)-linux-gnu,$(1)-linux-gnu-gcc))
image_flags = $(IMAGE_BASE) $(image_flags_$(1)) -Iports/$(1)
image_elf = $(BUILD)/pleat-$(2)$(if $(filter x86_64,$(1)),,-$(1)).elf
image_obj = $(patsubst %,$(BUILD)/$(1)/obj/%.o,$(basename $(2)))
image_sources = $(wildcard images/$(1)/*.c) $(image_more_$(1))
image_common = $(sort $(wildcard core/*.c drivers/*.c drivers/*/*.c ports/bare/*.c ports/$(1)/*.c ports/$(1)/*.S))

image_linted = $(filter-out $(all_c),$(filter %.c,$(call image_common,$(1)) $(foreach i,$(images_$(1)),$(call image_sources,$(i)))))

images := $(foreach a,$(image_arches),$(foreach i,$(images_$(a)),$(call image_elf,$(a),$(i))))
# Those for which no other compiler is needed.
images_here := $(foreach i,$(images_$(host_arch)),$(call image_elf,$(host_arch),$(i)))

.PHONY: images
images: $(images)

# for_image ARCH, NAME
define for_image
$(call image_elf,$(1),$(2)): $(call image_obj,$(1),$(call image_common,$(1)) $(call image_sources,$(2))) \
		ports/$(1)/image.ld $(BUILD)/$(1)/sources
	$$(say) LD $$@
	$$(Q)$$(call image_cc,$(1)) -nostdlib -static -Wl,--build-id=none -Wl,-z,noexecstack \
		-Wl,-z,max-page-size=4096 -Wl,-T,ports/$(1)/image.ld $$(filter %.o,$$^) -o $$@
-include $(patsubst %.o,%.d,$(call image_obj,$(1),$(call image_sources,$(2))))
endef

# for_arch ARCH
define for_arch
$(BUILD)/$(1)/flags: FORCE | packages
	$$(call stamp,$$(call image_cc,$(1)) $$(IMAGE_CFLAGS) $$(call image_flags,$(1)))
$(BUILD)/$(1)/sources: FORCE | packages
	$$(call stamp,$(call image_common,$(1)) $(foreach i,$(images_$(1)),$(call image_sources,$(i))))
$(BUILD)/$(1)/obj/%.o: %.c $(BUILD)/$(1)/flags | packages
	$$(say) CC '$$< ($(1))'
	@mkdir -p $$(@D)
	$$(Q)$$(call image_cc,$(1)) $$(IMAGE_CFLAGS) $$(call image_flags,$(1)) -MMD -MP -c $$< -o $$@
$(BUILD)/$(1)/obj/%.o: %.S $(BUILD)/$(1)/flags | packages
	$$(say) AS '$$< ($(1))'
	@mkdir -p $$(@D)
	$$(Q)$$(call image_cc,$(1)) $$(IMAGE_CFLAGS) $$(call image_flags,$(1)) -MMD -MP -c $$< -o $$@
-include $(patsubst %.o,%.d,$(call image_obj,$(1),$(call image_common,$(1))))
$(foreach i,$(images_$(1)),$(eval $(call for_image,$(1),$(i))))
# Static analysis of what is compiled for images alone.
lint: $(patsubst %.c,$(BUILD)/lint/$(1)/%.ok,$(call image_linted,$(1)))
$(BUILD)/lint/$(1)/%.ok: %.c $(BUILD)/$(1)/obj/%.o $(lint_settings)
	$$(say) LINT '$$< ($(1))'
	@mkdir -p $$(@D)
	$$(Q)clang-tidy --quiet $$< -- --target=$(1)-linux-gnu $$(call image_flags,$(1)) 2>$$@.log || { cat $$@.log; exit 1; }
	$$(Q)$$(call cppcheck,ports/$(1)) $$<
	@touch $$@
endef
$(foreach a,$(image_arches),$(eval $(call for_arch,$(a))))
