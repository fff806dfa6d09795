/* SPDX-License-Identifier: MIT */
/*
 * Whether a user is online is read from the channel "!user-ID", and kept in "!watch-ID" as the
 * state that its subscribers have: a watcher who joins gets that state, and a message follows only
 * when it changes.  So for each watcher the first state is right, and online and offline alternate.
 *
 * The two channels may be in two shards, whose locks no thread holds at the same time.  So a change
 * is not passed on; the state is read again after it, and a state that was read earlier does not
 * replace it (user_state.seq), whichever thread is first.
 */
#include <string.h>
#include "base/mem.h"
#include "core/channels/users.h"

#define USER_PREFIX  "!user-"
#define WATCH_PREFIX "!watch-"

/* prefix + user_id; the caller releases it. */
static struct strbuf users_channel(const char *prefix, struct str_view user_id)
{
	struct strbuf name;

	strbuf_init(&name, 64);
	strbuf_add_str(&name, prefix);
	strbuf_add_sv(&name, user_id);
	return name;
}

/* Reads the user's state for the watchers; see directory_set_state(). */
static struct user_state users_read_state(struct directory *d, const struct app *app,
					  struct str_view user_id, bool has_joined)
{
	struct strbuf user = users_channel(USER_PREFIX, user_id);
	struct strbuf watch = users_channel(WATCH_PREFIX, user_id);
	const struct user_watched of = { app, strbuf_view(&watch), user_id, has_joined };
	struct user_state state;

	directory_user_state(d, app, strbuf_view(&user), &state);
	state = directory_set_state(d, &of, &state);
	strbuf_release(&user);
	strbuf_release(&watch);
	return state;
}

static void users_update_watchers(struct directory *d, const struct app *app,
				  struct str_view user_id)
{
	users_read_state(d, app, user_id, false);
}

/* Internal channels have no member limit, so the join cannot fail. */
static void users_join(struct directory *d, struct directory_join *j, const char *prefix)
{
	struct strbuf name = users_channel(prefix, j->user_id);

	j->channel = strbuf_view(&name);
	if (directory_join(d, j))
		abort();
	j->channel = channel_key_name(j->key);
	strbuf_release(&name);
}

void users_sign_in(struct directory *d, struct directory_join *j)
{
	j->traits = (struct channel_traits){ .is_presence = true };
	users_join(d, j, USER_PREFIX);
	if (j->is_new_member)
		users_update_watchers(d, j->app, j->user_id);
}

void users_watch(struct directory *d, struct directory_join *j)
{
	j->traits = (struct channel_traits){ 0 };
	users_join(d, j, WATCH_PREFIX);
	if (j->is_unknown && !directory_is_shared(d)) {
		struct user_state state = users_read_state(d, j->app, j->user_id, true);

		j->is_unknown = false;
		j->is_online = state.is_online;
		j->seq = state.seq;
	}
}

void users_leave(struct directory *d, const struct directory_leave *l)
{
	if (directory_leave(d, l) && sv_starts_with(l->channel, SV(USER_PREFIX)))
		users_update_watchers(d, l->app, l->user_id);
}

static bool users_is_user_channel(struct str_view channel)
{
	return sv_starts_with(channel, SV(USER_PREFIX));
}

void users_put(struct directory *d, struct app *app, struct str_view channel,
	       const struct directory_member *who, bool is_own)
{
	if (directory_put_member(d, app, channel, who, is_own) == PRESENCE_ADDED &&
	    users_is_user_channel(channel))
		users_update_watchers(d, app, who->user_id);
}

void users_drop(struct directory *d, struct app *app, struct str_view channel,
		struct str_view user_id)
{
	if (directory_drop_member(d, app, channel, user_id) == PRESENCE_REMOVED &&
	    users_is_user_channel(channel))
		users_update_watchers(d, app, user_id);
}

bool users_watched(struct str_view channel, struct strbuf *name)
{
	if (!sv_starts_with(channel, SV(WATCH_PREFIX)))
		return false;
	*name = users_channel(USER_PREFIX, sv_skip(channel, strlen(WATCH_PREFIX)));
	return true;
}

void users_set_known(struct directory *d, const struct app *app, struct str_view channel)
{
	users_update_watchers(d, app, sv_skip(channel, strlen(USER_PREFIX)));
}

bool users_is_online(struct directory *d, const struct app *app, struct str_view user_id)
{
	struct strbuf name = users_channel(USER_PREFIX, user_id);
	struct user_state state;

	directory_user_state(d, app, strbuf_view(&name), &state);
	strbuf_release(&name);
	return state.is_online;
}

void users_terminate(struct directory *d, const struct app *app, struct str_view user_id)
{
	directory_report_ended(d, app, user_id);
	directory_close_user(d, app, user_id);
}

void users_revoke(struct directory *d, const struct app *app, struct str_view user_id,
		  struct str_view patterns)
{
	directory_report_ended(d, app, user_id);
	directory_revoke(d, app, user_id, patterns);
}

void users_tick(struct directory *d, usec_t now)
{
	for (unsigned shard = 0; shard < DIRECTORY_SHARDS; shard++) {
		struct directory_gone *g = directory_tick_shard(d, shard, now), *next;

		for (; g; g = next) {
			next = g->next;
			users_update_watchers(d, g->app, sv(g->user_id));
			app_unref(g->app);
			free(g->user_id);
			free(g);
		}
	}
}
