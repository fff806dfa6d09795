/* SPDX-License-Identifier: MIT */
/* Here a report only changes what this node knows of its own member, and puts it into the queue of
 * those that cluster/submit.h sends; a change of another node is applied at once. */
#include <string.h>
#include "base/macros.h"
#include "base/mem.h"
#include "cluster/intake.h"
#include "cluster/shown.h"
#include "core/channels/users.h"

#define COUNT_US USEC_PER_SEC /* between two counts of a channel that is occupied */

static void intake_take_watch(struct cluster *c, const struct inbox_item *item)
{
	struct strbuf name;
	struct followed *of;

	if (!users_watched(item->channel, &name))
		return;
	of = follow_get(&c->follow, item->app, strbuf_view(&name));
	of->is_watched = of->is_answer_due = item->report == MEMBER_WATCHED;
	if (of->is_watched && of->is_known && !of->must_read && !c->is_partial)
		shown_answer_watchers(c, of);
	else if (of->is_watched)
		follow_read_later(&c->follow, of);
	shown_prune(c, of);
	strbuf_release(&name);
}

/* The number of subscriptions here is in the next call. */
void intake_count(struct cluster *c, struct own_member *m)
{
	struct app *app = shown_app(c, m->channel);
	unsigned n = app ? directory_count_own(c->directory, app, m->channel->name, true) : 0;
	char text[STR_U64_SIZE];

	str_u64(text, n);
	follow_set_info(m, sv(text));
	m->is_here = n > 0;
	m->counted_at = m->lost_at = clock_mono();
	follow_enqueue(&c->follow, m);
}

/* The first and the last subscription are reported at once, what is between them from time to time.
 */
static void intake_take_count(struct cluster *c, const struct inbox_item *item)
{
	struct followed *of = follow_get(&c->follow, item->app, item->channel);
	struct own_member *m = follow_member(of, SV(""));
	struct app *app = shown_app(c, of);
	usec_t now = clock_mono();

	if (app && m->is_here && m->counted_at + COUNT_US > now &&
	    directory_count_own(c->directory, app, of->name, false))
		follow_delay(&c->follow, m, now + COUNT_US);
	else
		intake_count(c, m);
}

static void intake_take_report(struct cluster *c, const struct inbox_item *item)
{
	struct followed *of;
	struct own_member *m;

	if (item->report == MEMBER_COUNTED) {
		intake_take_count(c, item);
		return;
	}
	if (item->report == MEMBER_WATCHED || item->report == MEMBER_UNWATCHED) {
		intake_take_watch(c, item);
		return;
	}
	of = follow_get(&c->follow, item->app, item->channel);
	m = follow_member(of, item->user_id);
	m->max = item->max;
	if (item->report != MEMBER_LEAVING && (item->report != MEMBER_WAITS || !m->is_here))
		follow_set_info(m, item->info);
	m->is_here = item->report != MEMBER_LEFT;
	m->is_leaving = item->report == MEMBER_LEAVING;
	m->lost_at = clock_mono() - item->waited;
	if (item->token) {
		struct own_waiter *w = xmalloc(sizeof(*w));

		*w = (struct own_waiter){ m->waiters, item->worker, item->token };
		m->waiters = w;
	}
	follow_enqueue(&c->follow, m);
}

static void intake_take_change(struct cluster *c, const struct inbox_item *item)
{
	struct followed *of = follow_find(&c->follow, item->app, item->channel);
	struct change change;

	if (of && change_read(item->data, &change))
		shown_apply(c, of, &change);
}

void intake_run(struct cluster *c)
{
	struct mailbox_entry *e = inbox_take(&c->inbox), *next;

	for (; e; e = next) {
		struct inbox_item *item = CONTAINER_OF(e, struct inbox_item, entry);

		next = e->next;
		if (item->kind == INBOX_REPORT && item->report == MEMBER_CACHED) {
			cache_store_add(&c->cache, item);
			continue;
		}
		if (item->kind == INBOX_REPORT)
			intake_take_report(c, item);
		else
			intake_take_change(c, item);
		inbox_item_free(&c->inbox, item);
	}
	if (atomic_exchange(&c->has_missed, false))
		c->compare_at = 0;
}
