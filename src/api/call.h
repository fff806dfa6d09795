/* SPDX-License-Identifier: MIT */
#ifndef API_CALL_H
#define API_CALL_H
/*
 * One call of the HTTP API: what the router knows of it, and what a handler works with.
 *
 * A Pusher route has a handler that gets struct call, which is on the router's stack: a handler
 * that replies later copies what it needs.  A route of the sync API or of /broadcasting has a
 * struct sync_action: fields, which are read and checked before anything is done, and a SQL
 * function that gets them.  Its struct sync_call is on the heap and lives until its reply, because
 * the database's answer arrives on another thread.  Only one thread has it at a time.
 *
 * Every call is replied to exactly once.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/str.h"
#include "base/user_id.h"
#include "conf/app.h"
#include "conf/conf.h"
#include "pg/pool.h"
#include "wire/channel_name.h"
#include "wire/position.h"
#include "api/request.h"
#include "api/verdicts.h"

struct admission;
struct directory;
struct health;
struct live_tail;
struct idempotency;
struct presence_db;
struct publisher;
struct quotas;
struct sockets;
struct reader;
struct recorder;
struct socket_ties;

/* What handlers work with; all of it outlives the transports. */
struct api_services {
	const struct conf *conf; /* server.path, server.demo, server.demo_dir, sync */
	struct directory *directory;
	const struct health *health; /* for /ready */
	struct publisher *publisher;
	struct admission *admission; /* of publishes; NULL: all are admitted */
	struct pg_pool *pool;	     /* of the sync API */
	struct idempotency *once;    /* publishes with an idempotency key */
	struct reader *replay;	     /* reads the log; NULL without a database */
	struct log_tail *tail;	     /* the same */
	struct presence_db *presence;
	struct socket_ties *ties;
	struct authorizer *authorizer; /* channel rules */
	struct app_auth *app_auth;     /* the auth_url of applications */
	struct quotas *quotas;
	struct sockets *sockets;     /* open connections */
	struct recorder *recorder;   /* their steps; NULL: not recorded */
	struct live_tail *live_tail; /* NULL: there is no watcher */
};

/* ---- routes --------------------------------------------------------------- */

/* Who may call; BY_SERVER and BY_USER can be combined. */
enum {
	BY_ANYONE = 0,
	BY_SERVER = 1, /* an application's server */
	BY_USER = 2,   /* a user of an application */
	BY_BOTH = BY_SERVER | BY_USER,
	BY_LOCAL = 4, /* server.demo is on, and the client is on this machine */
};

enum rate {
	RATE_NONE,
	RATE_READ,    /* one of max_read_requests_per_second */
	RATE_EVENT,   /* one of max_backend_events_per_second */
	RATE_HANDLER, /* the handler counts the events with rates_take_events() */
};

struct call;
struct sync_action;

/* Has either a handler or an action. */
struct route {
	const char *method;
	/* {name} is a segment, {name...} all the rest */
	const char *path;
	unsigned rights;
	enum rate rate;
	void (*handle)(struct call *c);
	struct sync_action *action;
	const char *help; /* for --print-routes */
};

/* ---- a call ---------------------------------------------------------------- */

#define CALL_ARGS_MAX 2

struct caller {
	unsigned kind; /* BY_SERVER, BY_USER, or 0 on a public route */
	struct user_key user;
	char user_id[USER_ID_SIZE]; /* of a user; "": no user */
	usec_t token_expires;	    /* wall; of a user */
	char *user_json;	    /* {"id","name","avatar","roles"} of a user, or NULL; heap */
};

struct call {
	struct request *r;
	const struct api_services *services;
	const struct route *route; /* NULL until it is found */
	struct str_view path;	   /* without server.path */
	struct str_view app_id;	   /* of /apps/{id}/: the query is signed.  Empty elsewhere. */
	struct app *app;	   /* counted; NULL on public routes.  Ref it to keep it. */
	struct caller caller;
	struct str_view
		arg[CALL_ARGS_MAX]; /* values of the path's placeholders after the app's id */
	/* Below /api/sync/, /apps/{id}/sync/ and /broadcasting/: errors are JSON, CORS applies. */
	bool is_sync;
	struct str_view origin; /* the Origin header, if is_sync */
	/* call_client(), once it was read.  NULL: it is read from the headers, which a reply on
	 * another thread must not do: the server may free them at its stop. */
	const struct client_address *client;
};

/* Drops what the call holds. */
void call_release(struct call *c);

/* Who makes the request, behind trusted proxies. */
struct client_address call_client(const struct call *c);
/* Whether the request has credentials of the scheme, good or not: they are in *rest. */
bool call_has_scheme(const struct call *c, const char *scheme, struct str_view *rest);
/* The client uses TLS, or is on this machine, where no one can listen in. */
bool call_is_secure(const struct call *c);
/* server.demo is on and the client is on this machine, not behind a proxy on it. */
bool call_may_demo(const struct call *c);

/* ---- actions of the sync API -------------------------------------------------- */

