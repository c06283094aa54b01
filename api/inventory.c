/* Projects and environments. */
#include "inventory.h"

#include "common/clock.h"
#include "listing.h"

static void write_item(void *context, const struct store_item *item) {
    struct listing *listing = context;
    char time[CLOCK_TEXT_SIZE];
    if (!listing_admit(listing, item->name, 0))
        return;
    text_json_open(&listing->body, NULL, '{');
    text_json_string(&listing->body, "id", item->uid);
    text_json_string(&listing->body, "name", item->name);
    text_json_string(&listing->body, "createdTime", clock_format(item->created_at, time));
    text_json_close(&listing->body, '}');
}

static int read_projects(struct listing *listing, struct store *store, struct error *error) {
    return store_page_projects(store, &listing->call->token, listing->name, listing->page + 1, write_item, listing, error);
}

static int read_environments(struct listing *listing, struct store *store, struct error *error) {
    return store_page_environments(store, listing->name, listing->page + 1, write_item, listing, error);
}

void inventory_projects(struct call *call) {
    static const struct listing_kind kind = {.mark = 'p', .read = read_projects};
    listing_answer(call, &kind, 0);
}

void inventory_environments(struct call *call) {
    static const struct listing_kind kind = {.mark = 'e', .read = read_environments};
    listing_answer(call, &kind, 0);
}
