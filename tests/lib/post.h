/* SPDX-License-Identifier: MIT */
#ifndef TESTS_POST_H
#define TESTS_POST_H
/*
 * Workers' mailboxes without workers: what the directory sends to a worker stays in its box until
 * the test takes it.  One post a program, as one directory.
 */
#include <stdatomic.h>
#include "base/mem.h"
#include "core/channels/directory.h"

#define FAKE_POST_WORKERS 4

static struct {
	struct mailbox boxes[FAKE_POST_WORKERS];
	struct mailbox_entry *taken[FAKE_POST_WORKERS]; /* from the box, not yet returned */
	atomic_uint wakes;
	struct directory *keeps_up; /* see fake_post_keep_up() */
} fake_post;

static inline bool fake_post_put(void *ctx UNUSED, unsigned worker, struct mailbox_entry *e)
{
	const struct worker_message *m = CONTAINER_OF(e, struct worker_message, entry);
	const struct load_amount all = { .messages = 1,
					 .frames = m->frames,
					 .bytes = worker_message_bytes(m) };

	if (fake_post.keeps_up && m->frames)
		worker_loads_written(directory_loads(fake_post.keeps_up), worker, &all,
				     clock_mono(), clock_mono());
	return mailbox_put_owed(&fake_post.boxes[worker], e) > 0;
}

static inline void fake_post_wake(void *ctx UNUSED, unsigned worker UNUSED)
{
	atomic_fetch_add(&fake_post.wakes, 1);
}

/* A directory that sends to the fake post.  Free it after fake_post_drop(). */
static inline struct directory *fake_post_directory(unsigned workers)
{
	const struct directory_post post = { .put = fake_post_put, .wake = fake_post_wake };

	for (unsigned i = 0; i < FAKE_POST_WORKERS; i++)
		mailbox_init(&fake_post.boxes[i], 0);
	return directory_new(workers, &post);
}

/*
 * What is put into a box counts as written from now on, so the workers are never behind.  For one
 * channel: messages of one channel come one after the other.
 */
static inline void fake_post_keep_up(struct directory *d)
{
	fake_post.keeps_up = d;
}

/* One subscription of worker 0 to a public channel of app. */
static inline void fake_post_subscribe(struct directory *d, struct app *app, const char *channel)
{
	struct directory_join j = { .app = app, .channel = sv(channel), .socket_id = 1 };
	int rc = directory_join(d, &j);

	if (rc)
		abort();
	msgbuf_unref(j.key);
}

/* The worker's next message, for worker_message_free(), or NULL. */
static inline struct worker_message *fake_post_next(unsigned worker)
{
	struct mailbox_entry *e = fake_post.taken[worker];

	if (!e)
		e = mailbox_take(&fake_post.boxes[worker]);
	if (!e)
		return NULL;
	fake_post.taken[worker] = e->next;
	return CONTAINER_OF(e, struct worker_message, entry);
}

/* Frees all messages that wait; their number. */
static inline unsigned fake_post_drop(void)
{
	struct worker_message *m;
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_POST_WORKERS; i++)
		while ((m = fake_post_next(i))) {
			worker_message_free(m);
			n++;
		}
	return n;
}

static inline void fake_post_release(void)
{
	fake_post_drop();
	for (unsigned i = 0; i < FAKE_POST_WORKERS; i++)
		mailbox_release(&fake_post.boxes[i]);
}

/* The JSON text inside the message's frame. */
static inline struct str_view fake_post_text(const struct worker_message *m)
{
	struct str_view f = msgbuf_view(m->frame);
	unsigned char n = (unsigned char)f.ptr[1];

	return sv_skip(f, n == 127 ? 10 : n == 126 ? 4 : 2);
}
#endif
