/* Buckets in sets of eight. The place of a key is found with a secret, so that nobody can choose addresses that fall into one
 * set and push a bucket of theirs out of it. */
#include "rate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "identifier.h"
#include "memory.h"

enum {
    WAYS = 8,     /* of a set */
    STRIPES = 64, /* mutexes; set i is guarded by mutex i mod STRIPES */
};
static const int64_t RATE_MAXIMUM = 1000000; /* a second: the clock counts microseconds */

struct bucket {
    uint64_t key[2];
    int64_t full_at; /* µs; 0: nobody's */
};

struct rate_table {
    struct rate rate;
    uint64_t secret[2];
    size_t set_mask;
    pthread_mutex_t stripes[STRIPES];
    struct bucket *buckets;
};

/* ---- the text ---- */

/* Takes a decimal number from 1 to maximum; 0 when there is none. */
static int64_t take_number(const char **at, int64_t maximum) {
    int64_t number = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++)
        if ((number = number * 10 + (**at - '0')) > maximum)
            return 0;
    return number;
}

int rate_parse(const char *text, struct rate *rate, struct error *error) {
    static const struct {
        const char *name;
        int64_t us;
    } periods[] = {{"/s", 1000000}, {"/m", 60000000}, {"/h", 3600000000}};
    *rate = (struct rate){.burst = 1};
    if (strcmp(text, "0") == 0)
        return 0;
    const char *at = text;
    int64_t count = take_number(&at, RATE_MAXIMUM), period = 0;
    for (size_t i = 0; i < sizeof periods / sizeof *periods; i++)
        if (strncmp(at, periods[i].name, 2) == 0)
            period = periods[i].us;
    if (count > 0 && period > 0) {
        at += 2;
        rate->interval_us = period / count;
        rate->burst = 1000000 / rate->interval_us > 1 ? 1000000 / rate->interval_us : 1;
        if (*at == ':') {
            at++;
            rate->burst = take_number(&at, RATE_MAXIMUM);
        }
        if (*at == '\0' && rate->burst > 0)
            return 0;
    }
    return error_set(error, ERROR_INVALID,
                     "\"%s\" is not a rate: write 100/s, 30/m or 500/h, with :BURST behind or not; 0 is none", text);
}

/* ---- the table ---- */

struct rate_table *rate_table_new(const struct rate *rate, size_t capacity) {
    struct rate_table *table = memory_new(sizeof *table);
    size_t sets = 1;
    while (sets * WAYS < capacity)
        sets *= 2;
    table->rate = *rate;
    table->set_mask = sets - 1;
    table->buckets = memory_new(sets * WAYS * sizeof *table->buckets); /* untouched pages take no memory */
    random_bytes(table->secret, sizeof table->secret);
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_init(&table->stripes[i], NULL);
    return table;
}

void rate_table_free(struct rate_table *table) {
    if (table == NULL)
        return;
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&table->stripes[i]);
    free(table->buckets);
    free(table);
}

/* The halves of the product, one on the other. */
static uint64_t fold(uint64_t one, uint64_t other) {
    unsigned __int128 product = (unsigned __int128)one * other;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Twice: of neighbouring addresses, which differ in a few bits alone, one product leaves many in few sets. The constant is the
 * golden ratio's fraction. */
static size_t set_of(const struct rate_table *table, const uint64_t key[2]) {
    uint64_t mixed = fold(key[0] ^ table->secret[0], key[1] ^ table->secret[1]);
    return (size_t)fold(mixed ^ table->secret[1], UINT64_C(0x9e3779b97f4a7c15)) & table->set_mask;
}

/* With the set's mutex held: the key's bucket, or NULL. */
static struct bucket *find(struct bucket *set, const uint64_t key[2]) {
    for (int i = 0; i < WAYS; i++)
        if (set[i].full_at != 0 && set[i].key[0] == key[0] && set[i].key[1] == key[1])
            return &set[i];
    return NULL;
}

/* With the set's mutex held: a bucket for a key that has none, full. */
static struct bucket *claim(struct bucket *set, const uint64_t key[2]) {
    struct bucket *fullest = set;
    for (int i = 1; i < WAYS; i++)
        if (set[i].full_at < fullest->full_at)
            fullest = &set[i];
    *fullest = (struct bucket){.key = {key[0], key[1]}};
    return fullest;
}

static bool ask(struct rate_table *table, const unsigned char key[RATE_KEY_SIZE], int64_t now_us, int64_t *wait_us, bool take) {
    uint64_t words[2];
    memcpy(words, key, sizeof words);
    size_t index = set_of(table, words);
    struct bucket *set = &table->buckets[index * WAYS];
    pthread_mutex_t *mutex = &table->stripes[index % STRIPES];
    pthread_mutex_lock(mutex);
    struct bucket *bucket = find(set, words);
    int64_t full_at = bucket != NULL && bucket->full_at > now_us ? bucket->full_at : now_us;
    int64_t empty_for = full_at - now_us - (table->rate.burst - 1) * table->rate.interval_us;
    /* Without a rate nobody waits, not even a thread that read the clock before the one that was here last. */
    bool allowed = table->rate.interval_us == 0 || empty_for <= 0;
    if (allowed && take) {
        if (bucket == NULL)
            bucket = claim(set, words);
        bucket->full_at = full_at + table->rate.interval_us;
    }
    pthread_mutex_unlock(mutex);
    *wait_us = allowed ? 0 : empty_for;
    return allowed;
}

bool rate_table_take(struct rate_table *table, const unsigned char key[RATE_KEY_SIZE], int64_t now_us, int64_t *wait_us) {
    return ask(table, key, now_us, wait_us, true);
}

bool rate_table_allows(struct rate_table *table, const unsigned char key[RATE_KEY_SIZE], int64_t now_us, int64_t *wait_us) {
    return ask(table, key, now_us, wait_us, false);
}

bool rate_table_knows(struct rate_table *table, const unsigned char key[RATE_KEY_SIZE]) {
    uint64_t words[2];
    memcpy(words, key, sizeof words);
    size_t index = set_of(table, words);
    pthread_mutex_t *mutex = &table->stripes[index % STRIPES];
    pthread_mutex_lock(mutex);
    bool known = find(&table->buckets[index * WAYS], words) != NULL;
    pthread_mutex_unlock(mutex);
    return known;
}
