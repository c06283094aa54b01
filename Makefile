# Build, try and test jwk-api and jwk-worker. `make help` lists the targets.

BUILD ?= build
PREFIX ?= /usr
DESTDIR ?=
SAN ?=
VERSION := 0.1.0
comma := ,

PACKAGES := rdkafka libcjson libmicrohttpd gnutls sqlite3 libcrypto libssl libcurl libsodium
CFLAGS_WARN := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Werror
CFLAGS_HARD := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
CPPFLAGS_ALL := -D_GNU_SOURCE -DJWK_VERSION='"$(VERSION)"' -I. $(shell pkg-config --cflags $(PACKAGES)) $(CPPFLAGS)
LDLIBS_ALL := $(shell pkg-config --libs $(PACKAGES)) -lpthread -lm
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now,-z,noexecstack $(LDFLAGS)

ifeq ($(SAN),)
CFLAGS ?= -O2 -g
CPPFLAGS_ALL += -D_FORTIFY_SOURCE=2
allocator := $(shell pkg-config --libs jemalloc)
else
# One build directory per sanitizer, which has an allocator of its own: SAN=address,undefined or SAN=thread.
BUILD := $(BUILD)-$(subst $(comma),-,$(SAN))
CFLAGS ?= -O1 -g -fno-omit-frame-pointer
CFLAGS_HARD += -fsanitize=$(SAN) -fno-sanitize-recover=undefined
LDFLAGS_ALL += -fsanitize=$(SAN)
endif
# librdkafka's C11 threads are made visible to ThreadSanitizer by objects of our own in front of the libraries.
ifneq ($(findstring thread,$(SAN)),)
LDFLAGS_ALL += $(BUILD)/tests/setup/tsan_threads.o
sanitizer_objects := $(BUILD)/tests/setup/tsan_threads.o
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
$(BUILD)/jwk-api $(BUILD)/jwk-worker: | $(sanitizer_objects)
	$(call say,LD)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $^ $(LDLIBS_ALL) $(allocator) -o $@

# A unit test is one file; it links what it tests from the libraries.
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libapi.a $(BUILD)/libworker.a $(BUILD)/libcommon.a | $(sanitizer_objects)
	$(call say,LD)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $< -Wl,--start-group $(BUILD)/libapi.a $(BUILD)/libworker.a $(BUILD)/libcommon.a -Wl,--end-group $(LDLIBS_ALL) $(allocator) -lcmocka -o $@

# ---- try ----

.PHONY: deps demo run
deps: ## install what building needs (Debian packages; asks sudo when not root)
	@tests/setup/packages.sh build

demo: ## show the main job once, on the embedded broker: installs what is missing, builds, leaves nothing behind
	@tests/setup/packages.sh build demo
	@$(MAKE) --no-print-directory --quiet -j"$$(nproc)" all
	@BUILD=$(BUILD) exec tests/demo/demo.sh

run: ## the same, but stay running and print what sets URL, TOKEN and WORKER
	@tests/setup/packages.sh build demo
	@$(MAKE) --no-print-directory --quiet -j"$$(nproc)" all
	@BUILD=$(BUILD) exec tests/demo/demo.sh --stay

# ---- test ----

.PHONY: check unit units check-deps blackbox judges fault sanitize soak
check: ## install what the tests need and run all of them
	@tests/setup/packages.sh build demo check
	@$(MAKE) --no-print-directory -j"$$(nproc)" all units check-deps
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory blackbox
	@$(MAKE) --no-print-directory judges
	@$(MAKE) --no-print-directory fault
	@$(MAKE) --no-print-directory sanitize
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory fuzz-short

units: $(unit_tests)
unit: $(unit_tests) ## build and run the unit tests
	@status=0; for test in $^; do $$test || status=1; done; exit $$status
.SECONDARY: $(unit_tests:%=%.o)

# Python packages, Kafka's jars, the judges' libraries and the AsyncAPI schema: under build/, installed nowhere else.
venv := build/venv
check-deps: $(venv)/installed build/kafka/libs/installed build/judges/java/installed build/node/installed
$(venv)/installed: tests/requirements.txt
	python3 -m venv $(venv)
	$(venv)/bin/pip install --quiet --requirement $<
	@touch $@
