/* SPDX-License-Identifier: MIT */
/*
 * The layout of a channel key: sizeof(unsigned) bytes of the app's number, as they are in memory,
 * then the name.  Keys never leave the process.  Any thread.
 */
#include "core/channel_key.h"

struct msgbuf *channel_key_new(const struct app *app, struct str_view channel)
{
	unsigned number = app->runtime->number;
	struct msgbuf *key = msgbuf_new(sizeof(number) + channel.len);

	memcpy(key->data, &number, sizeof(number));
	memcpy(key->data + sizeof(number), channel.ptr, channel.len);
	return key;
}

unsigned channel_key_app(const struct msgbuf *key)
{
	unsigned number;

	memcpy(&number, key->data, sizeof(number));
	return number;
}

struct str_view channel_key_name(const struct msgbuf *key)
{
	return sv_skip(msgbuf_view(key), sizeof(unsigned));
}

bool channel_is_internal(struct str_view name)
{
	return sv_starts_with(name, SV("!"));
}