/* Settings that a function takes after the fields. */
#define SYNC_EXTRA_MAX 2
/* The function's first two parameters are the app's id and the caller. */
/* After all others come, for writes, the position, the idempotency key and the digest of the call.
 */
#define SYNC_FIELDS_MAX (PG_POOL_PARAMS_MAX - 5 - SYNC_EXTRA_MAX)

enum field_type {
	FIELD_TEXT, /* a string of min to max bytes */
	FIELD_ID,   /* a string, or an integer taken as its digits; 1 to max (or 64) bytes */
	FIELD_INT,  /* min to max; both 0: any */
	FIELD_USER, /* a user's id; for a user, its own if it is not given */
	FIELD_BOOL,
	FIELD_TIME,    /* RFC 3339, with an offset or Z */
	FIELD_JSON,    /* any JSON, passed on as text */
	FIELD_OBJECT,  /* of JSON, passed on as text */
	FIELD_ARRAY,   /* JSON of at most max (or 1000) members */
	FIELD_STRINGS, /* JSON array of at most max (or 100) strings; in a query, comma-separated */
	FIELD_CHANNEL, /* a channel's full name */
	FIELD_SOCKET,  /* a socket id */
	FIELD_CHOICE,  /* one of choices */
};

enum {
	FIELD_REQUIRED = 1,
	FIELD_OWN = 2,	     /* of FIELD_SOCKET: a user's own connection, which is open */
	FIELD_OPEN = 8,	     /* of FIELD_SOCKET: an open one, also for the server */
	FIELD_ANY_USER = 16, /* of FIELD_USER: also another user's, and none if it is not given */
	FIELD_EACH = 4,	     /* of FIELD_ARRAY: its items fail one by one; see api/batch_body.h */
};

struct sync_field {
	const char *name;
	enum field_type type;
	unsigned flags;
	int64_t min, max;
	const char *choices;  /* "online|away|busy" */
	const char *fallback; /* when it is not given; NULL: SQL's NULL */
};

/* A field's value.  An action with a handler has an enum of its fields to find it by. */
struct sync_value {
	char *text; /* as the function gets it; NULL: not given.  Heap. */
	union {
		/* FIELD_INT, not of a fallback; how many FIELD_ARRAY, FIELD_STRINGS have */
		int64_t number;
		uint64_t socket_id;	       /* FIELD_SOCKET */
		struct channel_traits channel; /* FIELD_CHANNEL */
	};
};

struct sync_call;

struct sync_action {
	const struct sync_field *fields; /* the path's placeholders first, in their order */
	size_t n_fields;
	/*
	 * Its parameters: the app's id, the caller (jsonb: {"server":true} or {"id","name",
	 * "avatar","roles"}), the fields, the settings.  Gives one row: status, body, and
	 * columns that are not read.  It refuses with sync_fail() of SQL.
	 */
	const char *function;
	unsigned n_extra;
	/* The function can be called again when its connection broke: it reads only, or a second
	 * call changes nothing. */
	bool is_repeatable;
	/* Its answer is about the log and has a position of its own. */
	bool has_position;
	/* The function evaluates predicates of channel rules: it runs on their connections. */
	bool runs_predicates;
	/* Instead of calling the function; must end in a reply. */
	void (*run)(struct sync_call *sc);
	/* The function gave a status below 300; called before the reply.  NULL: nothing to do. */
	void (*done)(const struct sync_call *sc);
	/* SELECT * FROM function($1, ...), and the same with an idempotency key (writes only): made
	 * by statement_prepare(), constant afterwards. */
	struct pg_statement statement, keyed;
	bool writes; /* set by statement_prepare() */
};

struct sync_call {
	struct call call; /* app and caller are owned; arg, path and app_id are not valid */
	struct sync_value values[SYNC_FIELDS_MAX]; /* of the action's fields */
	struct client_address client;
	char *origin, *if_none_match; /* copies of headers, or NULL */
	bool takes_gzip;
	bool is_signed;	      /* below /apps/{id}/sync/ */
	bool wants_serial;    /* "Prefer: wait" */
	unsigned status;      /* of the answer in body, while its event's serial is requested */
	struct strbuf body;   /* empty until then */
	char *key;	      /* the idempotency key as it is stored, or NULL; heap */
	char *digest;	      /* with a key: of the request, in hex; heap */
	bool is_repeat;	      /* the answer is the stored one of this key */
	struct pg_pool *pool; /* the statement's */
	/* The log's, from before anything was read or written.  Epoch "": not known. */
	struct position position;
	struct verdicts verdicts;	   /* of channel rules, so far; for require_channel() */
	const char *extra[SYNC_EXTRA_MAX]; /* set by the action's run; not owned */
};

/* A call that continues after the router has returned; takes what from holds. */
struct sync_call *sync_call_new(struct call *from) MUSTCHECK;
void sync_call_free(struct sync_call *sc);
/* The caller as a function's parameter. */
const char *sync_caller_json(const struct sync_call *sc);
#endif
