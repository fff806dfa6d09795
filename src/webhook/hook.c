/* SPDX-License-Identifier: MIT */
/* Webhooks in memory, and lists of them. */
#include "base/mem.h"
#include "webhook/hook.h"

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
	free(h->member);
	free(h);
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
	*more = (struct hook_list){ 0 };
}

void hook_list_free(struct hook_list *l)
{
	struct hook *h;

	while ((h = hook_list_take(l)))
		hook_free(h);
}
