/* SPDX-License-Identifier: MIT */
#ifndef API_EVENT_BODY_H
#define API_EVENT_BODY_H
/*
 * The members of an event in a request's body, before they are checked.
 *
 * Nearly all bodies are an object of plain strings and one array of strings.  Those are read in
 * one pass without a tree; any other body, invalid JSON too, is parsed by jansson.  Both give the
 * same result for a body that both can read.
 */
#include <jansson.h>
#include <stdbool.h>
#include "base/annotate.h"
#include "base/str.h"

enum member_state { MEMBER_ABSENT, MEMBER_TEXT, MEMBER_WRONG }; /* null is absent */

struct event_member {
	enum member_state state;
	struct str_view text; /* empty unless MEMBER_TEXT; valid UTF-8 */
};

#define EVENT_CHANNELS_INLINE 4

struct event_body {
	struct event_member name, data, channel, socket_id, info, idempotency_key;
	enum member_state channels; /* MEMBER_TEXT: an array of strings */
	bool has_wrong_channel;	    /* an element of channels is no string */
	size_t n_channels;
	size_t room;	       /* in list */
	struct str_view *list; /* few, or heap */
	struct str_view few[EVENT_CHANNELS_INLINE];
	char *text; /* heap: what the views point into, or NULL when that is a json_t */
};

/* All members are absent; needs no release. */
void event_body_init(struct event_body *e);
/* True: body is an event of the plain kind, read into e.  False: parse it with jansson; e is as
 * after event_body_init(). */
bool event_body_scan(struct str_view body, struct event_body *e) MUSTCHECK;
/* Views point into obj, an object. */
void event_body_of_json(const json_t *obj, struct event_body *e);
/* A member that has to be a string; v may be NULL. */
struct event_member event_body_member(const json_t *v);
/* Appends to the list. */
void event_body_add_channel(struct event_body *e, struct str_view name);
void event_body_release(struct event_body *e);
#endif
