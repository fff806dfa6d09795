/* SPDX-License-Identifier: MIT */
/*
 * Nothing is kept here: the state is in the directory.  The watchers of a user are notified
 * without a lock, because their channel may be in any shard.
 */
#include <string.h>
#include "base/mem.h"
#include "core/channels/users.h"
#include "wire/pusher.h"

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

/* What the watchers of the user receive; one reference. */
static struct msgbuf *users_frame(struct str_view user_id, bool is_online)
{
	struct msgbuf *frame;
	struct strbuf b;

	strbuf_init(&b, 160);
	frame_watchlist(&b, is_online ? "online" : "offline", &user_id, 1);
	frame = ws_text_frame(strbuf_view(&b));
	strbuf_release(&b);
	return frame;
}

static void users_notify_watchers(struct directory *d, const struct app *app,
				  struct str_view user_id, bool is_online)
{
	struct strbuf name = users_channel(WATCH_PREFIX, user_id);
	struct msgbuf *frame = users_frame(user_id, is_online);

	directory_send(d, app, strbuf_view(&name), frame, 0);
	msgbuf_unref(frame);
	strbuf_release(&name);
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
		users_notify_watchers(d, j->app, j->user_id, true);
}

void users_watch(struct directory *d, struct directory_join *j)
{
	j->traits = (struct channel_traits){ 0 };
	users_join(d, j, WATCH_PREFIX);
}

void users_leave(struct directory *d, const struct directory_leave *l)
{
	if (directory_leave(d, l) && sv_starts_with(l->channel, SV(USER_PREFIX)))
		users_notify_watchers(d, l->app, l->user_id, false);
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
		users_notify_watchers(d, app, who->user_id, true);
}

void users_drop(struct directory *d, struct app *app, struct str_view channel,
		struct str_view user_id)
{
	if (directory_drop_member(d, app, channel, user_id) == PRESENCE_REMOVED &&
	    users_is_user_channel(channel))
		users_notify_watchers(d, app, user_id, false);
}

bool users_watched(struct str_view channel, struct strbuf *name)
{
	if (!sv_starts_with(channel, SV(WATCH_PREFIX)))
		return false;
	*name = users_channel(USER_PREFIX, sv_skip(channel, strlen(WATCH_PREFIX)));
	return true;
}

void users_set_known(struct directory *d, struct app *app, struct str_view channel)
{
	struct str_view user_id = sv_skip(channel, strlen(USER_PREFIX));
	struct strbuf name = users_channel(WATCH_PREFIX, user_id);
	struct msgbuf *frame = users_frame(user_id, users_is_online(d, app, user_id));

	directory_set_known(d, app, strbuf_view(&name), frame);
	msgbuf_unref(frame);
	strbuf_release(&name);
}

bool users_is_online(struct directory *d, const struct app *app, struct str_view user_id)
{
	struct strbuf name = users_channel(USER_PREFIX, user_id);
	struct channel_info info;

	directory_channel_info(d, app, strbuf_view(&name), &info);
	channel_info_release(&info);
	strbuf_release(&name);
	return info.user_count > 0;
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
			users_notify_watchers(d, g->app, sv(g->user_id), false);
			app_unref(g->app);
			free(g->user_id);
			free(g);
		}
	}
}
