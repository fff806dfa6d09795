/* SPDX-License-Identifier: MIT */
/* On the bus's thread; no state but that of the structs. */
#include "base/mem.h"
#include "bus/redis_channels.h"

#define LEAVE_US (5 * USEC_PER_SEC)

void redis_channels_init(struct redis_channels *c)
{
	*c = (struct redis_channels){ .leaving = NULL };
	map_init(&c->by_name);
	c->leaving_end = &c->leaving;
}

void redis_channel_free(struct redis_channel *ch)
{
	free(ch->name);
	free(ch);
}

void redis_channels_release(struct redis_channels *c)
{
	struct redis_channel *ch;
	size_t at = 0;

	while ((ch = map_next(&c->by_name, &at)))
		redis_channel_free(ch);
	map_release(&c->by_name);
}

struct redis_channel *redis_channels_find(const struct redis_channels *c, struct str_view name)
{
	return map_get(&c->by_name, name);
}

bool redis_channels_want(struct redis_channels *c, struct str_view name, unsigned partition)
{
	struct redis_channel *ch = redis_channels_find(c, name);

	if (ch) {
		ch->n_wanted++;
		return false;
	}
	ch = xcalloc(1, sizeof(*ch));
	ch->name = sv_dup(name);
	ch->partition = partition;
	ch->n_wanted = 1;
	ch->next = c->of[partition];
	if (ch->next)
		ch->next->prev = ch;
	c->of[partition] = ch;
	map_put(&c->by_name, sv(ch->name), ch);
	return true;
}

static void redis_channels_queue(struct redis_channels *c, struct redis_channel *ch)
{
	ch->is_leaving = true;
	ch->next_leaving = NULL;
	*c->leaving_end = ch;
	c->leaving_end = &ch->next_leaving;
}

void redis_channels_leave(struct redis_channels *c, struct str_view name, usec_t now)
{
	struct redis_channel *ch = redis_channels_find(c, name);

	if (!ch || !ch->n_wanted || --ch->n_wanted)
		return;
	ch->leave_at = now + LEAVE_US;
	if (!ch->is_leaving)
		redis_channels_queue(c, ch);
}

struct redis_channel *redis_channels_take_left(struct redis_channels *c, usec_t now)
{
	struct redis_channel *ch;

	while ((ch = c->leaving) && ch->leave_at <= now) {
		c->leaving = ch->next_leaving;
		if (!c->leaving)
			c->leaving_end = &c->leaving;
		ch->is_leaving = false;
		if (ch->n_wanted)
			continue;
		map_del(&c->by_name, sv(ch->name));
		c->n_confirmed -= ch->is_confirmed;
		if (ch->prev)
			ch->prev->next = ch->next;
		else
			c->of[ch->partition] = ch->next;
		if (ch->next)
			ch->next->prev = ch->prev;
		return ch;
	}
	return NULL;
}

void redis_channels_confirm(struct redis_channels *c, struct redis_channel *ch)
{
	c->n_confirmed += !ch->is_confirmed;
	ch->is_confirmed = true;
}

void redis_channels_unsend(struct redis_channels *c, unsigned partition)
{
	for (struct redis_channel *ch = c->of[partition]; ch; ch = ch->next) {
		c->n_confirmed -= ch->is_confirmed;
		ch->is_sent = ch->is_confirmed = false;
	}
}
