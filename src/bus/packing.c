/* SPDX-License-Identifier: MIT */
/* On the driver's thread; no state but that of the structs. */
#include <string.h>
#include "base/mem.h"
#include "bus/message.h"
#include "bus/packing.h"

#define VERSION_WORD "1"
#define HEAD_BYTES   48 /* of a payload, at most */
#define PARTS_MAX    64 /* senders whose message is not complete */
/* A message with the lengths of its fields. */
#define WHOLE_MAX (BUS_MESSAGE_MAX_BYTES + 256)

/* -- sending -- */

void bus_packer_init(struct bus_packer *p)
{
	*p = (struct bus_packer){ .number = 0 };
	strbuf_init(&p->text, BUS_PAYLOAD_MAX);
}

void bus_packer_release(struct bus_packer *p)
{
	strbuf_release(&p->text);
}

static void packer_begin(struct bus_packer *p, char word)
{
	strbuf_reset(&p->text);
	strbuf_addf(&p->text, VERSION_WORD " %u %c%llu ", p->number, word,
		    (unsigned long long)++p->count);
}

void bus_packer_flush(struct bus_packer *p)
{
	if (p->text.len)
		p->emit(p->ctx, strbuf_view(&p->text));
	strbuf_reset(&p->text);
}

/* Where text can be cut so that its first part has at most max bytes and whole characters. */
static size_t packer_cut(struct str_view text, size_t max)
{
	size_t n = max;

	if (text.len <= max)
		return text.len;
	while (n > max - 4 && ((unsigned char)text.ptr[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static void packer_add_parts(struct bus_packer *p, struct str_view message)
{
	for (bool is_first = true; message.len; is_first = false) {
		size_t n = packer_cut(message, BUS_PAYLOAD_MAX - HEAD_BYTES);

		packer_begin(p, is_first ? 'B' : n < message.len ? 'F' : 'G');
		strbuf_add(&p->text, message.ptr, n);
		bus_packer_flush(p);
		message = sv_skip(message, n);
	}
}

void bus_packer_add(struct bus_packer *p, struct str_view message)
{
	if (p->text.len && p->text.len + message.len > BUS_PAYLOAD_MAX)
		bus_packer_flush(p);
	if (message.len > BUS_PAYLOAD_MAX - HEAD_BYTES) {
		bus_packer_flush(p);
		packer_add_parts(p, message);
		return;
	}
	if (!p->text.len)
		packer_begin(p, 'M');
	strbuf_add(&p->text, message.ptr, message.len);
}

void bus_packer_log_grew(struct bus_packer *p)
{
	bus_packer_flush(p);
	strbuf_addf(&p->text, VERSION_WORD " %u L", p->number);
	bus_packer_flush(p);
}

/* -- receiving -- */

struct bus_parts {
	struct bus_parts *next;
	uint64_t sender;
	uint64_t count;	  /* of the last part */
	bool is_complete; /* its text was given to the caller */
	struct strbuf text;
};

static void unpacker_drop(struct bus_unpacker *u, struct bus_parts **at)
{
	struct bus_parts *gone = *at;

	*at = gone->next;
	u->n_parts--;
	strbuf_release(&gone->text);
	free(gone);
}

void bus_unpacker_release(struct bus_unpacker *u)
{
	while (u->parts)
		unpacker_drop(u, &u->parts);
}

static struct bus_parts **unpacker_find(struct bus_unpacker *u, uint64_t sender)
{
	struct bus_parts **at = &u->parts;

	while (*at && (*at)->sender != sender)
		at = &(*at)->next;
	return at;
}

static void unpacker_drop_of(struct bus_unpacker *u, uint64_t sender)
{
	struct bus_parts **at = unpacker_find(u, sender);

	if (*at)
		unpacker_drop(u, at);
}

/* A message that begins; NULL: there are too many senders. */
static struct bus_parts *unpacker_begin(struct bus_unpacker *u, uint64_t sender)
{
	struct bus_parts *p;

	if (u->n_parts >= PARTS_MAX)
		return NULL;
	p = xcalloc(1, sizeof(*p));
	p->next = u->parts;
	p->sender = sender;
	strbuf_init(&p->text, 0);
	u->parts = p;
	u->n_parts++;
	return p;
}

/* What the sender began is dropped when the next part of it is missing. */
static struct bus_parts *unpacker_continue(struct bus_unpacker *u, uint64_t sender, uint64_t count)
{
	struct bus_parts **at = unpacker_find(u, sender);

	if (*at && (*at)->count + 1 != count) {
		unpacker_drop(u, at);
		return NULL;
	}
	return *at;
}

/* The message that was given to the caller last. */
static void unpacker_drop_complete(struct bus_unpacker *u)
{
	struct bus_parts **at = &u->parts;

	while (*at && !(*at)->is_complete)
		at = &(*at)->next;
	if (*at)
		unpacker_drop(u, at);
}

/* word: B, F or G, and the count. */
static enum bus_news unpacker_take_part(struct bus_unpacker *u, uint64_t sender,
					struct str_view word, struct str_view part,
					struct str_view *messages)
{
	struct bus_parts *p;
	uint64_t count;

	if (!sv_to_u64(sv_skip(word, 1), UINT64_MAX, &count))
		return BUS_NEWS_NONE;
	p = word.ptr[0] == 'B' ? unpacker_begin(u, sender) : unpacker_continue(u, sender, count);
	if (p && part.len > WHOLE_MAX - p->text.len) {
		unpacker_drop_of(u, sender);
		p = NULL;
	}
	if (!p)
		return BUS_NEWS_NONE;
	strbuf_add(&p->text, part.ptr, part.len);
	p->count = count;
	if (word.ptr[0] != 'G')
		return BUS_NEWS_NONE;
	p->is_complete = true;
	*messages = strbuf_view(&p->text);
	return BUS_NEWS_MESSAGES;
}

enum bus_news bus_unpacker_take(struct bus_unpacker *u, struct str_view payload,
				struct str_view *messages)
{
	struct str_view version, number, word;
	uint64_t sender;

	*messages = SV("");
	unpacker_drop_complete(u);
	if (!sv_split(&payload, ' ', &version) || !sv_eq_c(version, VERSION_WORD) ||
	    !sv_split(&payload, ' ', &number) || !sv_to_u64(number, UINT32_MAX, &sender) ||
	    !sv_split(&payload, ' ', &word) || !word.len)
		return BUS_NEWS_UNKNOWN;
	switch (word.ptr[0]) {
	case 'J':
		return BUS_NEWS_JOINED;
	case 'L':
		return BUS_NEWS_LOG;
	case 'M':
		unpacker_drop_of(u, sender); /* its last part is missing */
		*messages = payload;
		return BUS_NEWS_MESSAGES;
	case 'B':
		unpacker_drop_of(u, sender);
		return unpacker_take_part(u, sender, word, payload, messages);
	case 'F':
	case 'G':
		return unpacker_take_part(u, sender, word, payload, messages);
	default:
		return BUS_NEWS_UNKNOWN;
	}
}
