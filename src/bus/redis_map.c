/* SPDX-License-Identifier: MIT */
/* No state; any thread. */
#include <string.h>
#include "base/mem.h"
#include "bus/redis_map.h"

#define SLOT_STEP   (REDIS_SLOTS / REDIS_PARTITIONS)
#define SLOT_OFFSET (SLOT_STEP / 2)
#define SLOT_NEAR   2

/* CRC-16/XMODEM. */
static unsigned redis_slot_crc(struct str_view s)
{
	unsigned crc = 0;

	for (size_t i = 0; i < s.len; i++) {
		crc ^= (unsigned)(unsigned char)s.ptr[i] << 8;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
	}
	return crc & 0xffff;
}

unsigned redis_slot(struct str_view key)
{
	ptrdiff_t open = sv_find(key, '{'), close;

	if (open >= 0) {
		struct str_view inside = sv_skip(key, (size_t)open + 1);

		close = sv_find(inside, '}');
		if (close > 0)
			key = sv_n(inside.ptr, (size_t)close);
	}
	return redis_slot_crc(key) % REDIS_SLOTS;
}

/* The smallest number whose slot is near enough to the middle of each partition's share. */
void redis_tags_init(struct redis_tags *t)
{
	unsigned left = REDIS_PARTITIONS;

	*t = (struct redis_tags){ .of = { "" } };
	for (uint64_t n = 0; left; n++) {
		char text[STR_U64_SIZE];
		unsigned slot = redis_slot(sv(str_u64(text, n)));
		char *tag = t->of[slot / SLOT_STEP];
		int off = (int)(slot % SLOT_STEP) - SLOT_OFFSET;

		if (*tag || off < -SLOT_NEAR || off > SLOT_NEAR)
			continue;
		str_copy(tag, REDIS_TAG_SIZE, sv(text));
		t->slots[slot / SLOT_STEP] = slot;
		left--;
	}
}

unsigned redis_partition(struct str_view app_and_channel)
{
	uint64_t hash = sv_hash(app_and_channel, 0);

	return (unsigned)((hash ^ hash >> 32) % REDIS_PARTITIONS);
}

void redis_map_release(struct redis_map *m)
{
	for (unsigned i = 0; i < m->n; i++)
		free(m->places[i].host);
	free(m->places);
	*m = (struct redis_map){ .n = 0 };
}

/* The index of the place, which is added if it is new. */
static int redis_map_add(struct redis_map *m, const char *host, unsigned port)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->places[i].port == port && strcmp(m->places[i].host, host) == 0)
			return (int)i;
	if (m->n == REDIS_PLACES_MAX)
		return REDIS_NOWHERE;
	m->places = xreallocarray(m->places, m->n + 1, sizeof(*m->places));
	m->places[m->n] = (struct redis_place){ xstrdup(host), port };
	return (int)m->n++;
}

static void redis_map_clear(struct redis_map *m)
{
	*m = (struct redis_map){ .n = 0 };
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++)
		m->of[i] = REDIS_NOWHERE;
}

void redis_map_of_one(struct redis_map *m, const char *host, unsigned port)
{
	redis_map_clear(m);
	redis_map_add(m, host, port);
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++)
		m->of[i] = 0;
}

/* FIRST LAST (HOST PORT ID ...) REPLICA... */
static bool redis_map_read_range(struct redis_map *m, const redisReply *range,
				 const struct redis_place *from, const struct redis_tags *tags)
{
	const redisReply *place;
	const char *host = from->host;
	int at;

	if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
	    range->element[0]->type != REDIS_REPLY_INTEGER ||
	    range->element[1]->type != REDIS_REPLY_INTEGER ||
	    range->element[2]->type != REDIS_REPLY_ARRAY || range->element[2]->elements < 2)
		return false;
	place = range->element[2];
	if (place->element[1]->type != REDIS_REPLY_INTEGER || place->element[1]->integer < 1 ||
	    place->element[1]->integer > 65535)
		return false;
	if (place->element[0]->type == REDIS_REPLY_STRING &&
	    strlen(place->element[0]->str) != place->element[0]->len)
		return false;
	/* A server of Redis gives no paths of this machine's sockets. */
	if (place->element[0]->type == REDIS_REPLY_STRING && place->element[0]->len &&
	    *place->element[0]->str != '/')
		host = place->element[0]->str;
	at = redis_map_add(m, host, (unsigned)place->element[1]->integer);
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++)
		if (tags->slots[i] >= range->element[0]->integer &&
		    tags->slots[i] <= range->element[1]->integer)
			m->of[i] = at;
	return true;
}

bool redis_map_read(const redisReply *slots, const struct redis_place *from,
		    const struct redis_tags *tags, struct redis_map *out)
{
	struct redis_map m;

	if (slots->type != REDIS_REPLY_ARRAY)
		return false;
	redis_map_clear(&m);
	for (size_t i = 0; i < slots->elements; i++)
		if (!redis_map_read_range(&m, slots->element[i], from, tags)) {
			redis_map_release(&m);
			return false;
		}
	if (!m.n) {
		redis_map_release(&m);
		return false;
	}
	*out = m;
	return true;
}
