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

/* The event's name in the log, by kind. */
static const char *const control_names[] = {
	[CONTROL_TERMINATE] = "scopewire:terminate",
	[CONTROL_REVOKE] = "scopewire:revoke",
};

void control_apply(struct directory *d, const struct app *app, const struct control *c)
{
	switch (c->kind) {
	case CONTROL_TERMINATE:
		users_terminate(d, app, c->user_id);
		return;
	case CONTROL_REVOKE:
		users_revoke(d, app, c->user_id, c->patterns);
		return;
	}
}

struct event *control_event(struct app *app, const struct control *c)
{
	struct msgbuf *data;
	struct strbuf b;
	struct event *e;

	strbuf_init(&b, 64);
	strbuf_add_str(&b, "{\"user_id\":");
	strbuf_add_json(&b, c->user_id);
	if (c->kind == CONTROL_REVOKE) {
		strbuf_add_str(&b, ",\"patterns\":");
		strbuf_add_json(&b, c->patterns);
	}
	strbuf_add_c(&b, '}');
	data = msgbuf_from(strbuf_view(&b));
	strbuf_release(&b);
	e = event_new(app, SV(CONTROL_CHANNEL), sv(control_names[c->kind]), data);
	msgbuf_unref(data);
	e->origin = CONTROL_ORIGIN;
	e->is_control = true;
	e->durability = DURABILITY_COMMIT;
	return e;
}

/* A text of the row's data; room is used up. */
static bool control_read_text(struct str_view data, struct str_view name, char **room,
			      struct str_view *out)
{
	struct str_view value = json_member(data, name);

	return json_kind(value) == '"' && json_decode_string(value, room, out);
}

void control_apply_event(struct directory *d, const struct event *e)
{
	struct control c = { .kind = CONTROL_TERMINATE };
	char *block = xmalloc(e->data->len + 1), *room = block;
	struct str_view data;
	bool is_known = sv_eq_c(e->name, control_names[CONTROL_TERMINATE]);

	if (sv_eq_c(e->name, control_names[CONTROL_REVOKE])) {
		c.kind = CONTROL_REVOKE;
		is_known = true;
	}
	if (is_known && json_check(msgbuf_view(e->data), &data) == JSON_OK &&
	    json_kind(data) == '{' && control_read_text(data, SV("user_id"), &room, &c.user_id) &&
	    (c.kind == CONTROL_TERMINATE ||
	     control_read_text(data, SV("patterns"), &room, &c.patterns)))
		control_apply(d, e->app, &c);
	else
		log_debug("log: the control row %s (%.*s) is not one that this version knows",
			  e->id, SV_ARG(e->name));
	free(block);
}
