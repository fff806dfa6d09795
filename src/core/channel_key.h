/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNEL_KEY_H
#define CORE_CHANNEL_KEY_H
/*
 * The bytes that identify a channel in maps and in messages to workers: the app's number, then
 * the channel's name.  Two apps can each have a channel of the same name.
 */
#include "base/annotate.h"
#include "base/msgbuf.h"
#include "conf/app.h"

/* One reference, the caller's. */
struct msgbuf *channel_key_new(const struct app *app, struct str_view channel) MUSTCHECK;
/* runtime->number of the app. */
unsigned channel_key_app(const struct msgbuf *key);
/* The channel's name, inside key. */
struct str_view channel_key_name(const struct msgbuf *key);
/* Whether the name is of an internal channel, which no client can use: core/channels/users.h. */
bool channel_is_internal(struct str_view name);
#endif
