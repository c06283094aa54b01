/* The heap of deadlines, held against a plain search for the least. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "common/heap.h"

enum { ENTRIES = 500, STEPS = 20000 };

/* A generator of our own, so that every run is the same. */
static uint32_t next_random(uint32_t *seed) { return (*seed = *seed * 1664525u + 1013904223u) >> 8; }

static void check_invariants(const struct heap *heap) {
    for (size_t i = 0; i < heap->count; i++) {
        assert_int_equal(heap->entries[i]->index, i);
        if (i > 0)
            assert_true(heap->entries[(i - 1) / 2]->due <= heap->entries[i]->due);
    }
}

static void an_empty_heap_has_no_top(void **state) {
    (void)state;
    struct heap heap = {0};
    assert_null(heap_top(&heap));
    heap_free(&heap);
}

static void entries_come_out_in_the_order_of_their_deadlines(void **state) {
    (void)state;
    static struct heap_entry entries[ENTRIES];
    struct heap heap = {0};
    uint32_t seed = 1;
    for (size_t i = 0; i < ENTRIES; i++) {
        entries[i] = (struct heap_entry){.due = next_random(&seed) % 100, .index = HEAP_NONE};
        heap_push(&heap, &entries[i]);
        check_invariants(&heap);
    }
    int64_t last = INT64_MIN;
    for (size_t i = 0; i < ENTRIES; i++) {
        struct heap_entry *top = heap_top(&heap);
        assert_true(top->due >= last);
        last = top->due;
        heap_remove(&heap, top);
        assert_true(top->index == HEAP_NONE);
        check_invariants(&heap);
    }
    assert_null(heap_top(&heap));
    heap_free(&heap);
}

static void any_entry_can_be_removed_at_any_time(void **state) {
    (void)state;
    static struct heap_entry entries[ENTRIES];
    struct heap heap = {0};
    uint32_t seed = 7;
    for (size_t i = 0; i < ENTRIES; i++)
        entries[i].index = HEAP_NONE;
    for (size_t step = 0; step < STEPS; step++) {
        struct heap_entry *entry = &entries[next_random(&seed) % ENTRIES];
        if (entry->index != HEAP_NONE) {
            heap_remove(&heap, entry);
        } else {
            entry->due = (int64_t)(next_random(&seed) % 1000) - 500;
            heap_push(&heap, entry);
        }
        if (step % 50 == 0)
            check_invariants(&heap);
        const struct heap_entry *least = NULL;
        size_t count = 0;
        for (size_t i = 0; i < ENTRIES; i++) {
            if (entries[i].index == HEAP_NONE)
                continue;
            count++;
            if (!least || entries[i].due < least->due)
                least = &entries[i];
        }
        assert_int_equal(heap.count, count);
        if (least)
            assert_int_equal(heap_top(&heap)->due, least->due);
        else
            assert_null(heap_top(&heap));
    }
    heap_free(&heap);
}

static void removing_what_is_in_no_heap_does_nothing(void **state) {
    (void)state;
    struct heap heap = {0};
    struct heap_entry in = {.due = 1}, out = {.due = 0, .index = HEAP_NONE};
    heap_push(&heap, &in);
    heap_remove(&heap, &out);
    assert_ptr_equal(heap_top(&heap), &in);
    heap_remove(&heap, &in);
    heap_remove(&heap, &in);
    assert_null(heap_top(&heap));
    heap_free(&heap);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_has_no_top),
        cmocka_unit_test(entries_come_out_in_the_order_of_their_deadlines),
        cmocka_unit_test(any_entry_can_be_removed_at_any_time),
        cmocka_unit_test(removing_what_is_in_no_heap_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
