/* SPDX-License-Identifier: MIT */
/* Answers of a server of Redis to CLUSTER SLOTS, as hiredis reads them. */
#include "bus/redis_map.h"
#include "fuzz.h"

#define DIGITS_MAX 4

/* hiredis allocates an array as its head states; bus/redis_link.c has a limit for that. */
static bool fuzz_is_small(struct str_view input)
{
	size_t digits = 0;

	for (size_t i = 0; i < input.len; i++) {
		digits = input.ptr[i] >= '0' && input.ptr[i] <= '9' ? digits + 1 : 0;
		if (digits > DIGITS_MAX)
			return false;
	}
	return true;
}

static void fuzz_map(const redisReply *answer, const struct redis_tags *tags)
{
	const struct redis_place asked = { (char *)"asked", 7000 };
	struct redis_map m;

	if (!redis_map_read(answer, &asked, tags, &m))
		return;
	MUST(m.n > 0 && m.n <= REDIS_PLACES_MAX);
	for (unsigned i = 0; i < m.n; i++)
		MUST(*m.places[i].host && *m.places[i].host != '/' && m.places[i].port > 0 &&
		     m.places[i].port <= UINT16_MAX);
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++)
		MUST(m.of[i] == REDIS_NOWHERE || (m.of[i] >= 0 && (unsigned)m.of[i] < m.n));
	redis_map_release(&m);
}

static void fuzz(struct str_view input)
{
	static struct redis_tags tags;
	redisReader *reader;
	void *answer = NULL;

	if (!*tags.of[0])
		redis_tags_init(&tags);
	if (!fuzz_is_small(input))
		return;
	reader = redisReaderCreate();
	redisReaderFeed(reader, input.ptr, input.len);
	while (redisReaderGetReply(reader, &answer) == REDIS_OK && answer) {
		fuzz_map(answer, &tags);
		freeReplyObject(answer);
		answer = NULL;
	}
	redisReaderFree(reader);
}
