/* SPDX-License-Identifier: MIT */
/* The map of lanes.  A lane owns its webhooks. */
#include "base/mem.h"
#include "webhook/lane.h"

void lanes_init(struct lanes *l)
{
	map_init(&l->map);
}

static void lane_free(struct lane *lane)
{
	hook_list_free(&lane->waiting);
	hook_list_free(&lane->done);
	free(lane->error);
	free(lane->key);
	free(lane);
}

void lanes_release(struct lanes *l)
{
	struct lane *lane;
	size_t at = 0;

	while ((lane = map_next(&l->map, &at)))
		lane_free(lane);
	map_release(&l->map);
}

static struct strbuf lane_key(const struct hook *h)
{
	struct strbuf b;

	strbuf_init(&b, 128);
	strbuf_add(&b, h->app, strlen(h->app) + 1);
	strbuf_add(&b, h->endpoint, strlen(h->endpoint) + 1);
	strbuf_add_str(&b, h->channel);
	return b;
}

struct lane *lanes_get(const struct lanes *l, const struct hook *h)
{
	struct strbuf key = lane_key(h);
	struct lane *lane = map_get(&l->map, strbuf_view(&key));

	strbuf_release(&key);
	return lane;
}

struct lane *lanes_add(struct lanes *l, const struct hook *h, usec_t now)
{
	struct lane *lane = xcalloc(1, sizeof(*lane));
	struct strbuf key = lane_key(h);

	lane->view = sv_n(NULL, key.len);
	lane->key = strbuf_detach(&key);
	lane->view.ptr = lane->key;
	strbuf_release(&key);
	lane->app = lane->key;
	lane->endpoint = lane->app + strlen(lane->app) + 1;
	lane->channel = lane->endpoint + strlen(lane->endpoint) + 1;
	lane->since = now;
	map_put(&l->map, lane->view, lane);
	return lane;
}

void lanes_remove(struct lanes *l, struct lane *lane)
{
	map_del(&l->map, lane->view);
	lane_free(lane);
}

size_t lanes_count(const struct lanes *l)
{
	return l->map.used;
}

/* The lanes of an endpoint, by the part of the key that is in front of the channel. */
struct lanes_count {
	const struct lane *first;
	size_t n;
};

size_t lanes_find_full(const struct lanes *l, size_t n, const struct lane ***out)
{
	struct map counts;
	struct lanes_count *c;
	struct lane *lane;
	size_t at = 0, found = 0;

	map_init(&counts);
	*out = NULL;
	while ((lane = map_next(&l->map, &at))) {
		struct str_view of = sv_n(lane->key, (size_t)(lane->channel - lane->key));

		c = map_get(&counts, of);
		if (!c) {
			c = xcalloc(1, sizeof(*c));
			c->first = lane;
			map_put(&counts, of, c);
		}
		c->n++;
	}
	for (at = 0; (c = map_next(&counts, &at)); free(c)) {
		if (c->n < n)
			continue;
		*out = xreallocarray(*out, found + 1, sizeof(**out));
		(*out)[found++] = c->first;
	}
	map_release(&counts);
	return found;
}

struct lane *lanes_next(const struct lanes *l, size_t *at)
{
	return map_next(&l->map, at);
}
