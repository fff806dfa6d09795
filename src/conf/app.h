/* SPDX-License-Identifier: MIT */
#ifndef CONF_APP_H
#define CONF_APP_H
/*
 * An application: its key, secret and limits (protocol A8, Laravel's reverb apps, soketi's apps
 * table).  A snapshot is immutable and counted; a reload makes new ones.  What lives longer than
 * a snapshot (open connections, rate buckets) is in struct app_runtime, one per app id for the
 * life of the process, shared by all its snapshots.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"
#include "conf/webhooks.h"
#include "wire/auth.h"

enum durability { DURABILITY_COMMIT, DURABILITY_ASYNC, DURABILITY_NONE };
enum client_events { CLIENT_EVENTS_NONE, CLIENT_EVENTS_MEMBERS, CLIENT_EVENTS_ALL };

/* In every limit 0 means no limit. */
struct app_limits {
	unsigned max_connections;
	unsigned max_message_bytes;	  /* a WebSocket message */
	unsigned max_request_bytes;	  /* an HTTP body */
	unsigned max_event_payload_bytes; /* data of an event, of clients' too */
	unsigned max_channel_name_bytes;
	unsigned max_event_name_bytes;
	unsigned max_event_channels; /* in one trigger */
	unsigned max_batch_events;
	unsigned max_channels_per_connection;
	unsigned max_presence_members;
	unsigned max_presence_member_bytes;
	unsigned max_user_id_bytes;
	unsigned max_watchlist;
	unsigned max_client_events_per_second;	    /* a connection */
	unsigned max_backend_events_per_second;	    /* the app, HTTP */
	unsigned max_read_requests_per_second;	    /* the app, HTTP GET */
	unsigned max_user_requests_per_second;	    /* a user, sync API */
	unsigned max_user_bytes_per_second;	    /* a user, sync API */
	unsigned max_user_bytes_per_day;	    /* a user, sync API */
	unsigned max_all_users_requests_per_second; /* the app's users together, sync API */
	unsigned max_outbox_bytes;		    /* waiting for one slow socket */
	unsigned max_outbox_messages;
	unsigned max_replay_events; /* to one subscription */
	unsigned max_replay_age_s;
	/* Reverb's rate_limiting: messages a connection may send in a window. */
	bool message_rate;		    /* as configured; off sets max_attempts 0 */
	unsigned message_rate_max_attempts; /* 0: off */
	unsigned message_rate_decay_s;
	bool message_rate_terminate;
};

struct channel_rule {
	char *pattern; /* channel_pattern_match */
	enum durability durability;
};

struct app_runtime {
	unsigned number; /* small, unique, never used again: part of every channel's key */
	atomic_uint connections;
	/* token buckets of the HTTP API: see core/limit.h; the words are guarded there */
	_Atomic uint64_t backend_bucket, read_bucket, users_bucket;
	atomic_uint sync_calls; /* of the sync API, without an answer */
};

struct app {
	atomic_uint refs;
	char *id, *key;
	struct auth_secret *secret;
	char *secret_text; /* for HTTP Basic; never logged */
	/* Signs bearer tokens; made of the secret when it is not set.  Never logged. */
	char *token_secret_text;
	/* Accepted while a secret is replaced; "" when there is none.  Never logged. */
	char *previous_secret_text, *previous_token_secret_text;
	char *master_key_text;
	bool has_master_key; /* encrypted channels can be authorized */
	unsigned char master_key[AUTH_MASTER_KEY_BYTES];
	bool enabled;
	bool tls_only;
	char **allowed_origins; /* NULL-terminated patterns; NULL list: any */
	enum client_events client_events;
	bool user_authentication;
	bool subscription_count;
	unsigned activity_timeout_s; /* sent to clients */
	unsigned ping_interval_s;    /* silence before the server pings */
	unsigned pong_timeout_s;
	unsigned member_removed_delay_ms;
	unsigned cache_ttl_s;
	unsigned token_grace_s;
	enum durability durability;
	struct channel_rule *rules; /* first match wins */
	size_t n_rules;
	struct app_limits limits;
	struct webhook_list webhooks;
	char *auth_url; /* decides who may join, in place of the channel rules; "": none */
	struct app_runtime *runtime; /* not owned */
};

void app_unref(struct app *a); /* NULL is fine */
struct app *app_ref(struct app *a);
enum durability app_durability(const struct app *a, struct str_view channel);
/*
 * Origin header against allowed_origins, regardless of case.  A pattern without a scheme is held
 * against the host (with the port, if the pattern has one), one with a scheme against the whole
 * origin; '*' is wild.  A missing (empty) Origin is allowed.
 */
bool app_allows_origin(const struct app *a, struct str_view origin);

/* All apps of one moment; immutable, counted. */
struct app_set;
struct app_set *app_set_ref(struct app_set *s);
void app_set_unref(struct app_set *s);
/* Borrowed from s; NULL when there is none.  s may be NULL: a set without apps. */
struct app *app_set_by_key(const struct app_set *s, struct str_view key);
struct app *app_set_by_id(const struct app_set *s, struct str_view id);
size_t app_set_count(const struct app_set *s);
struct app *app_set_at(const struct app_set *s, size_t i);
/* The only app; NULL when there is none, or more than one. */
struct app *app_set_only(const struct app_set *s);

/*
 * The set lacks the applications of the table apps, which has not been read yet: one that it does
 * not have may exist.  Before apps_install().
 */
void app_set_mark_partial(struct app_set *s);
bool app_set_is_partial(const struct app_set *s); /* s may be NULL */

/* The set in force, or NULL before the first.  Any thread; the caller unrefs what it gets. */
struct app_set *apps_current(void) MUSTCHECK;
/* Swaps in a new set (takes the reference); NULL for none. */
void apps_install(struct app_set *s);
#endif
