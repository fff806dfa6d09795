/* SPDX-License-Identifier: MIT */
#ifndef TRACE_RECORDER_H
#define TRACE_RECORDER_H
/*
 * The flight recorder: the connections that are open on this node, those that have closed, and the
 * last steps of each, for operators.
 *
 * A delivery is no step, so it costs nothing here.  Entries of open connections always exist.  The
 * steps and the entries of closed connections have a common bound in bytes; the oldest closed
 * connection is forgotten first, then the oldest steps of the connection that has a new one.
 *
 * Any thread may call any function.  A recorder that is NULL records nothing.
 */
#include <stdatomic.h>
#include "base/clock.h"
#include "base/map.h"
#include "base/msgbuf.h"
#include "wire/address.h"

#define RECORDER_STEPS 100 /* of a connection */

enum step_kind {
	STEP_CONNECTED,
	STEP_SIGNED_IN,
	STEP_SIGNIN_REFUSED,
	STEP_AUTHORIZED, /* by the daemon, over HTTP */
	STEP_AUTHORIZE_REFUSED,
	STEP_SUBSCRIBED,
	STEP_SUBSCRIBE_REFUSED,
	STEP_REPLAYED,
	STEP_RESYNC,
	STEP_TOKEN_EXTENDED,
	STEP_UNSUBSCRIBED,
	STEP_SUBSCRIPTION_ENDED,
	STEP_CLIENT_EVENT,
	STEP_MESSAGE_REFUSED,
	STEP_PAUSED,
	STEP_SLOW,
	STEP_CLOSING, /* the daemon has sent its close frame */
	STEP_CLOSED,
	STEP_KINDS
};

struct recorder_step {
	enum step_kind kind;
	unsigned code;		 /* of the protocol, of HTTP, or of the close frame; 0: none */
	const char *app;	 /* the socket id came from elsewhere: no step of another app */
	struct str_view user_id; /* who requested an authorization; empty: no user */
	struct str_view channel; /* empty: none; like detail it is cut at 200 bytes */
	struct str_view detail;
};

struct recorded_step {
	struct recorded_step *next;
	usec_t at; /* wall; of the last time */
	enum step_kind kind;
	unsigned code;
	unsigned times; /* one after the other */
	unsigned short channel_len, detail_len;
	char text[]; /* the channel, then the detail */
};

struct recorded {
	uint64_t id;	 /* its bytes are the key in the map */
	uint64_t number; /* later connections have higher ones */
	char *app;
	char *user_id; /* signed in as, else the member or the user of an authorization; or NULL */
	unsigned char user_proof;
	struct address address;
	unsigned worker;
	unsigned close_code;		 /* 0: the connection ended without a close frame */
	usec_t connected_at, closed_at;	 /* wall; closed_at 0: it is open */
	const atomic_uint *outbox_bytes; /* NULL once it is closed */
	struct map channels; /* key -> struct msgbuf, see core/channel_key.h; when it closed: its
				last */
	struct recorded_step *first, *last;
	unsigned n_steps;
};

struct recorder;

/* max_bytes 0: there are entries of open connections only. */
struct recorder *recorder_new(size_t max_bytes) MUSTCHECK;
void recorder_free(struct recorder *r);

struct recorder_opening {
	uint64_t id;
	const char *app;
	struct address address;
	unsigned worker;
	const atomic_uint *outbox_bytes; /* until recorder_close() */
};
void recorder_open(struct recorder *r, const struct recorder_opening *o);
/* What follows it is ignored. */
void recorder_close(struct recorder *r, uint64_t id, unsigned code);
/* A step like the one before is counted there. */
void recorder_note(struct recorder *r, uint64_t id, const struct recorder_step *step);
/* Of several users the one with the better proof counts. */
enum recorder_proof { PROOF_AUTHORIZED = 1, PROOF_MEMBER, PROOF_SIGNED_IN };
void recorder_set_user(struct recorder *r, uint64_t id, struct str_view user_id,
		       enum recorder_proof proof);
void recorder_join(struct recorder *r, uint64_t id, struct msgbuf *key);
void recorder_leave(struct recorder *r, uint64_t id, struct str_view key);

/* Calls fn for the connection; false: there is none of this id.  fn runs under a shard's lock and
 * must not call the recorder. */
bool recorder_find(struct recorder *r, uint64_t id, void (*fn)(void *ctx, const struct recorded *c),
		   void *ctx);
/* The same for all, in no order. */
void recorder_each(struct recorder *r, void (*fn)(void *ctx, const struct recorded *c), void *ctx);
/* Removes the closed connections of a user, and the steps of those that are open. */
void recorder_forget_user(struct recorder *r, struct str_view app, struct str_view user_id);
/* For people and programs: "subscribe_refused". */
const char *step_name(enum step_kind kind);
#endif
