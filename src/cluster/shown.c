/* SPDX-License-Identifier: MIT */
/*
 * A change is applied only to the version before it; when that is another one, the members are read
 * (cluster/refresh.h).  Messages with sums of subscriptions of several nodes arrive in any order:
 * only a newer one is applied.  A channel that no application of this node has any more is still
 * emptied.
 */
#include <string.h>
#include "base/mem.h"
#include "cluster/shown.h"
#include "core/channels/users.h"

/* NULL: this node does not serve it any more. */
struct app *shown_app(const struct cluster *c, struct followed *of)
{
	struct app *app = app_set_by_id(c->apps, of->app);

	if (app && app != of->served) {
		app_unref(of->served);
		of->served = app_ref(app);
	}
	return app;
}

/* The same, or as it was while this node served it: members have to be removed then, too.  NULL:
 * it never did, so the directory has none. */
static struct app *shown_last_app(const struct cluster *c, struct followed *of)
{
	struct app *app = shown_app(c, of);

	return app ? app : of->served;
}

/* Watchers that will be answered are not notified before. */
void shown_put(struct cluster *c, struct followed *of, const struct directory_member *who,
	       bool is_own)
{
	struct own_member *own = map_get(&of->own, who->user_id);
	struct app *app = shown_app(c, of);

	/* Another node may have given the user this info.  One that is queued has a newer report.
	 */
	if (own && !own->is_queued)
		follow_set_info(own, who->info);
	if (app && of->is_answer_due)
		directory_put_member(c->directory, app, of->name, who, is_own);
	else if (app)
		users_put(c->directory, app, of->name, who, is_own);
}

static void shown_drop(struct cluster *c, struct followed *of, struct str_view user_id)
{
	struct app *app = shown_last_app(c, of);

	if (app && of->is_answer_due)
		directory_drop_member(c->directory, app, of->name, user_id);
	else if (app)
		users_drop(c->directory, app, of->name, user_id);
}

void shown_drop_lost(struct cluster *c, struct followed *of, struct str_view user_id)
{
	if (!c->is_partial)
		shown_drop(c, of, user_id);
}

/* Clients that watch the user are answered. */
void shown_answer_watchers(struct cluster *c, struct followed *of)
{
	struct app *app = of->is_answer_due ? shown_app(c, of) : NULL;

	if (app)
		users_set_known(c->directory, app, of->name);
	of->is_answer_due = false;
}

/* Drops the members that are not among who[0] to who[n - 1]. */
void shown_drop_others(struct cluster *c, struct followed *of, const struct directory_member *who,
		       size_t n)
{
	struct app *app = shown_last_app(c, of);
	char **others = app ? directory_other_members(c->directory, app, of->name, who, n) : NULL;

	for (size_t i = 0; others && others[i]; i++) {
		shown_drop(c, of, sv(others[i]));
		free(others[i]);
	}
	free(others);
}

void shown_set_count(struct cluster *c, struct followed *of, uint64_t version, unsigned total)
{
	unsigned others = follow_take_count(of, version, total);
	struct app *app = map_get(&of->own, SV("")) ? shown_app(c, of) : NULL;

	if (!app || (c->is_partial && others < of->n_others))
		return;
	of->n_others = others;
	directory_count_others(c->directory, app, of->name, others);
}

void shown_apply(struct cluster *c, struct followed *of, const struct change *change)
{
	const struct directory_member who = { change->user_id, change->info };

	if (!change->user_id.len) {
		if (follow_is_new_count(of, change->version))
			shown_set_count(c, of, change->version, change_total(change));
		return;
	}
	if (!follow_advance(&c->follow, of, change->before, change->version))
		return;
	if (change->outcome == CHANGE_REMOVED) {
		shown_drop_lost(c, of, change->user_id);
		follow_retry(&c->follow, of);
	} else {
		shown_put(c, of, &who, false);
	}
}

void shown_answer_waiters(struct cluster *c, struct own_member *m, bool is_full)
{
	struct own_waiter *w;

	while ((w = m->waiters)) {
		m->waiters = w->next;
		directory_post_joined(c->directory, w->worker, w->token, is_full);
		free(w);
	}
}

/*
 * Forgets the channel if this node has no subscription to it any more.  Sends nothing: for a
 * watcher who joins at this moment MEMBER_WATCHED is in the inbox, and the state is read again.
 */
void shown_prune(struct cluster *c, struct followed *of)
{
	if (!follow_is_unused(of))
		return;
	of->is_answer_due = true;
	shown_drop_others(c, of, NULL, 0);
	follow_delete(&c->follow, of);
}

/* Shows clients its own member as this node has it; the database may change that later. */
void shown_settle(struct cluster *c, struct own_member *m)
{
	const struct directory_member who = { sv(m->user_id), sv(m->info) };

	if (!who.user_id.len)
		return;
	if (m->is_here)
		shown_put(c, m->channel, &who, true);
	else
		shown_drop(c, m->channel, who.user_id);
	shown_answer_waiters(c, m, false);
}
