/* SPDX-License-Identifier: MIT */
#ifndef API_SYNC_CALL_H
#define API_SYNC_CALL_H
/*
 * The sync API: /api/sync/..., the same under /apps/{id}/sync/... for SDKs that sign, and
 * /broadcasting/....  One table (sync_table.c) says for each method and path who may call and what
 * is done; what is done is a struct sync_action of a file h_sync_RESOURCE.c: the fields that are
 * taken, and the statement that gets them.
 *
 * A call lives from its request to its reply.  It is begun on a transport's thread and goes on
 * on the database pool's; only one has it at a time.
 */
#include "base/annotate.h"
#include "base/clock.h"
#include "api/call.h"
#include "pg/pool.h"

#define SYNC_EXTRA_MAX	2
#define SYNC_FIELDS_MAX (PG_POOL_PARAMS_MAX - 2 - SYNC_EXTRA_MAX)

enum field_type {
	FIELD_TEXT, /* a string of min to max bytes */
	FIELD_ID,   /* a string, or an integer taken as its digits; 1 to max (or 64) bytes */
	FIELD_INT,  /* min to max; both 0: any */
	FIELD_USER, /* a user's id: 1 to 2^63 - 1; for a user, its own if it is not given */
	FIELD_BOOL,
	FIELD_TIME,    /* RFC 3339, with an offset or Z */
	FIELD_JSON,    /* any JSON, passed on as text */
	FIELD_OBJECT,  /* of JSON, passed on as text */
	FIELD_ARRAY,   /* JSON of at most max (or 1000) members */
	FIELD_STRINGS, /* JSON array of at most max (or 100) strings; in a query, between commas */
	FIELD_CHANNEL, /* a channel's full name */
	FIELD_SOCKET,  /* a socket id */
	FIELD_CHOICE,  /* one of choices */
};

enum { FIELD_REQUIRED = 1 };

struct sync_field {
	const char *name;
	enum field_type type;
	unsigned flags;
	int64_t min, max;
	const char *choices;  /* "online|away|busy" */
	const char *fallback; /* when it is not given; NULL: SQL's NULL */
};

struct sync_call;

struct sync_action {
	const struct sync_field *fields; /* placeholders of the path first, in their order */
	size_t n_fields;
	/*
	 * $1 the app's id, $2 the caller (jsonb: {"server":true} or {"id","name","avatar",
	 * "roles"}), $3 and on the fields, as text or NULL.  Gives one row: status, body.
	 * A function refuses with sync_fail() (0011_sync.sql).
	 */
	struct pg_statement statement;
	/* Instead of the statement; it must end in one of the replies below. */
	void (*run)(struct sync_call *c);
};

enum { BY_SERVER = 1, BY_USER = 2, BY_BOTH = 3 };

struct sync_route {
	const char *method;
	const char *path; /* behind the mount; {} is a segment */
	unsigned rights;
	const struct sync_action *action;
};

extern const struct sync_route sync_routes[];
extern const size_t n_sync_routes;

struct sync_caller {
	unsigned right;	 /* BY_SERVER or BY_USER */
	int64_t user_id; /* of a user */
	char *json;	 /* as $2; heap */
};

struct sync_call {
	struct request *r;
	const struct http_services *services;
	const struct sync_route *route;
	struct app *app; /* counted */
	struct sync_caller caller;
	char *values[SYNC_FIELDS_MAX]; /* of the action's fields; NULL: not given.  Heap. */
	/* Copies of headers: the reply is made on another thread. */
	char *origin, *if_none_match;
	bool takes_gzip, is_head;
	bool is_signed;	      /* below /apps/{id}/sync/ */
	struct pg_pool *pool; /* where its statement runs */
	/* What predicates said of channels, as members of a JSON object. */
	struct strbuf asked;
	unsigned n_asked;
	const char *extra[SYNC_EXTRA_MAX]; /* settings for the statement, behind the fields */
	unsigned n_extra;		   /* set by the action's run; not owned */
};

/* Answers what /api/sync and /broadcasting are asked; path is without the prefix. */
void sync_handle(struct call *c, struct str_view path);
bool sync_owns_path(struct str_view path);

/* The value of a field of the call's action, by name; NULL: not given, or no such field. */
const char *sync_value(const struct sync_call *c, const char *name);

/*
 * Asks the action's statement and replies what it says; when require_channel() in it has to know
 * what predicates say, asks for that and then again.
 */
void sync_run_statement(struct sync_call *c);
/* The same, of another pool than the API's. */
void sync_run_statement_on(struct sync_call *c, struct pg_pool *pool);
/* Replies what a statement of the same form (status, body) gave. */
void sync_reply_answer(struct sync_call *c, const struct pg_answer *a);
/*
 * Replies JSON, with ETag and 304 for GET, gzip where the caller takes it, CORS.  body is
 * released.  Frees the call, as all replies do.
 */
void sync_reply(struct sync_call *c, unsigned status, struct strbuf *body);
/* Replies a body in parts, as lines of JSON.  Not over TLS. */
void sync_reply_stream(struct sync_call *c, struct reply_stream *stream);
/* {"error":{"code","message","field"?}}; field may be NULL. */
void sync_fail(struct sync_call *c, unsigned status, const char *code, const char *field,
	       const char *fmt, ...) PRINTF_LIKE(5, 6);

/* Asks whether the caller, a user, may join the channel. */
void sync_ask_channel(struct sync_call *c, const char *channel, authorize_done *done);
/* Replies that there is no verdict, and why. */
void sync_fail_unasked(struct sync_call *c, const struct authorize_answer *a);

/* Reads the call's fields into values; false: answered 400.  For sync.c. */
bool sync_read_fields(struct sync_call *c, const struct str_view *path_args);
/* Who calls; false: answered 401 or 403, and c is gone.  For sync.c. */
bool sync_identify(struct sync_call *c, struct str_view path, struct str_view signed_app);
#endif
