/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSION_PRIVATE_H
#define CORE_SESSION_PRIVATE_H
/* Shared by hub.c, session.c, session_proto.c and outbox.c only. */
#include "core/catch_up.h"
#include "core/outbox.h"
#include "core/session.h"

#define WHEEL_SLOTS   256 /* seconds */
#define SCRATCH_BYTES 65536

struct session {
	/* touched by every delivery */
	void *conn;
	uint64_t id;
	struct outbox outbox;
	bool is_dirty;		/* in hub->dirty */
	bool is_closing;	/* no more sending */
	bool is_opened;		/* counted in */
	bool is_pinged;		/* waits for an answer */
	bool is_receiving_junk; /* the rest of a message that is refused */
	/* the rest */
	struct hub *hub;
	struct app *app;
	struct map subscriptions;     /* channel name -> struct subscription */
	struct catch_up *catching_up; /* those of its subscriptions */
	struct session *next_dirty;
	struct session *prev, *next;		 /* all sessions of the hub */
	struct session *wheel_prev, *wheel_next; /* of one second */
	uint32_t due_s, seen_s, pinged_s;	 /* hub seconds */
	uint64_t client_event_bucket, message_bucket;
	struct strbuf message;		   /* fragments so far; ptr NULL when idle */
	char *user_id;			   /* signed in as; NULL before */
	char *user_info;		   /* JSON text or NULL */
	struct subscription *user_channel; /* core/users.h; NULL before sign-in */
	struct map watches;		   /* user id -> struct subscription; core/users.h */
};

struct hub {
	struct hub_conf conf;
	struct registry registry;
	struct session *sessions; /* newest first */
	struct session *dirty;
	struct session *wheel[WHEEL_SLOTS];
	uint32_t now_s; /* seconds since the hub's start */
	usec_t now;	/* monotonic, of the last tick */
	usec_t started;
	bool is_batch;
	uint32_t next_number;
	struct hub_stats stats;
	struct map catch_ups; /* token -> struct catch_up */
	uint64_t last_token;
	unsigned n_ahead;	/* of them, that wait for this node's position */
	struct strbuf text;	/* of the frame being made */
	unsigned char *scratch; /* MSGBUF_HEADROOM + SCRATCH_BYTES */
};

/* outbox side of a session; false when the session was cut off. */
bool session_send(struct session *s, struct msgbuf *frame);
void session_flush(struct session *s);
/* Makes the JSON text in hub->text a frame and sends it. */
void session_send_text(struct session *s);
void session_error(struct session *s, enum pusher_code code, struct str_view message);
/* pusher:error, then a close with that code. */
void session_refuse(struct session *s, enum pusher_code code, const char *message);
/* code: an enum pusher_code, or one of RFC 6455 section 7.4. */
void session_close(struct session *s, unsigned code, const char *reason);
/* One whole message. */
void session_handle(struct session *s, struct str_view message);
void session_leave(struct session *s, struct subscription *sub) RUNS_ON(on_worker);
void session_leave_all(struct session *s) RUNS_ON(on_worker);
void hub_schedule(struct hub *h, struct session *s, uint32_t due_s);
#endif
