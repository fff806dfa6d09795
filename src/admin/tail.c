/* SPDX-License-Identifier: MIT */
/*
 * A stream is one watcher.  Its parts are requested on the http thread of the admin listener, and
 * given by the thread on which something happens.
 */
#include "base/mem.h"
#include "trace/live_tail.h"
#include "admin/query.h"
#include "admin/tail.h"

struct tail_stream {
	struct reply_stream base; /* first */
	struct tail_watcher *watcher;
};

/* Any thread. */
static void tail_on_text(void *ctx, struct strbuf *text, bool is_end)
{
	struct tail_stream *s = ctx;

	s->base.part(&s->base, text, is_end ? STREAM_ENDS : STREAM_GOES_ON);
}

static void tail_next(struct reply_stream *base)
{
	tail_watcher_next(((struct tail_stream *)base)->watcher);
}

static void tail_release(struct reply_stream *base)
{
	struct tail_stream *s = (struct tail_stream *)base;

	tail_watcher_free(s->watcher);
	free(s);
}

/* False: the list has another word. */
static bool tail_read_kinds(struct str_view list, unsigned *kinds)
{
	struct str_view word;

	*kinds = list.len ? 0 : TAIL_ALL;
	while (sv_split(&list, ',', &word)) {
		if (sv_eq(word, SV("event")))
			*kinds |= TAIL_EVENT;
		else if (sv_eq(word, SV("refusal")))
			*kinds |= TAIL_REFUSAL;
		else if (sv_eq(word, SV("connection")))
			*kinds |= TAIL_CONNECTION;
		else
			return false;
	}
	return true;
}

void admin_tail(const struct admin_services *s, struct request *r, uint64_t token)
{
	struct tail_filter filter = { .app = request_param(r, "app"),
				      .user = request_param(r, "user"),
				      .channel = request_param(r, "channel"),
				      .event = request_param(r, "event"),
				      .owner = token };
	struct reply reply = { .status = 200, .content_type = "text/event-stream" };
	struct tail_stream *stream;

	if (!tail_read_kinds(request_param(r, "kinds"), &filter.kinds)) {
		admin_query_refuse(r, 400, "invalid_request",
				   SV("\"kinds\" is a list of event, refusal and connection, with "
				      "commas between them."));
		return;
	}
	stream = xcalloc(1, sizeof(*stream));
	stream->base.next = tail_next;
	stream->base.release = tail_release;
	stream->watcher = tail_watcher_new(s->live_tail, &filter, tail_on_text, stream);
	if (!stream->watcher) {
		free(stream);
		admin_query_refuse(r, 503, "too_many_tails",
				   SV("16 live tails are open already: close one."));
		return;
	}
	reply_add_header(&reply, "Cache-Control", SV("no-store"));
	strbuf_init(&reply.body, 0);
	reply.stream = &stream->base;
	request_reply_full(r, &reply);
}
