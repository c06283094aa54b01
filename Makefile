# Build, try and test jwk-api and jwk-worker. `make help` lists the targets.

BUILD ?= build
PREFIX ?= /usr
DESTDIR ?=
SAN ?=
VERSION := 0.1.0
comma := ,

PACKAGES := rdkafka libcjson libmicrohttpd sqlite3 libcrypto libssl libcurl
CFLAGS_WARN := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Werror
CFLAGS_HARD := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
CPPFLAGS_ALL := -D_GNU_SOURCE -DJWK_VERSION='"$(VERSION)"' -I. $(shell pkg-config --cflags $(PACKAGES)) $(CPPFLAGS)
LDLIBS_ALL := $(shell pkg-config --libs $(PACKAGES)) -lpthread -lm
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now,-z,noexecstack $(LDFLAGS)

ifeq ($(SAN),)
CFLAGS ?= -O2 -g
CPPFLAGS_ALL += -D_FORTIFY_SOURCE=2
else
# One build directory per sanitizer: SAN=address,undefined or SAN=thread.
BUILD := $(BUILD)-$(subst $(comma),-,$(SAN))
CFLAGS ?= -O1 -g -fno-omit-frame-pointer
CFLAGS_HARD += -fsanitize=$(SAN) -fno-sanitize-recover=undefined
LDFLAGS_ALL += -fsanitize=$(SAN)
endif
CFLAGS_ALL := -std=gnu17 $(CFLAGS) $(CFLAGS_WARN) $(CFLAGS_HARD) -MMD -MP

common_objects := $(patsubst %.c,$(BUILD)/%.o,$(wildcard common/*.c))
api_objects := $(patsubst %.c,$(BUILD)/%.o,$(wildcard api/*.c))
worker_objects := $(patsubst %.c,$(BUILD)/%.o,$(wildcard worker/*.c))
unit_tests := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))

.DELETE_ON_ERROR:
.PHONY: all help

all: $(BUILD)/jwk-api $(BUILD)/jwk-worker ## build both programs (the default)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-zA-Z_-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# V=1 shows the commands.
ifeq ($(V),)
say = @echo "  $(1)	$@";
else
say =
endif

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -c $< -o $@

$(BUILD)/api/store_migrate.o: $(wildcard schemas/store/*.sql)

$(BUILD)/libcommon.a: $(common_objects)
$(BUILD)/libapi.a: $(filter-out $(BUILD)/api/main.o,$(api_objects))
$(BUILD)/libworker.a: $(filter-out $(BUILD)/worker/main.o,$(worker_objects))
$(BUILD)/lib%.a:
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^

$(BUILD)/jwk-api: $(BUILD)/api/main.o $(BUILD)/libapi.a $(BUILD)/libcommon.a
$(BUILD)/jwk-worker: $(BUILD)/worker/main.o $(BUILD)/libworker.a $(BUILD)/libcommon.a
$(BUILD)/jwk-api $(BUILD)/jwk-worker:
	$(call say,LD)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $^ $(LDLIBS_ALL) -o $@

# A unit test is one file; it links what it tests from the libraries.
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libapi.a $(BUILD)/libworker.a $(BUILD)/libcommon.a
	$(call say,LD)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $< -Wl,--start-group $(BUILD)/libapi.a $(BUILD)/libworker.a $(BUILD)/libcommon.a -Wl,--end-group $(LDLIBS_ALL) -lcmocka -o $@

.PHONY: unit
unit: $(unit_tests) ## build and run the unit tests
	@set -e; for test in $^; do $$test; done

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
