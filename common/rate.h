/* Rates: how often something may happen, told apart by a key (an address, a token), in memory of a fixed size.
 *
 * Each key has a token bucket, kept as the one moment at which it will be full again (the generic cell rate algorithm, ITU-T
 * I.371 annex A). The table is an array of small sets: looking up costs the same whatever is in it, and where a set is full the
 * fullest bucket gives way, which is the one that loses least. Thread-safe. */
#ifndef COMMON_RATE_H
#define COMMON_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct rate {
    int64_t interval_us; /* between two at the steady rate; 0: no limit */
    int64_t burst;       /* how many may come at once after a pause; at least 1 */
};

/* Reads "100/s", "30/m" or "500/h", with ":BURST" behind where the burst is not one second's worth (at least 1); "0" is no
 * limit. -1 with an error that shows the text when it is none of these. */
int rate_parse(const char *text, struct rate *rate, struct error *error) MUST_CHECK;

enum { RATE_KEY_SIZE = 16 };
struct rate_table;

/* A table of buckets of that rate for `capacity` keys (rounded up), 24 bytes each. */
struct rate_table *rate_table_new(const struct rate *rate, size_t capacity);
void rate_table_free(struct rate_table *table);
/* Takes one from the key's bucket; false when it is empty, with the microseconds until it is not. Remembers the key, also where
 * there is no limit. now_us is of the monotonic clock, greater than 0. */
bool rate_table_take(struct rate_table *table, const unsigned char key[RATE_KEY_SIZE], int64_t now_us, int64_t *wait_us);
/* The same answer without taking. */
bool rate_table_allows(struct rate_table *table, const unsigned char key[RATE_KEY_SIZE], int64_t now_us, int64_t *wait_us);
/* Whether the key is remembered. */
bool rate_table_knows(struct rate_table *table, const unsigned char key[RATE_KEY_SIZE]);

#endif
