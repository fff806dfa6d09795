/* SPDX-License-Identifier: MIT */
/*
 * A row's name is the kind; its data is a JSON object, so that later versions can add members.
 * Nothing is kept here: acting twice on a row does no harm.  Any thread, no lock.
 */
#include "base/log.h"
#include "base/mem.h"
#include "core/channels/users.h"
#include "log/control.h"
#include "wire/json.h"
#include "wire/socket_id.h"

/* By kind: the event's name in the log, and the members of its data, all of which are texts. */
static const struct {
	const char *name;
	struct {
		const char *name;
		size_t at; /* in struct control */
	} members[2];
} control_kinds[] = {
	[CONTROL_TERMINATE] = { "scopewire:terminate",
				{ { "user_id", offsetof(struct control, user_id) } } },
	[CONTROL_REVOKE] = { "scopewire:revoke",
			     { { "user_id", offsetof(struct control, user_id) },
			       { "patterns", offsetof(struct control, patterns) } } },
	[CONTROL_DISCONNECT] = { "scopewire:disconnect",
				 { { "socket_id", offsetof(struct control, socket_id) } } },
};

#define CONTROL_MEMBERS ARRAY_SIZE(control_kinds[0].members)

/* The value of the kind's member i. */
static struct str_view *control_member(struct control *c, size_t i)
{
	return (struct str_view *)((char *)c + control_kinds[c->kind].members[i].at);
}

static void control_disconnect(struct directory *d, struct str_view text)
{
	uint64_t id;

	if (socket_id_parse(text, &id))
		directory_close_socket(d, id);
}

void control_apply(struct directory *d, const struct app *app, const struct control *c)
{
	switch (c->kind) {
	case CONTROL_TERMINATE:
		users_terminate(d, app, c->user_id);
		return;
	case CONTROL_REVOKE:
		users_revoke(d, app, c->user_id, c->patterns);
		return;
	case CONTROL_DISCONNECT:
		control_disconnect(d, c->socket_id);
		return;
	}
}

struct event *control_event(struct app *app, const struct control *c)
{
	struct control copy = *c;
	struct msgbuf *data;
	struct strbuf b;
	struct event *e;

	strbuf_init(&b, 64);
	for (size_t i = 0; i < CONTROL_MEMBERS && control_kinds[c->kind].members[i].name; i++) {
		strbuf_addf(&b, "%c\"%s\":", i ? ',' : '{', control_kinds[c->kind].members[i].name);
		strbuf_add_json(&b, *control_member(&copy, i));
	}
	strbuf_add_c(&b, '}');
	data = msgbuf_from(strbuf_view(&b));
	strbuf_release(&b);
	e = event_new(app, SV(CONTROL_CHANNEL), sv(control_kinds[c->kind].name), data);
	msgbuf_unref(data);
	e->origin = CONTROL_ORIGIN;
	e->is_control = true;
	e->durability = DURABILITY_COMMIT;
	return e;
}

bool control_is_for_node(struct str_view name)
{
	return sv_eq_c(name, control_kinds[CONTROL_DISCONNECT].name);
}

static bool control_find_kind(struct str_view name, enum control_kind *kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(control_kinds); i++)
		if (sv_eq_c(name, control_kinds[i].name)) {
			*kind = (enum control_kind)i;
			return true;
		}
	return false;
}

/* The members of c->kind, from the row's data; room is used up. */
static bool control_read(struct str_view data, char *room, struct control *c)
{
	for (size_t i = 0; i < CONTROL_MEMBERS && control_kinds[c->kind].members[i].name; i++) {
		struct str_view value =
			json_member(data, sv(control_kinds[c->kind].members[i].name));

		if (json_kind(value) != '"' ||
		    !json_decode_string(value, &room, control_member(c, i)))
			return false;
	}
	return true;
}

void control_apply_event(struct directory *d, const struct event *e)
{
	struct control c = { .kind = CONTROL_TERMINATE };
	char *room = xmalloc(e->data->len + 1);
	struct str_view data;

	if (control_find_kind(e->name, &c.kind) &&
	    json_check(msgbuf_view(e->data), &data) == JSON_OK && json_kind(data) == '{' &&
	    control_read(data, room, &c))
		control_apply(d, e->app, &c);
	else
		log_debug("log: the control row %s (%.*s) is not one that this version knows",
			  e->id, SV_ARG(e->name));
	free(room);
}
