/* What there is to deploy from and to: projects and environments. */
#ifndef API_INVENTORY_H
#define API_INVENTORY_H

#include "call.h"

/* The projects that the token may see. */
void inventory_projects(struct call *call);
/* All environments: of the installation, and of a project, which is deployed to every one. */
void inventory_environments(struct call *call);

#endif
