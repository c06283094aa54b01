/* Fetching the JWKs that came from URLs again, on a schedule.
 *
 * When to look again is what Cache-Control allows, within bounds and spread by a jitter; after a failure sooner at first, and
 * more and more rarely. A key that has changed is deployed as an update by the actor "source-refresh"; a source that fails is
 * told by get and by a metric, and never removes or changes the key. An update through the API detaches a JWK, which ends it.
 */
#ifndef API_REFRESH_H
#define API_REFRESH_H

#include "api.h"

#define REFRESH_ACTOR "source-refresh"

struct refresh;

/* Starts the thread; its fetches run on a few threads of their own. */
struct refresh *refresh_new(struct api *api);
/* Ends fetches that are under way and the threads; before the writer ends. NULL is allowed. */
void refresh_free(struct refresh *refresh);

/* When a document fetched at `now` (wall ms) is to be fetched again; max_age in seconds as it was told, -1: it was not. */
int64_t refresh_due(const struct api_sources *sources, int64_t now, int64_t max_age);
/* The same after so many failures, one after the other. */
int64_t refresh_retry_due(const struct api_sources *sources, int64_t now, int64_t failures);

#endif
