/* Positions follow only over events without a gap, whatever the order in which they are settled and acked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker/progress.h"

static struct progress *progress;

static int set_up(void **state) {
    (void)state;
    progress = progress_new();
    progress_start(progress, &(struct position){.partition = 0, .offset = 10, .sequence = 5});
    progress_start(progress, &(struct position){.partition = 2, .offset = 0, .sequence = 0});
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    progress_free(progress);
    return 0;
}

static void assert_at(int32_t partition, int64_t settled, int64_t acked) {
    struct position settled_position, acked_position;
    assert_true(progress_find(progress, partition, &settled_position, &acked_position));
    assert_int_equal(settled_position.offset, settled);
    assert_int_equal(acked_position.offset, acked);
}

static void nothing_moves_before_it_is_acked(void **state) {
    (void)state;
    uint64_t ticket = progress_add(progress, 0, 11, 6);
    assert_at(0, 10, 10);
    progress_settle(progress, ticket);
    assert_at(0, 11, 10);
    assert_false(progress_is_dirty(progress));
    progress_ack(progress, ticket);
    assert_at(0, 11, 11);
    assert_true(progress_is_dirty(progress));
    assert_int_equal(progress_pending(progress), 0);
}

static void a_gap_holds_the_position_back(void **state) {
    (void)state;
    uint64_t tickets[300];
    for (int i = 0; i < 300; i++)
        tickets[i] = progress_add(progress, 0, 11 + i, 6 + i);
    for (int i = 299; i > 0; i--)
        progress_ack(progress, tickets[i]);
    assert_at(0, 10, 10);
    assert_int_equal(progress_pending(progress), 300);
    progress_ack(progress, tickets[0]);
    assert_at(0, 310, 310);
    assert_int_equal(progress_pending(progress), 0);
}

static void partitions_are_apart(void **state) {
    (void)state;
    uint64_t ticket = progress_add(progress, 2, 1, 9);
    (void)progress_add(progress, 0, 11, 8);
    progress_ack(progress, ticket);
    assert_at(0, 10, 10);
    assert_at(2, 1, 1);
}

static void what_needs_no_ack_waits_for_what_does(void **state) {
    (void)state;
    uint64_t ticket = progress_add(progress, 0, 11, 6);
    progress_pass(progress, 0, 12, 0);
    progress_pass(progress, 0, 15, 7);
    assert_at(0, 10, 10);
    assert_int_equal(progress_pending(progress), 2);
    progress_settle(progress, ticket);
    assert_at(0, 15, 10);
    progress_ack(progress, ticket);
    assert_at(0, 15, 15);
    progress_pass(progress, 0, 20, 8);
    assert_at(0, 20, 20);
    struct position position;
    assert_true(progress_find(progress, 0, NULL, &position));
    assert_int_equal(position.sequence, 8);
}

static void what_needs_no_ack_is_settled_while_the_ack_before_it_is_on_its_way(void **state) {
    (void)state;
    uint64_t ticket = progress_add(progress, 0, 11, 6);
    progress_settle(progress, ticket);
    progress_pass(progress, 0, 12, 0);
    progress_pass(progress, 0, 15, 7);
    assert_at(0, 15, 10);
    progress_ack(progress, ticket);
    assert_at(0, 15, 15);
    assert_int_equal(progress_pending(progress), 0);
}

static void neither_offset_nor_sequence_goes_back(void **state) {
    (void)state;
    progress_pass(progress, 0, 30, 50);
    progress_pass(progress, 0, 20, 0);
    uint64_t ticket = progress_add(progress, 0, 31, 40); /* sent again: an older sequence at a later offset */
    progress_ack(progress, ticket);
    struct position position;
    assert_true(progress_find(progress, 0, NULL, &position));
    assert_int_equal(position.offset, 31);
    assert_int_equal(position.sequence, 50);
}

static void a_ticket_from_before_a_new_start_is_ignored(void **state) {
    (void)state;
    uint64_t old = progress_add(progress, 0, 11, 6);
    progress_start(progress, &(struct position){.partition = 0, .offset = 0, .sequence = 0});
    uint64_t ticket = progress_add(progress, 0, 1, 1);
    progress_ack(progress, old);
    assert_at(0, 0, 0);
    progress_ack(progress, ticket);
    assert_at(0, 1, 1);
    progress_ack(progress, ticket); /* reported twice: nothing */
    assert_at(0, 1, 1);
}

static void changes_are_taken_once_and_again_after_a_failure(void **state) {
    (void)state;
    struct position positions[4];
    progress_pass(progress, 2, 7, 3);
    assert_int_equal(progress_acked_changes(progress, positions, 4), 1);
    assert_int_equal(positions[0].partition, 2);
    assert_int_equal(positions[0].offset, 7);
    assert_int_equal(progress_acked_changes(progress, positions, 4), 0);
    progress_mark_dirty(progress);
    assert_int_equal(progress_acked_changes(progress, positions, 4), 3);
}

static void any_order_of_acks_ends_the_same(void **state) {
    (void)state;
    enum { EVENTS = 2000, WINDOW = 100 };
    uint64_t window[WINDOW];
    unsigned seed = 7, held = 0;
    for (int i = 0; i < EVENTS; i++) {
        uint64_t ticket = progress_add(progress, 0, 11 + i, 6 + i);
        if (held < WINDOW) {
            window[held++] = ticket;
            continue;
        }
        unsigned pick = (unsigned)rand_r(&seed) % WINDOW;
        progress_ack(progress, window[pick]);
        window[pick] = ticket;
    }
    while (held > 0)
        progress_ack(progress, window[--held]);
    assert_at(0, 10 + EVENTS, 10 + EVENTS);
    assert_int_equal(progress_pending(progress), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nothing_moves_before_it_is_acked),
        TEST(a_gap_holds_the_position_back),
        TEST(partitions_are_apart),
        TEST(what_needs_no_ack_waits_for_what_does),
        TEST(what_needs_no_ack_is_settled_while_the_ack_before_it_is_on_its_way),
        TEST(neither_offset_nor_sequence_goes_back),
        TEST(a_ticket_from_before_a_new_start_is_ignored),
        TEST(changes_are_taken_once_and_again_after_a_failure),
        TEST(any_order_of_acks_ends_the_same),
    };
    return cmocka_run_group_tests_name("worker progress", tests, NULL, NULL);
}