build/kafka/libs/installed: tests/kafka/pom.xml
build/judges/java/installed: tests/judges/java/pom.xml
build/kafka/libs/installed build/judges/java/installed:
	@mkdir -p $(@D)
	mvn --quiet --batch-mode --file $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(@D)
	@touch $@
build/node/installed: tests/package.json
	@mkdir -p $(@D)
	cp $< $(@D)/package.json
	cd $(@D) && npm install --silent --no-package-lock
	@touch $@

# More test processes than cores: most of a test's time is waiting. A file stays in one process, which shares what it started.
pytest := $(venv)/bin/python -m pytest -c tests/pytest.ini
in_parallel := -n 3 --dist loadfile

blackbox: all check-deps ## run the black-box tests on both brokers
	JWK_BUILD=$(BUILD) $(pytest) $(in_parallel) tests/blackbox

# What the judges see of the cryptography that no program shows by itself.
$(BUILD)/judges/ours: $(BUILD)/tests/judges/ours.o $(BUILD)/libcommon.a | $(sanitizer_objects)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $^ $(LDLIBS_ALL) -o $@

judges: all check-deps $(BUILD)/judges/ours ## let JOSE libraries of other languages and Schemathesis judge
	JWK_BUILD=$(BUILD) $(pytest) tests/judges

fault: all check-deps $(BUILD)/bench/load ## a few minutes of seeded faults, judged by the invariants
	JWK_BUILD=$(BUILD) $(pytest) $(in_parallel) tests/fault tests/bench

soak: all check-deps ## load and faults for as long as told, and whether anything grows: make soak SECONDS=3600 BROKER=kafka
	JWK_BUILD=$(BUILD) PYTHONPATH=tests $(venv)/bin/python -m fault.soak --seconds $(or $(SECONDS),3600) --broker $(or $(BROKER),kafka) \
	    $(if $(SEED),--seed $(SEED))

# Everything under AddressSanitizer and UndefinedBehaviorSanitizer, and what many threads share under ThreadSanitizer.
threaded_units := writer publisher delivered gatherer settle gathered http deadlines rate sealing worker_trust
threaded := $(patsubst %,tests/blackbox/test_%.py,update rename trouble replicas concurrency idempotency)
sanitize: check-deps ## run the suite under the sanitizers
	@$(MAKE) --no-print-directory SAN=address,undefined -j"$$(nproc)" all units
	@$(MAKE) --no-print-directory SAN=address,undefined unit
	JWK_BUILD=build-address-undefined JWK_TEST_BROKERS=embedded JWK_TEST_PATIENCE=120 $(pytest) $(in_parallel) tests/blackbox
	@$(MAKE) --no-print-directory SAN=thread -j"$$(nproc)" all $(threaded_units:%=build-thread/tests/unit/test_%)
	@set -e; for test in $(threaded_units); do TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp build-thread/tests/unit/test_$$test; done
	JWK_BUILD=build-thread JWK_TEST_BROKERS=embedded JWK_TEST_PATIENCE=120 TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp \
	    $(pytest) $(in_parallel) $(threaded)

# ---- fuzz ----

# A target is one file, tests/fuzz/TARGET.c, with what corpus/TARGET and TARGET.dict hold beside it: there is no list of them.
# Everything is built once more by clang, with coverage for the fuzzer and both sanitizers.
fuzz_targets := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
fuzz_make = $(MAKE) --no-print-directory BUILD=build-fuzz CC=clang SAN=fuzzer-no-link,address,undefined \
    CFLAGS="-O1 -g -fno-omit-frame-pointer -Wno-unknown-attributes"
FUZZ_SECONDS ?= 60
TARGETS ?= $(fuzz_targets)

.PHONY: fuzz fuzz-short
fuzz: ## fuzz what reads foreign bytes: make fuzz FUZZ_SECONDS=600 TARGETS="jwk event"
	@tests/setup/packages.sh build fuzz
	@$(fuzz_make) -k -j"$$(nproc)" $(TARGETS:%=build-fuzz/tests/fuzz/%)
	@tests/fuzz/fuzz.sh build-fuzz $(FUZZ_SECONDS) $(TARGETS)

