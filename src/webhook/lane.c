/* SPDX-License-Identifier: MIT */
/* Lists of webhooks, and the map of lanes.  A hook is in one list at a time, which owns it. */
#include "base/mem.h"
#include "webhook/lane.h"

struct hook *hook_new(const char *app, const char *endpoint, struct str_view channel,
		      struct str_view event)
{
	struct hook *h = xcalloc(1, sizeof(*h));

	h->app = xstrdup(app);
	h->endpoint = xstrdup(endpoint);
	h->channel = sv_dup(channel);
	h->event = sv_dup(event);
	return h;
}

struct hook *hook_note(struct str_view app, struct str_view channel, struct str_view user_id,
		       bool is_here)
{
	struct hook *h = xcalloc(1, sizeof(*h));

	h->app = sv_dup(app);
	h->channel = sv_dup(channel);
	h->user_id = sv_dup(user_id);
	h->is_here = is_here;
	return h;
}

void hook_free(struct hook *h)
{
	free(h->app);
	free(h->endpoint);
	free(h->channel);
	free(h->event);
	free(h->user_id);
	free(h);
}

static size_t hook_bytes(const struct hook *h)
{
	return h->event ? strlen(h->event) : 0;
}

void hook_list_add(struct hook_list *l, struct hook *h)
{
	h->next = NULL;
	if (l->last)
		l->last->next = h;
	else
		l->first = h;
	l->last = h;
	l->n++;
	l->bytes += hook_bytes(h);
}

struct hook *hook_list_take(struct hook_list *l)
{
	struct hook *h = l->first;

	if (!h)
		return NULL;
	l->first = h->next;
	if (!l->first)
		l->last = NULL;
	l->n--;
	l->bytes -= hook_bytes(h);
	h->next = NULL;
	return h;
}

void hook_list_put_back(struct hook_list *l, struct hook_list *more)
{
	if (!more->first)
		return;
	more->last->next = l->first;
	if (!l->last)
		l->last = more->last;
	l->first = more->first;
	l->n += more->n;
	l->bytes += more->bytes;
	*more = (struct hook_list){ 0 };
}

void hook_list_free(struct hook_list *l)
{
	struct hook *h;

	while ((h = hook_list_take(l)))
		hook_free(h);
}

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

struct lane *lanes_next(const struct lanes *l, size_t *at)
{
	return map_next(&l->map, at);
}
