/* SPDX-License-Identifier: MIT */
#ifndef CORE_DIRECTORY_H
#define CORE_DIRECTORY_H
/*
 * What the workers share about channels: who has how many subscriptions, presence members,
 * the last event of cache channels, signed-in users.  Workers keep their own subscribers
 * (core/registry.h) and touch each other only through here and through mail.
 *
 * Locks: channels are spread over shards, each with one mutex held for a few microseconds,
 * never while a socket or a database is used.  Every message to a channel gets the channel's
 * next sequence number and is posted to the workers' mailboxes under the shard's lock, so all
 * workers see one order; a subscription remembers the number at its join and skips what was
 * posted before (it is in the roster or the cache it got).
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "core/event.h"
#include "core/log_page.h"
#include "wire/channel_name.h"
#include "wire/position.h"

struct directory;

#define DIRECTORY_MAX_WORKERS 64

/* Mail from the directory to one worker. */
enum mail_kind {
	MAIL_FRAME,	 /* frame to the subscribers of key */
	MAIL_CLOSE,	 /* close (4009) the subscribers of key */
	MAIL_CLOSE_USER, /* close (4009) who is on a presence channel as the user: key is app + id
			  */
	MAIL_LOG,	 /* page, for whoever asked with the token seq */
};

struct channel_mail {
	struct letter letter;
	enum mail_kind kind;
	struct msgbuf *key;    /* counted; see directory_key() */
	struct msgbuf *frame;  /* counted; a finished WebSocket frame, or NULL */
	struct event *event;   /* counted; whose deliveries to count, or NULL */
	struct log_page *page; /* counted; of MAIL_LOG */
	uint64_t seq;	       /* skip subscriptions that joined at or behind it */
	uint64_t exclude;      /* socket that must not get it; 0: none */
	struct directory *of;  /* who counts its bytes as waiting; outlives it */
};
void channel_mail_free(struct channel_mail *m);

struct directory_post {
	/* Puts l into the worker's mailbox (never refuses); true: it was empty, call wake. */
	bool (*put)(void *ctx, unsigned worker, struct letter *l);
	void (*wake)(void *ctx, unsigned worker);
	void *ctx;
};

/* post's functions are called from any thread, put under a shard's lock. */
struct directory *directory_new(unsigned n_workers, const struct directory_post *post) MUSTCHECK;
/*
 * Calls changed when the first connection of a user joins a presence channel or signs in
 * (is_here), and when, the grace over, the last one is gone: once for each of its channels.  Under
 * a shard's lock, from any thread: it must not call the directory.  Before the first join.
 */
void directory_watch_users(struct directory *d,
			   void (*changed)(void *ctx, struct app *app, struct str_view user_id,
					   bool is_here),
			   void *ctx);
/* All subscriptions must be gone or are forgotten. */
void directory_free(struct directory *d);
/* Time passes: members whose grace is over leave, caches expire, counts held back are sent.
 * Call every 100 to 500 ms from one thread. */
void directory_tick(struct directory *d, usec_t now);

/* The bytes that name a channel in maps and mail: the app's number, then the name. */
struct msgbuf *directory_key(const struct app *app, struct str_view channel) MUSTCHECK;

/* Channels that no client can name, for signed-in users: connections of a user; who watches one. */
#define INTERNAL_USER_PREFIX  "!user-"
#define INTERNAL_WATCH_PREFIX "!watch-"

struct directory_join {
	/* in */
	struct app *app;
	struct str_view channel;
	struct channel_traits traits;
	unsigned worker;
	uint64_t socket_id;
	struct str_view user_id;   /* presence only */
	struct str_view user_info; /* JSON text; empty when absent */
	bool wants_unlogged;
	/* out */
	struct msgbuf *key;    /* counted */
	uint64_t seq;	       /* what was posted up to here is in roster and cached */
	struct msgbuf *roster; /* counted; the presence data as JSON text, or NULL */
	struct event *cached;  /* counted; the cache channel's last event, or NULL */
	bool cache_unknown;    /* it has none, but the log may hold one from before the start */
	/* Every logged event of the channel up to here was posted before the join, and none above
	 * it. */
	uint64_t position;
	/* But for these: async events that were posted and have no serial up to position yet,
	 * oldest first; each counted, the array heap. */
	struct event **unlogged;
	unsigned n_unlogged;
};
/* Counts one more subscription in.  0, or -EDQUOT at the presence member limit (nothing changed).
 */
int directory_join(struct directory *d, struct directory_join *j) MUSTCHECK;
/* Counts it out again; the same app, channel, traits, worker and user_id as at the join. */
void directory_leave(struct directory *d, struct app *app, struct str_view channel,
		     struct channel_traits traits, unsigned worker, struct str_view user_id);
/* Whether a user of app is signed in on some connection (or left within the grace). */
bool directory_user_online(struct directory *d, const struct app *app, struct str_view user_id);

/*
 * How far the log was handed on to the workers.  The epoch is "" until directory_log_reached() was
 * called first.  Any thread.
 */
void directory_position(struct directory *d, struct position *out);
/* All of the log up to p was handed on, whether there was something to fan out or not. */
void directory_log_reached(struct directory *d, const struct position *p);
/* Sends the page to whoever asked; takes the reference.  Any thread. */
void directory_post_page(struct directory *d, unsigned worker, uint64_t token,
			 struct log_page *page);
/* What the log knows of a cache channel: its last event (referenced) and how long it is still
 * good, or NULL.  A newer one stays. */
void directory_cache_put(struct directory *d, struct app *app, struct str_view channel,
			 struct event *e, usec_t left);

/* Fan-out of an event on this node, from any thread.  Takes no reference of the caller's. */
void directory_fan_out(struct directory *d, struct event *e);
/*
 * True while so much mail waits for the workers that whoever publishes should be told to come
 * back: they deliver more slowly than events come in.  Any thread.
 */
bool directory_is_behind(struct directory *d);
#define DIRECTORY_MAIL_MAX_BYTES ((size_t)64 << 20)
/* A frame that is no event (client events): to all subscribers but exclude. */
void directory_send(struct directory *d, const struct app *app, struct str_view channel,
		    struct msgbuf *frame, uint64_t exclude);

struct channel_info {
	bool occupied;
	unsigned subscription_count;
	unsigned user_count; /* presence */
	bool has_cache;
	char *cache_data;     /* heap, when has_cache: the event's data */
	unsigned cache_ttl_s; /* seconds left */
	bool cache_unknown;   /* none here, but the log may hold one from before the start */
};
void channel_info_release(struct channel_info *i);
/* All zero when nobody is there.  Any thread. */
void directory_channel_info(struct directory *d, const struct app *app, struct str_view channel,
			    struct channel_info *out);
/* Calls fn for each occupied channel of app whose name starts with prefix, in no order; fn must not
 * call the directory. */
void directory_each_channel(struct directory *d, const struct app *app, struct str_view prefix,
			    void (*fn)(void *ctx, struct str_view channel,
				       unsigned subscription_count, unsigned user_count),
			    void *ctx);
/* Each member of a presence channel. */
void directory_each_member(struct directory *d, const struct app *app, struct str_view channel,
			   void (*fn)(void *ctx, struct str_view user_id), void *ctx);
/* Closes (4009) every connection of app that signed in as user_id or, when none did, that is on a
 * presence channel as that user.  Returns at once. */
void directory_terminate_user(struct directory *d, const struct app *app, struct str_view user_id);
#endif