fuzz-short: ## the seeds and what was found once, and the same few thousand inputs to each target every time
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=short

$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libapi.a $(BUILD)/libworker.a $(BUILD)/libcommon.a
	$(call say,LD)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -fsanitize=fuzzer $< -Wl,--start-group $(BUILD)/libapi.a $(BUILD)/libworker.a $(BUILD)/libcommon.a -Wl,--end-group $(LDLIBS_ALL) -o $@
.SECONDARY: $(fuzz_targets:%=$(BUILD)/tests/fuzz/%.o)

# ---- analyze ----

.PHONY: lint coverage
lint: ## static analysis: clang-tidy, gcc -fanalyzer, cppcheck, shellcheck; STEPS="cppcheck shell" chooses
	@tests/setup/packages.sh build lint
	@tests/lint/lint.sh $(STEPS)

# Built once more with counters, which the programs write when they end by themselves or by SIGTERM; kill -9 loses them.
COVERED ?= tests/blackbox
coverage: ## lines and branches that unit and black-box tests reach; HTML in build-coverage/html
	@tests/setup/packages.sh build demo check coverage
	@$(MAKE) --no-print-directory check-deps
	@find build-coverage -name '*.gcda' -delete 2>/dev/null || true
	@$(MAKE) --no-print-directory BUILD=build-coverage CFLAGS="-O0 -g --coverage -fprofile-update=atomic" -j"$$(nproc)" all units
	@status=0; \
	    $(MAKE) --no-print-directory -k BUILD=build-coverage CFLAGS="-O0 -g --coverage -fprofile-update=atomic" unit || status=1; \
	    JWK_BUILD=build-coverage JWK_TEST_BROKERS=embedded JWK_TEST_PATIENCE=120 $(pytest) $(in_parallel) $(COVERED) || status=1; \
	    mkdir -p build-coverage/html && \
	    gcovr --root . --object-directory build-coverage --filter 'api/' --filter 'common/' --filter 'worker/' --exclude-unreachable-branches \
	        --html-details build-coverage/html/index.html --txt --print-summary build-coverage || status=1; \
	    [ $$status -eq 0 ] || echo "coverage: there were failures, see above; the figures are of what ran" >&2; \
	    exit $$status

# ---- measure ----

bench_tools := $(BUILD)/bench/floor $(BUILD)/bench/load
$(BUILD)/bench/floor: $(patsubst %,$(BUILD)/tests/bench/%.o,floor floor_kafka histogram)
$(BUILD)/bench/load: $(patsubst %,$(BUILD)/tests/bench/%.o,load generator request response histogram)
$(bench_tools):
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $^ $(LDLIBS_ALL) -o $@

.PHONY: bench
MODE ?= compare
bench: ## measure side by side with the bare floor; MODE="compare trust growth width waiting serving idle" chooses
	@tests/setup/packages.sh build check bench
	@$(MAKE) --no-print-directory -j"$$(nproc)" all $(bench_tools) build/kafka/libs/installed
	JWK_BUILD=$(BUILD) python3 tests/bench/bench.py $(MODE)

# ---- install ----

.PHONY: install clean
$(BUILD)/%.8: $(BUILD)/%
	$(call say,MAN)$< --man > $@

units := api/jwk-api.service worker/jwk-worker@.service
install: all $(BUILD)/jwk-api.8 $(BUILD)/jwk-worker.8 ## install programs, manual pages and systemd units under DESTDIR and PREFIX
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BUILD)/jwk-api $(BUILD)/jwk-worker
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 $(BUILD)/jwk-api.8 $(BUILD)/jwk-worker.8
	@for unit in $(units); do \
	    install -D -m 644 $$unit $(DESTDIR)$(PREFIX)/lib/systemd/system/$$(basename $$unit) && \
	    sed -i 's|^ExecStart=/usr/bin/|ExecStart=$(PREFIX)/bin/|' $(DESTDIR)$(PREFIX)/lib/systemd/system/$$(basename $$unit) || exit 1; \
	done

clean: ## remove what was built
	rm -rf build build-*

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
