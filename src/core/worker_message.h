/* SPDX-License-Identifier: MIT */
#ifndef CORE_WORKER_MESSAGE_H
#define CORE_WORKER_MESSAGE_H
/*
 * Messages from the directory to the workers, and the count of their bytes until they are freed.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/mailbox.h"
#include "core/event.h"
#include "core/log_page.h"
#include "base/worker_load.h"

enum worker_message_kind {
	MESSAGE_FRAME,	      /* write frame to the subscribers of key */
	MESSAGE_CLOSE_USER,   /* close (4009) the connections that are signed in or on a presence
				 channel as the user; key is the app and the user's id */
	MESSAGE_CLOSE_SOCKET, /* the same for the connection with the id seq */
	MESSAGE_REVOKE,	      /* end the user's subscriptions that match patterns; key as above */
	MESSAGE_END_GRANT,    /* end the subscriptions of the grant seq */
	MESSAGE_LOG_PAGE,     /* page answers the log request with the token seq */
	MESSAGE_JOINED,	      /* the subscription with the token seq does not wait any more */
	MESSAGE_JOIN_REFUSED, /* the same; the channel has too many members */
};

struct worker_message {
	struct mailbox_entry entry;
	enum worker_message_kind kind;
	struct msgbuf *key;	 /* counted; see core/channel_key.h */
	struct msgbuf *frame;	 /* counted; a complete WebSocket frame, or NULL */
	struct event *event;	 /* counted; the event whose deliveries are counted, or NULL */
	struct msgbuf *patterns; /* counted; of MESSAGE_REVOKE: between spaces */
	struct log_page *page;	 /* counted; of MESSAGE_LOG_PAGE */
	uint64_t seq;		 /* subscriptions with the same or a higher seq skip it */
	uint64_t exclude;	 /* id of the connection that does not get it; 0: none */
	unsigned frames;	 /* that it is written as; see base/worker_load.h */
	atomic_size_t *bytes;	 /* where its bytes are counted; outlives it */
};

/* How messages get into the workers' mailboxes.  Called from any thread. */
struct directory_post {
	/* Puts e into the worker's mailbox and never refuses.  True: the mailbox was empty, so wake
	 * must be called.  Called under a shard's lock. */
	bool (*put)(void *ctx, unsigned worker, struct mailbox_entry *e);
	void (*wake)(void *ctx, unsigned worker);
	void *ctx;
};

/* The way to all workers. */
struct worker_messages {
	struct directory_post post;
	atomic_size_t bytes; /* of messages that are not freed yet */
	struct worker_loads loads;
};

/* Any thread may call these. */

void worker_messages_init(struct worker_messages *w, const struct directory_post *post,
			  unsigned workers);
void worker_messages_release(struct worker_messages *w);
/* Takes m over.  True: the caller must wake the worker, outside of a shard's lock. */
bool worker_messages_put(struct worker_messages *w, unsigned worker, struct worker_message *m)
	MUSTCHECK;
/* Wakes the workers whose bits are set. */
void worker_messages_wake(struct worker_messages *w, uint64_t workers);
/* Puts m and wakes the worker if needed. */
void worker_messages_send(struct worker_messages *w, unsigned worker, struct worker_message *m);
void worker_message_free(struct worker_message *m);
/* Of a message with frames; the others do not count as load. */
size_t worker_message_bytes(const struct worker_message *m);
#endif
