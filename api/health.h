/* What operators' tools ask: alive, ready, metrics. */
#ifndef API_HEALTH_H
#define API_HEALTH_H

#include "call.h"

void health_live(struct call *call);
void health_ready(struct call *call);
void health_metrics(struct call *call);

#endif
