/* SPDX-License-Identifier: MIT */
/*
 * Members are owned by the map of their channel; the list of those in their grace only links
 * them.  A member is in that list exactly while leaving_at is set.
 */
#include <errno.h>
#include "base/mem.h"
#include "base/str.h"
#include "core/channels/presence.h"

void presence_init(struct presence *p, bool is_shared)
{
	*p = (struct presence){ .is_shared = is_shared };
	map_init(&p->members);
}

static void presence_free_user(struct presence_user *m)
{
	free(m->user_id);
	free(m->info);
	free(m);
}

void presence_release(struct presence *p)
{
	struct presence_user *m;
	size_t at = 0;

	while ((m = map_next(&p->members, &at)))
		presence_free_user(m);
	map_release(&p->members);
	msgbuf_unref(p->roster);
}

static void presence_forget_roster(struct presence *p)
{
	msgbuf_unref(p->roster);
	p->roster = NULL;
}

/* The member has connections again, or is removed. */
static void presence_end_grace(struct presence_leaving *leaving, struct presence_user *m)
{
	if (m->prev)
		m->prev->next = m->next;
	else
		leaving->first = m->next;
	if (m->next)
		m->next->prev = m->prev;
	m->leaving_at = 0;
}

static void presence_set_shown(struct presence_user *m, bool is_shown)
{
	if (m->is_shown == is_shown)
		return;
	m->is_shown = is_shown;
	m->presence->n_shown += is_shown ? 1 : -1U;
	presence_forget_roster(m->presence);
}

static struct presence_user *presence_add(struct presence *p, const struct presence_joining *who)
{
	struct presence_user *m = xcalloc(1, sizeof(*m));

	m->presence = p;
	m->user_id = sv_dup(who->user_id);
	m->info = who->info.len ? sv_dup(who->info) : NULL;
	map_put(&p->members, sv(m->user_id), m);
	return m;
}

/* Frees an entry that nothing needs any more. */
static void presence_prune(struct presence_user *m)
{
	if (m->connections || m->leaving_at || m->is_shown)
		return;
	map_del(&m->presence->members, sv(m->user_id));
	presence_free_user(m);
}

int presence_join(struct presence *p, struct presence_leaving *leaving,
		  const struct presence_joining *who, unsigned max, enum presence_change *change)
{
	struct presence_user *m = map_get(&p->members, who->user_id);
	bool is_back = m && m->leaving_at;

	if (!m && max && p->n_shown >= max)
		return -EDQUOT;
	if (is_back)
		presence_end_grace(leaving, m);
	*change = PRESENCE_SAME;
	if (is_back && !sv_eq(who->info, sv(m->info))) {
		*change = PRESENCE_REPLACED;
		if (!p->is_shared) {
			presence_remove(m);
			m = presence_add(p, who);
		}
	} else if (!m || (!m->connections && !is_back)) {
		*change = PRESENCE_ADDED;
		if (!m)
			m = presence_add(p, who);
	} else if (is_back && p->is_shared) {
		*change = PRESENCE_BACK;
	}
	m->connections++;
	m->lost_until = 0;
	if (!p->is_shared)
		presence_set_shown(m, true);
	return 0;
}

enum presence_change presence_leave(struct presence *p, struct presence_leaving *leaving,
				    struct str_view user_id, usec_t now, usec_t grace)
{
	struct presence_user *m = map_get(&p->members, user_id);

	if (!m)
		return PRESENCE_SAME;
	if (grace)
		m->lost_until = now + grace;
	if (--m->connections)
		return PRESENCE_SAME;
	if (m->lost_until <= now) {
		presence_remove(m);
		return PRESENCE_REMOVED;
	}
	m->leaving_at = m->lost_until;
	m->prev = NULL;
	m->next = leaving->first;
	if (m->next)
		m->next->prev = m;
	leaving->first = m;
	return PRESENCE_LEAVING;
}

struct presence_user *presence_leaving_expired(struct presence_leaving *leaving, usec_t now)
{
	struct presence_user *expired = NULL, **end = &expired, *m = leaving->first, *next;

	for (; m; m = next) {
		next = m->next;
		if (m->leaving_at > now)
			continue;
		presence_end_grace(leaving, m);
		m->next = NULL;
		*end = m;
		end = &m->next;
	}
	return expired;
}

void presence_remove(struct presence_user *m)
{
	m->connections = 0;
	m->leaving_at = 0;
	m->is_held = false;
	if (!m->presence->is_shared)
		presence_set_shown(m, false);
	presence_prune(m);
}

enum presence_change presence_show(struct presence *p, const struct presence_joining *who,
				   bool is_own)
{
	struct presence_user *m = map_get(&p->members, who->user_id);
	enum presence_change change = PRESENCE_SAME;

	if (!m)
		m = presence_add(p, who);
	if (!sv_eq(who->info, sv(m->info))) {
		free(m->info);
		m->info = who->info.len ? sv_dup(who->info) : NULL;
		presence_forget_roster(p);
		change = PRESENCE_REPLACED;
	}
	if (!m->is_shown)
		change = PRESENCE_ADDED;
	if (is_own && (m->connections || m->leaving_at))
		m->is_held = true;
	presence_set_shown(m, true);
	return change;
}

enum presence_change presence_hold(struct presence *p, const struct presence_joining *who)
{
	struct presence_user *m = map_get(&p->members, who->user_id);

	if (!m || !m->is_shown)
		return presence_show(p, who, true);
	m->is_held = m->connections || m->leaving_at;
	return PRESENCE_SAME;
}

enum presence_change presence_hide(struct presence *p, struct str_view user_id)
{
	struct presence_user *m = map_get(&p->members, user_id);

	if (!m || !m->is_shown || m->is_held)
		return PRESENCE_SAME;
	presence_set_shown(m, false);
	presence_prune(m);
	return PRESENCE_REMOVED;
}

bool presence_is_held(const struct presence *p, struct str_view user_id)
{
	const struct presence_user *m = map_get(&p->members, user_id);

	return m && m->is_held;
}

struct msgbuf *presence_roster(struct presence *p)
{
	struct strbuf b;
	struct presence_user *m;
	size_t at;
	const char *sep = "";

	if (p->roster)
		return msgbuf_ref(p->roster);
	strbuf_init(&b, 64 + (size_t)p->n_shown * 64);
	strbuf_add_str(&b, "{\"presence\":{\"ids\":[");
	for (at = 0; (m = map_next(&p->members, &at));) {
		if (!m->is_shown)
			continue;
		strbuf_add_str(&b, sep);
		strbuf_add_json(&b, sv(m->user_id));
		sep = ",";
	}
	strbuf_add_str(&b, "],\"hash\":{");
	for (at = 0, sep = ""; (m = map_next(&p->members, &at));) {
		if (!m->is_shown)
			continue;
		strbuf_add_str(&b, sep);
		strbuf_add_json(&b, sv(m->user_id));
		strbuf_add_c(&b, ':');
		strbuf_add_str(&b, m->info ? m->info : "null");
		sep = ",";
	}
	strbuf_addf(&b, "},\"count\":%u}}", p->n_shown);
	p->roster = msgbuf_from(strbuf_view(&b));
	strbuf_release(&b);
	return msgbuf_ref(p->roster);
}
