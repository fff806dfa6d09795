/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_CATCH_UP_PRIVATE_H
#define CORE_SESSIONS_CATCH_UP_PRIVATE_H
/*
 * A catch-up, for the files that work on it.  Each of these files calls only those before it:
 * catch_up_requests, catch_up_state, catch_up_live, catch_up_pages, catch_up.
 *
 * Memory: pages, held frames and unlogged events count as the outbox does, so a session never keeps
 * more than max_outbox_bytes.  Of these, a quarter is for pages; replayed frames fill a quarter of
 * the outbox; held frames have a half, so that going live cannot overflow the outbox.
 *
 * Every catch-up ends in catch_up_go_live() or catch_up_drop(), which free it; in STAGE_SENT it
 * stays for FOLLOW_US after it went live.  Functions here that send may have ended it when they
 * return.  All of it runs on the session's worker.
 */
#include "core/sessions/session-private.h"

/* A frame that arrived before the subscription was live. */
struct held_frame {
	struct held_frame *next;
	struct msgbuf *frame;
	struct event *event; /* counted; NULL: the frame is no event */
};

enum catch_up_stage {
	STAGE_AHEAD,  /* waits until this node reaches the client's position */
	STAGE_EVENTS, /* reads and sends missed events */
	STAGE_CACHED, /* reads the last event of a cache channel */
	STAGE_END,    /* waits until this node reaches the end of the log, as it is now */
	STAGE_SENT,   /* is live, and leaves out the last event, which was sent */
};

struct catch_up {
	struct session *session;
	struct subscription *sub;
	struct catch_up **link, *next; /* of the session; link points here */
	struct page_request *request;  /* NULL: none is under way */
	enum catch_up_stage stage;
	bool is_in_log; /* STAGE_AHEAD, STAGE_END: the log is there, this node may not be */
	usec_t began;	/* monotonic */
	struct position since;
	struct position now;			/* the log at the join */
	char *was;				/* the client's earlier socket ids, or NULL */
	uint64_t read_to;			/* all events up to this serial are in a page */
	uint64_t sent_to;			/* and up to this one in the outbox */
	uint64_t to;				/* the replay ends here */
	unsigned n_events;			/* sent */
	bool is_first;				/* no page was requested yet */
	struct log_page *pages[CATCH_UP_PAGES]; /* oldest first */
	unsigned n_pages, chunk;		/* chunk: of pages[0], the next to send */
	unsigned excluded; /* index in pages[0]->excluded: the first of this chunk or a later one */
	unsigned n_own;	   /* events of pages[0] that were left out */
	struct held_frame *held, **held_end;
	struct event **unlogged; /* counted */
	unsigned n_unlogged, unlogged_bytes;
	struct event *cached;			/* counted, or NULL */
	bool is_cache_unknown, is_cache_shared; /* of directory_join */
	bool must_reach_end;			/* of the log, before it has succeeded */
	struct msgbuf *roster;			/* counted, or NULL; until it has succeeded */
	bool may_follow;			/* of the page that cached was read from */
	bool is_replayed;			/* what the client missed was sent */
};

static inline struct str_view catch_up_channel(const struct catch_up *u)
{
	return subscription_channel(u->sub);
}

/* ---- catch_up_requests.c ---- */

/* What the session may keep in memory: the application's max_outbox_bytes, never 0. */
unsigned catch_up_cap_bytes(const struct session *s);
/* The session's; makes it when there is none. */
struct catching_up *catching_up_of(struct session *s);
/* The caller made sure that a slot is free. */
struct page_request *page_request_begin(struct catch_up *u);
/* The answer has come: the slot is free. */
void page_request_end(struct page_request *r);
/* The answer is not needed; the slot stays in use until it comes.  NULL is fine. */
void page_request_abandon(struct page_request *r);
bool catching_up_has_slot(const struct catching_up *c);
/* Uses free slots.  Called when a function that may have freed one is done. */
void catch_up_continue(struct session *s);

/* ---- catch_up_state.c ---- */

void catch_up_set_stage(struct catch_up *u, enum catch_up_stage stage);
struct catch_up *catch_up_new(struct session *s, struct subscription *sub,
			      const struct catch_up_request *req, const struct position *now);
/* From now on the subscription receives frames itself. */
void catch_up_detach(struct catch_up *u);
/* NULL: none is left. */
struct held_frame *catch_up_take_held(struct catch_up *u);
void held_frame_free(struct held_frame *h);
/* The first page was sent, or is not needed any more. */
void catch_up_drop_page(struct catch_up *u);
/* It is detached. */
void catch_up_free(struct catch_up *u);

/* ---- catch_up_live.c ---- */

extern const char *const catch_up_reasons[]; /* of a resync; index: enum log_outcome */
/* Whether an event that excludes the socket is not for this client: it is the session's, or that of
 * an earlier connection. */
bool catch_up_is_excluded(const struct catch_up *u, uint64_t socket);
/* A frame of the channel that came as a message; event: it is counted as delivered; or NULL. */
void catch_up_send_frame(struct session *s, struct msgbuf *frame, struct event *event)
	RUNS_ON(on_worker);
void catch_up_send_succeeded(struct session *s, const struct subscription *sub,
			     const struct msgbuf *roster, const struct position *p)
	RUNS_ON(on_worker);
/* Goes live; a cache channel gets its last event first, which may have to be read, unless that is
 * among those that were held. */
void catch_up_begin_live(struct catch_up *u) RUNS_ON(on_worker);
/*
 * A cache channel in a cluster, whose events are logged: the subscription begins where the log
 * ended when it was requested, or, unless is_reached, with what this node had then.
 */
void catch_up_succeed(struct catch_up *u, bool is_reached) RUNS_ON(on_worker);
/* All events up to u->to were sent: scopewire:replayed, then as catch_up_begin_live(). */
void catch_up_end_replay(struct catch_up *u) RUNS_ON(on_worker);
/* The replay is not possible: scopewire:resync, then the same. */
void catch_up_resync(struct catch_up *u, const char *reason) RUNS_ON(on_worker);

/* ---- catch_up_pages.c ---- */

/* Continues a catch-up whose position this node has reached, or has not reached in time. */
void catch_up_check_ahead(struct catch_up *u, const struct position *now);
#endif
