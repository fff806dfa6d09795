/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_SESSION_PRIVATE_H
#define CORE_SESSIONS_SESSION_PRIVATE_H
/*
 * A session and its hub, for the files that work on them.  Each of these files calls only those
 * before it: session_out, liveness, catch_up, client_event, signin, session_proto, session, hub.
 */
#include "core/sessions/catch_up.h"
#include "core/sessions/hub.h"
#include "core/sessions/outbox.h"
#include "core/sessions/registry.h"
#include "core/sessions/session.h"

#define WHEEL_SLOTS   256 /* one second each */
#define SCRATCH_BYTES 65536

struct signing_in;

/* Requests to the log and pages that are not sent yet, of one session. */
#define CATCH_UP_PAGES 2

/* A request to the log that has no answer yet. */
struct page_request {
	uint64_t token; /* its bytes are the key in the hub's map; 0: free */
	struct session *session;
	struct catch_up
		*catch_up; /* NULL: it ended or went live; the slot is in use until the answer */
	struct log_ticket *ticket;
};

/* What a session has while subscriptions of it catch up, or a request of one has no answer. */
struct catching_up {
	struct session *session;
	struct catching_up *prev, *next;   /* of the hub */
	struct catch_up *list, **list_end; /* in the order of their subscriptions */
	struct page_request requests[CATCH_UP_PAGES];
	unsigned n_pages;    /* that are not sent yet */
	unsigned bytes;	     /* of pages, held frames and unlogged events */
	unsigned n_held;     /* frames */
	unsigned held_bytes; /* their part of bytes */
	usec_t moved;	     /* monotonic: the socket took something, or nothing waited */
};

/* A subscription to a presence channel of a cluster, or a sign-in, that has not succeeded yet. */
struct join_wait {
	struct join_wait *prev, *next; /* of the hub, the oldest first */
	uint64_t token;		       /* its bytes are the key in the hub's map */
	usec_t until;		       /* monotonic */
	struct subscription *subscription;
	struct catch_up_request request; /* its texts are was */
	char *was, *info;		 /* heap or NULL */
	struct signing_in *signing_in;	 /* heap; NULL: a subscription of the client */
};

/* Access that ended a moment ago: an authorization from before does not give it again. */
struct ended_access {
	struct ended_access *next;
	uint64_t at;	/* microseconds since 1970 */
	char *patterns; /* of channels, with spaces between them; heap */
};

struct session {
	/* used by every delivery */
	void *conn; /* of session_io */
	uint64_t id;
	struct outbox outbox;
	bool is_dirty;		/* in hub->dirty */
	bool is_closing;	/* nothing is sent any more */
	bool is_opened;		/* counted with its app and the node */
	bool is_pinged;		/* a pong is due */
	bool is_receiving_junk; /* the rest of a message that was refused */
	bool is_pusher_js;	/* see session_sends_plain() */
	bool is_closed_by_client;
	bool is_closing_here;	   /* the daemon closed it first */
	unsigned short close_code; /* of the close frame that was first; 0: none */
	/* the rest */
	struct hub *hub;
	struct app *app;
	struct map subscriptions;	 /* channel name -> struct subscription */
	struct ended_access *ended;	 /* the newest first */
	struct address_count *address;	 /* core/limit.h; NULL: not counted */
	struct catching_up *catching_up; /* NULL: all subscriptions are live */
	struct session *next_dirty;
	struct session *paused_prev, *paused_next;
	bool is_paused;				 /* in hub->paused: not read */
	struct session *prev, *next;		 /* all sessions of the hub */
	struct session *wheel_prev, *wheel_next; /* in one slot of the wheel */
	uint32_t due_s;				 /* hub seconds; 0: not in the wheel */
	uint32_t seen_s, pinged_s;		 /* hub seconds: last sign of life, last ping */
	usec_t pinged_at;			 /* mono, of the real clock: for METRIC_PING_PONG */
	uint64_t client_event_bucket, message_bucket; /* core/limit.h */
	struct strbuf message;			      /* fragments so far; ptr NULL when idle */
	uint64_t notified_exp;		   /* the latest exp that the client was notified of */
	char *user_id;			   /* signed in as; NULL before */
	char *user_info;		   /* JSON text or NULL */
	struct subscription *user_channel; /* core/channels/users.h; NULL before sign-in */
	struct map watches; /* user id -> struct subscription; core/channels/users.h */
};

#define HUB_WRITTEN_MAX 128

struct hub_written {
	usec_t published_at, delivered_at; /* wall; delivered_at 0: it is not in the log */
	unsigned n;			   /* connections */
};

/* Everything is its worker's own. */
struct hub {
	struct hub_conf conf;
	struct registry registry;
	struct session *sessions; /* newest first */
	struct session *dirty;	  /* with frames that hub_flush() writes */
	struct session *paused;	  /* not read until hub_resume() */
	struct session *wheel[WHEEL_SLOTS];
	uint32_t now_s; /* seconds since the hub's start: "hub seconds" */
	usec_t now;	/* monotonic, of the last tick */
	usec_t started; /* monotonic */
	bool is_batch;	/* between hub_begin() and hub_flush() */
	unsigned n_sessions;
	/* of the messages since hub_flush(); since is monotonic */
	struct load_amount unwritten;
	usec_t unwritten_since;
	struct map page_requests; /* token -> struct page_request */
	uint64_t last_token;
	struct map joins; /* token -> struct join_wait */
	struct join_wait *first_join, *last_join;
	struct catching_up *catching_up; /* list: those of its sessions */
	unsigned n_timed;		 /* catch-ups that hub_tick() may continue */
	struct strbuf text;		 /* of the frame that is being built */
	/* events of the batch, whose times are observed when it was written */
	struct hub_written written[HUB_WRITTEN_MAX];
	unsigned n_written;
	struct msgbuf *ping;	/* what a silent client receives; see ws_ping_frames() */
	unsigned char *scratch; /* MSGBUF_HEADROOM + SCRATCH_BYTES */
};
#endif
