/* SPDX-License-Identifier: MIT */
#ifndef HTTP_SERVER_PRIVATE_H
#define HTTP_SERVER_PRIVATE_H
/*
 * What the files of this folder share: the server, its connections and their requests.
 *
 * A request begins when its request line is complete, collects its body, is passed to the router,
 * and ends when its reply was sent or its connection broke, and the router has replied.  So it has
 * two references: the connection's, until conn_on_completed(), and the router's, until the reply.
 *
 * The reply may be made during the router's call, right after it on another thread, or much later.
 * req->phase decides which thread continues; the second of the two acts.
 *
 *   RUNNING -> REPLIED             the reply was made before the suspension took effect
 *   RUNNING -> WAITING -> REPLIED  the replying thread has the connection resumed
 *   WAITING -> DROPPED             the server stops; a late reply is discarded
 *   RUNNING -> DROPPED             the same, when nothing may be suspended any more
 *
 * A stream goes through the same for each of its parts: RUNNING while it is requested, REPLIED when
 * the part is there.
 */
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/thread.h"
#include "http/deadlines.h"
#include "http/loop.h"
#include "http/server.h"

/* This thread holds the lock of the server whose thread it is. */
extern struct TSA(capability("mutex")) http_lock_held {
	char unused;
} http_lock_held;

struct http_server {
	struct MHD_Daemon *mhd; /* of the http thread, once that runs */
	bool is_announced;	/* conn_on_connection() got the one that is being added; likewise */
	bool is_tls;		/* of the one that is being added; likewise */
	struct address_count *adopting; /* of the connection that is being added */
	struct http_loop *loop;
	const struct api_services *services;
	struct http_server_conf conf;
	struct deadlines *deadlines;
	struct MHD_Response *empty_object; /* "{}": the reply to most publishes */
	atomic_uint connections;
	atomic_uint busy; /* requests between the router's call and their end */
	/* resumptions that are due or being posted: the loop must outlive them */
	atomic_uint resumptions;
	atomic_bool is_stopping;
	pthread_mutex_t lock;
	pthread_cond_t changed;			 /* busy became 0 */
	bool is_closed OWNED_BY(http_lock_held); /* nothing may be suspended any more */
	struct http_request *waiting OWNED_BY(http_lock_held); /* suspended ones */
};

struct http_conn {
	struct deadline deadline;
	struct http_server *server;
	struct http_request *request; /* being received, or NULL; changed without a deadline only */
	struct address peer;
	bool is_tls, is_unix;
	struct address_count *address; /* or NULL */
};

enum http_phase { RUNNING, WAITING, REPLIED, DROPPED };

enum progress {
	IN_HEADERS, /* the request line is complete */
	IN_BODY,
	ROUTED, /* the router was called */
};

#define HTTP_METHOD_SIZE 16

struct http_request {
	struct request base; /* first */
	struct http_server *server;
	struct http_conn *conn;
	struct MHD_Connection *mhd;	  /* valid while the connection has its reference */
	struct loop_call resumption;	  /* while it is suspended the connection stays */
	struct http_request *next, *prev; /* in server->waiting */
	usec_t started;			  /* monotonic; the request line is complete */
	atomic_uint refs;
	atomic_int phase;
	enum progress progress;
	bool is_waiting;  /* in server->waiting; of the http thread */
	bool is_too_long; /* the target has too many parameters */
	bool has_bad_path;
	bool has_body;
	struct address_count *address; /* of the client behind a proxy, or NULL */
	_Atomic(const char *) origin;  /* header of a request whose body is to come, or NULL */
	size_t body_limit;
	struct strbuf body;
	struct reply reply;	     /* once REPLIED */
	struct reply_stream *stream; /* or NULL */
	struct strbuf part;	     /* of the stream, while REPLIED; sent up to part_at */
	size_t part_at;
	enum stream_end end; /* of that part */
	size_t unread;	     /* of the reply or the part, and counted; not read by the client yet */
	char method[HTTP_METHOD_SIZE];
	char target[];
};

/* request.c */
void http_lock(struct http_server *s) TSA(acquire_capability(http_lock_held));
void http_unlock(struct http_server *s) TSA(release_capability(http_lock_held));
/* Suspends the connection until phase leaves RUNNING.  False: the server is closed. */
bool http_suspend(struct http_request *req) RUNS_ON(on_http);
/* The connection is not suspended any more. */
void http_suspend_end(struct http_request *req) RUNS_ON(on_http);
/* Has a waiting connection resumed.  Any thread; of another than the http thread it is the last
 * access to the server. */
void http_resume(struct http_request *req);
/* Any thread. */
void http_request_unref(struct http_request *req);

/* False: it may change something, and its address has not read too many answers already. */
bool http_may_route(const struct http_request *req) RUNS_ON(on_http);
/* Counts n bytes that the client is to read, instead of those before.  False: its address has too
 * many; never for a request that may have changed something. */
bool http_take_unread(struct http_request *req, size_t n) RUNS_ON(on_http);
void http_give_unread(struct http_request *req) RUNS_ON(on_http);
/* Counts a request that is being answered. */
void http_count(const struct http_request *req, unsigned status);
/* headers.c */
void http_add_headers(struct http_server *s, const struct reply *reply,
		      struct MHD_Response *response);
void http_add_header(struct MHD_Response *response, const char *name, const char *value);

/* conn.c: libmicrohttpd's callbacks, on the http thread. */
void conn_on_connection(void *cls, struct MHD_Connection *mhd, void **ctx,
			enum MHD_ConnectionNotificationCode code);
void *conn_on_target(void *cls, const char *target, struct MHD_Connection *mhd);
enum MHD_Result conn_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
				const char *method, const char *version, const char *upload,
				size_t *upload_len, void **ctx);
void conn_on_completed(void *cls, struct MHD_Connection *mhd, void **ctx,
		       enum MHD_RequestTerminationCode code);
/* A request did not arrive in time: responds with 408. */
void conn_on_deadline(struct deadline *d) RUNS_ON(on_http_deadlines);
/* refusal.c */
/* Responds now, on the bare socket, and closes.  code is for paths whose errors are JSON. */
enum MHD_Result http_refuse(struct http_request *req, const char *status_line, const char *code,
			    const char *sentence) RUNS_ON(on_http);
/* reply.c */
/* The client's address has not read too many answers: 503. */
enum MHD_Result http_refuse_unread(struct http_request *req) RUNS_ON(on_http);
/* struct request's send: any thread. */
void http_reply(struct request *r, struct reply *reply);
/* After the router's call: sends the reply, or suspends the connection until there is one. */
enum MHD_Result http_reply_or_suspend(struct http_request *req) RUNS_ON(on_http);
/* The connection was resumed: sends the reply, or 503 because the server stops. */
enum MHD_Result http_reply_resumed(struct http_request *req) RUNS_ON(on_http);
enum MHD_Result http_reply_stopping(struct http_request *req) RUNS_ON(on_http);
/* stream.c */
/* Sends the reply's stream. */
enum MHD_Result http_stream_send(struct http_request *req) RUNS_ON(on_http);
#endif
