/* SPDX-License-Identifier: MIT */
/*
 * An entry for a channel exists while it has subscribers.  Removing a subscriber moves the last one
 * into its index.
 */
#include "base/mem.h"
#include "core/channel_key.h"
#include "core/sessions/registry.h"

void registry_init(struct registry *r)
{
	map_init(&r->channels);
	map_init(&r->grants);
}

void registry_release(struct registry *r)
{
	map_release(&r->channels);
	map_release(&r->grants);
}

struct rchannel *registry_find(const struct registry *r, struct str_view key)
{
	return map_get(&r->channels, key);
}

struct subscription *registry_add(struct registry *r, struct session *s, struct msgbuf *key,
				  uint64_t seq)
{
	struct rchannel *c = registry_find(r, msgbuf_view(key));
	struct subscription *sub = xcalloc(1, sizeof(*sub));

	if (!c) {
		c = xcalloc(1, sizeof(*c));
		c->key = msgbuf_ref(key);
		map_put(&r->channels, msgbuf_view(c->key), c);
	}
	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 1;
		c->subscribers = xreallocarray(c->subscribers, c->cap, sizeof(*c->subscribers));
	}
	*sub = (struct subscription){ .session = s, .channel = c, .at = c->n, .seq = seq };
	c->subscribers[c->n++] = (struct subscriber){ s, sub };
	if (seq > c->newest_seq)
		c->newest_seq = seq;
	return sub;
}

void registry_remove(struct registry *r, struct subscription *sub)
{
	struct rchannel *c = sub->channel;

	c->subscribers[sub->at] = c->subscribers[--c->n];
	c->subscribers[sub->at].subscription->at = sub->at;
	if (c->n == 0) {
		map_del(&r->channels, msgbuf_view(c->key));
		msgbuf_unref(c->key);
		free(c->subscribers);
		free(c);
	}
	free(sub->user_id);
	free(sub);
}

static void registry_unschedule(struct registry *r, struct granted *g)
{
	struct granted **slot = &r->wheel[g->due_s % REGISTRY_WHEEL_SLOTS];

	if (g->wheel_prev)
		g->wheel_prev->wheel_next = g->wheel_next;
	else if (*slot == g)
		*slot = g->wheel_next;
	if (g->wheel_next)
		g->wheel_next->wheel_prev = g->wheel_prev;
	g->wheel_prev = g->wheel_next = NULL;
	g->due_s = 0;
}

void registry_schedule(struct registry *r, struct granted *g, uint32_t due_s)
{
	struct granted **slot = &r->wheel[due_s % REGISTRY_WHEEL_SLOTS];

	registry_unschedule(r, g);
	g->due_s = due_s;
	g->wheel_next = *slot;
	if (*slot)
		(*slot)->wheel_prev = g;
	*slot = g;
}

void registry_each_due(struct registry *r, uint32_t now_s, unsigned most,
		       void (*fn)(struct granted *g))
{
	while (r->wheel_s < now_s) {
		uint32_t second = ++r->wheel_s;
		struct granted *next;

		for (struct granted *g = r->wheel[second % REGISTRY_WHEEL_SLOTS]; g; g = next) {
			next = g->wheel_next;
			if (g->due_s > second)
				continue;
			if (!most) {
				registry_schedule(r, g, now_s + 1);
				continue;
			}
			most--;
			registry_unschedule(r, g);
			fn(g);
		}
	}
}

static struct str_view granted_key(const uint64_t *id)
{
	return sv_n((const char *)id, sizeof(*id));
}

struct granted *registry_grant(struct registry *r, struct subscription *sub, uint64_t id)
{
	struct granted *g = xcalloc(1, sizeof(*g));

	g->id = id;
	g->subscription = sub;
	/* The key is part of the value: the old one leaves the map before. */
	g->next = map_del(&r->grants, granted_key(&id));
	if (g->next)
		g->next->prev = g;
	map_put(&r->grants, granted_key(&g->id), g);
	sub->granted = g;
	return g;
}

uint64_t registry_ungrant(struct registry *r, struct subscription *sub)
{
	struct granted *g = sub->granted;
	uint64_t id;

	if (!g)
		return 0;
	id = g->id;
	registry_unschedule(r, g);
	if (g->next)
		g->next->prev = g->prev;
	if (g->prev) {
		g->prev->next = g->next;
	} else {
		map_del(&r->grants, granted_key(&g->id));
		if (g->next)
			map_put(&r->grants, granted_key(&g->next->id), g->next);
	}
	sub->granted = NULL;
	free(g);
	return id;
}

struct subscription *registry_first_of(const struct registry *r, uint64_t id)
{
	const struct granted *g = map_get(&r->grants, granted_key(&id));

	return g ? g->subscription : NULL;
}

struct str_view subscription_channel(const struct subscription *sub)
{
	return channel_key_name(sub->channel->key);
}
