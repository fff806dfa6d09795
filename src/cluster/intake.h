/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_INTAKE_H
#define CLUSTER_INTAKE_H
/* Takes what waits in the inbox: reports of the workers, and changes that the bus received from
 * other nodes.  On the cluster's thread. */
#include "cluster/cluster-private.h"

void intake_run(struct cluster *c);
/* The number of subscriptions here is in the next call. */
void intake_count(struct cluster *c, struct own_member *m);
#endif
