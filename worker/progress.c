/* A ring of events per partition; positions move over its front. */
#include "worker/progress.h"

#include <stdlib.h>

#include "common/memory.h"

/* A ticket is the partition's place in the table and the event's number in that partition. */
enum { NUMBER_BITS = 40, RING_INITIAL = 64 };
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)

struct entry {
    int64_t next_offset, sequence;
    bool settled, acked;
};

struct partition {
    struct position settled, acked;
    bool dirty;            /* acked has moved since it was taken for storing */
    struct entry *entries; /* ring; capacity is a power of two */
    uint64_t capacity;
    /* Event numbers: acked_front <= settled_front <= end. Entries from acked_front on are held. */
    uint64_t acked_front, settled_front, end;
};

struct progress {
    struct partition *partitions; /* by number */
    size_t count;
};

struct progress *progress_new(void) {
    return memory_new(sizeof(struct progress));
}

void progress_free(struct progress *progress) {
    if (!progress)
        return;
    for (size_t i = 0; i < progress->count; i++)
        free(progress->partitions[i].entries);
    free(progress->partitions);
    free(progress);
}

/* Partitions are numbered from 0 without gaps, so that the number is the place. */
static struct partition *find(const struct progress *progress, int32_t number) {
    return number >= 0 && (size_t)number < progress->count ? &progress->partitions[number] : NULL;
}

void progress_start(struct progress *progress, const struct position *position) {
    while (progress->count <= (size_t)position->partition) {
        progress->partitions = memory_resize(progress->partitions, (progress->count + 1) * sizeof *progress->partitions);
        progress->partitions[progress->count] =
            (struct partition){.settled.partition = (int32_t)progress->count, .acked.partition = (int32_t)progress->count};
        progress->count++;
    }
    struct partition *partition = &progress->partitions[position->partition];
    partition->settled = partition->acked = *position;
    partition->acked_front = partition->settled_front = partition->end;
    partition->dirty = false;
}

static struct entry *entry_at(const struct partition *partition, uint64_t number) {
    return &partition->entries[number & (partition->capacity - 1)];
}

static void grow(struct partition *partition) {
    struct partition larger = *partition;
    larger.capacity = partition->capacity ? partition->capacity * 2 : RING_INITIAL;
    larger.entries = memory_new(larger.capacity * sizeof *larger.entries);
    for (uint64_t number = partition->acked_front; number < partition->end; number++)
        *entry_at(&larger, number) = *entry_at(partition, number);
    free(partition->entries);
    *partition = larger;
}

static void move_to(struct position *position, const struct entry *entry) {
    if (entry->next_offset > position->offset)
        position->offset = entry->next_offset;
    /* An event sent again carries a lower sequence than those before it. */
    if (entry->sequence > position->sequence)
        position->sequence = entry->sequence;
}

static void advance(struct partition *partition) {
    while (partition->settled_front < partition->end && entry_at(partition, partition->settled_front)->settled)
        move_to(&partition->settled, entry_at(partition, partition->settled_front++));
    while (partition->acked_front < partition->settled_front && entry_at(partition, partition->acked_front)->acked) {
        move_to(&partition->acked, entry_at(partition, partition->acked_front++));
        partition->dirty = true;
    }
}

static uint64_t append(struct partition *partition, struct entry entry) {
    if (partition->end - partition->acked_front == partition->capacity)
        grow(partition);
    *entry_at(partition, partition->end) = entry;
    return partition->end++;
}

uint64_t progress_add(struct progress *progress, int32_t number, int64_t next_offset, int64_t sequence) {
    struct partition *partition = find(progress, number);
    if (!partition)
        abort(); /* events come only from partitions that were started */
    uint64_t event = append(partition, (struct entry){.next_offset = next_offset, .sequence = sequence});
    return (uint64_t)number << NUMBER_BITS | (event & NUMBER_MASK);
}

static void mark(struct progress *progress, uint64_t ticket, bool acked) {
    struct partition *partition = find(progress, (int32_t)(ticket >> NUMBER_BITS));
    if (!partition)
        return;
    /* The full number: the held one that agrees in the lower bits. Anything else is from before a new start. */
    uint64_t distance = ((ticket & NUMBER_MASK) - (partition->acked_front & NUMBER_MASK)) & NUMBER_MASK;
    if (distance >= partition->end - partition->acked_front)
        return;
    struct entry *entry = entry_at(partition, partition->acked_front + distance);
    entry->settled = true;
    entry->acked = entry->acked || acked;
    advance(partition);
}

void progress_settle(struct progress *progress, uint64_t ticket) { mark(progress, ticket, false); }
void progress_ack(struct progress *progress, uint64_t ticket) { mark(progress, ticket, true); }

void progress_pass(struct progress *progress, int32_t number, int64_t next_offset, int64_t sequence) {
    struct partition *partition = find(progress, number);
    if (!partition)
        return;
    struct entry entry = {.next_offset = next_offset, .sequence = sequence, .settled = true, .acked = true};
    if (partition->end > partition->acked_front) {
        struct entry *last = entry_at(partition, partition->end - 1);
        if (last->settled && last->acked) {
            /* Many in a row need no more room than one. */
            if (next_offset > last->next_offset)
                last->next_offset = next_offset;
            if (sequence > last->sequence)
                last->sequence = sequence;
            if (partition->settled_front == partition->end) /* it was passed: only the ack of one before it is awaited */
                move_to(&partition->settled, last);
            return;
        }
        append(partition, entry);
        advance(partition);
        return;
    }
    if (next_offset <= partition->acked.offset && sequence <= partition->acked.sequence)
        return;
    move_to(&partition->settled, &entry);
    move_to(&partition->acked, &entry);
    partition->dirty = true;
}

size_t progress_pending(const struct progress *progress) {
    uint64_t pending = 0;
    for (size_t i = 0; i < progress->count; i++)
        pending += progress->partitions[i].end - progress->partitions[i].acked_front;
    return (size_t)pending;
}

bool progress_is_dirty(const struct progress *progress) {
    for (size_t i = 0; i < progress->count; i++)
        if (progress->partitions[i].dirty)
            return true;
    return false;
}

size_t progress_settled(const struct progress *progress, struct position *positions, size_t capacity) {
    for (size_t i = 0; i < progress->count && i < capacity; i++)
        positions[i] = progress->partitions[i].settled;
    return progress->count;
}

bool progress_find(const struct progress *progress, int32_t number, struct position *settled, struct position *acked) {
    const struct partition *partition = find(progress, number);
    if (partition && settled)
        *settled = partition->settled;
    if (partition && acked)
        *acked = partition->acked;
    return partition != NULL;
}

size_t progress_acked_changes(struct progress *progress, struct position *positions, size_t capacity) {
    size_t count = 0;
    for (size_t i = 0; i < progress->count && count < capacity; i++) {
        if (!progress->partitions[i].dirty)
            continue;
        positions[count++] = progress->partitions[i].acked;
        progress->partitions[i].dirty = false;
    }
    return count;
}

void progress_mark_dirty(struct progress *progress) {
    for (size_t i = 0; i < progress->count; i++)
        progress->partitions[i].dirty = true;
}
