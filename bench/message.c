/* SPDX-License-Identifier: MIT */
/* The event that is measured: written by the publisher, checked byte by byte by the subscriber. */
#include "message.h"

#define DATA_HEAD   "\"data\":\"{\\\"m\\\":\\\"@"
#define DATA_MIDDLE "@\\\",\\\"pad\\\":\\\""
#define DATA_TAIL   "\\\"}\""
#define DATA_FIXED  (sizeof("{\"m\":\"@@\",\"pad\":\"\"}") - 1)

/* The padding never changes: made once. */
static const char *padding(void)
{
	static char pad[MESSAGE_SIZE_MAX];

	if (pad[0] != 'x')
		memset(pad, 'x', sizeof(pad));
	return pad;
}

static size_t write_mark(const struct message *m, char out[80])
{
	return (size_t)snprintf(out, 80, "%u.%u.%u.%llu", m->publisher, m->channel, m->seq,
				(unsigned long long)m->due_ns);
}

void message_data(const struct message *m, size_t size, struct bytes *out)
{
	char mark[80];
	size_t n = write_mark(m, mark);

	bytes_addf(out, "{\"m\":\"@%s@\",\"pad\":\"", mark);
	bytes_add(out, padding(), size - DATA_FIXED - n);
	bytes_add(out, "\"}", 2);
}

void message_body(const struct message *m, const char *channel, size_t size, struct bytes *out)
{
	char mark[80];
	size_t n = write_mark(m, mark);

	bytes_addf(out,
		   "{\"name\":\"" MESSAGE_EVENT "\",\"channels\":[\"%s\"]," DATA_HEAD
		   "%s" DATA_MIDDLE,
		   channel, mark);
	bytes_add(out, padding(), size - DATA_FIXED - n);
	bytes_add(out, DATA_TAIL "}", sizeof(DATA_TAIL "}") - 1);
}

void message_whisper(const struct message *m, const char *channel, size_t size, struct bytes *out)
{
	char mark[80];
	size_t n = write_mark(m, mark);

	bytes_addf(out,
		   "{\"event\":\"" MESSAGE_WHISPER "\",\"channel\":\"%s\"," DATA_HEAD
		   "%s" DATA_MIDDLE,
		   channel, mark);
	bytes_add(out, padding(), size - DATA_FIXED - n);
	bytes_add(out, DATA_TAIL "}", sizeof(DATA_TAIL "}") - 1);
}

static bool has(const char *p, size_t len, const char *what)
{
	return memmem(p, len, what, strlen(what)) != NULL;
}

bool message_is_event(const char *p, size_t len)
{
	return has(p, len, "\"event\":\"" MESSAGE_EVENT "\"") ||
	       has(p, len, "\"event\":\"" MESSAGE_WHISPER "\"");
}

/* Digits up to the byte `end`; moves *p to the byte after it. */
static bool read_number(const char **p, const char *stop, char end, uint64_t *out)
{
	const char *start = *p;

	for (*out = 0; *p < stop && **p >= '0' && **p <= '9'; (*p)++)
		*out = *out * 10 + (uint64_t)(**p - '0');
	if (*p == start || *p == stop || **p != end)
		return false;
	(*p)++;
	return true;
}

static bool expect(const char **p, const char *stop, const char *what, size_t len)
{
	if ((size_t)(stop - *p) < len || memcmp(*p, what, len) != 0)
		return false;
	*p += len;
	return true;
}

bool message_read(const char *p, size_t len, const char *channel, size_t size, struct message *out)
{
	const char *stop = p + len;
	const char *at = memmem(p, len, DATA_HEAD, sizeof(DATA_HEAD) - 1);
	const char *mark;
	uint64_t publisher, number, seq;
	char name[256];

	snprintf(name, sizeof(name), "\"channel\":\"%s\"", channel);
	if (!at || !message_is_event(p, len) || !has(p, len, name))
		return false;
	at += sizeof(DATA_HEAD) - 1;
	mark = at;
	if (!read_number(&at, stop, '.', &publisher) || !read_number(&at, stop, '.', &number) ||
	    !read_number(&at, stop, '.', &seq) || !read_number(&at, stop, '@', &out->due_ns))
		return false;
	at--;
	out->publisher = (uint32_t)publisher;
	out->channel = (uint32_t)number;
	out->seq = (uint32_t)seq;
	size -= DATA_FIXED + (size_t)(at - mark);
	return expect(&at, stop, DATA_MIDDLE, sizeof(DATA_MIDDLE) - 1) &&
	       expect(&at, stop, padding(), size) &&
	       expect(&at, stop, DATA_TAIL, sizeof(DATA_TAIL) - 1);
}
