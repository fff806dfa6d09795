/* SPDX-License-Identifier: MIT */
/* A list, because a cluster has few nodes; only what is signed gets here. */
#include <stdlib.h>
#include "base/mem.h"
#include "bus/redis_senders.h"

struct redis_sender {
	struct redis_sender *next;
	uint64_t id;
	uint64_t counts[REDIS_PARTITIONS]; /* of the last message */
};

void redis_senders_release(struct redis_senders *s)
{
	struct redis_sender *one;

	while ((one = s->list)) {
		s->list = one->next;
		free(one);
	}
	s->n = 0;
}

/* At the front of the list then. */
static struct redis_sender *senders_find(struct redis_senders *s, uint64_t id)
{
	struct redis_sender **at = &s->list, *one;

	while (*at && (*at)->id != id && ((*at)->next || s->n < REDIS_SENDERS_MAX))
		at = &(*at)->next;
	one = *at;
	if (one) {
		*at = one->next;
	} else {
		one = xmalloc(sizeof(*one));
		one->id = ~id;
		s->n++;
	}
	if (one->id != id)
		*one = (struct redis_sender){ .id = id };
	one->next = s->list;
	s->list = one;
	return one;
}

bool redis_senders_take(struct redis_senders *s, uint64_t sender, unsigned partition,
			uint64_t count)
{
	struct redis_sender *one = senders_find(s, sender);

	if (count <= one->counts[partition])
		return false;
	one->counts[partition] = count;
	return true;
}
