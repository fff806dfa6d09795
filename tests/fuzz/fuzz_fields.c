/* SPDX-License-Identifier: MIT */
/*
 * Fields of the sync API, one of each type: what is accepted is what the database can store.  The
 * first byte is how they are sent and by which caller; then come a line for the path, and the
 * fields.
 */
#include <jansson.h>
#include "fuzz_api.h"
#include "api/fields.h"
#include "api/rates.h"

static const struct sync_field fields[] = {
	{ .name = "id", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "text", .type = FIELD_TEXT, .min = 1, .max = 20 },
	{ .name = "number", .type = FIELD_INT, .min = -5, .max = 200 },
	{ .name = "any_number", .type = FIELD_INT },
	{ .name = "user_id", .type = FIELD_USER },
	{ .name = "flag", .type = FIELD_BOOL },
	{ .name = "at", .type = FIELD_TIME },
	{ .name = "json", .type = FIELD_JSON },
	{ .name = "object", .type = FIELD_OBJECT },
	{ .name = "list", .type = FIELD_ARRAY, .flags = FIELD_EACH, .min = 1, .max = 20 },
	{ .name = "names", .type = FIELD_STRINGS, .max = 20 },
	{ .name = "channel", .type = FIELD_CHANNEL },
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_OWN },
	{ .name = "choice", .type = FIELD_CHOICE, .choices = "one|two|three", .fallback = "one" },
};

static struct sync_action action = {
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.function = "none",
};

static const struct route routes[] = {
	{ "GET", "/api/sync/things/{id}", BY_BOTH, RATE_READ, NULL, &action, "" },
	{ "POST", "/api/sync/things/{id}", BY_BOTH, RATE_EVENT, NULL, &action, "" },
};

static void check_json(const char *text, enum field_type type)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);

	MUST(value);
	MUST(type != FIELD_OBJECT || json_is_object(value));
	MUST((type != FIELD_ARRAY && type != FIELD_STRINGS) || json_is_array(value));
	json_decref(value);
}

static void check(const struct sync_field *f, const struct sync_value *v)
{
	char id[USER_ID_SIZE];

	if (!v->text) {
		MUST(!(f->flags & FIELD_REQUIRED) && !f->fallback);
		return;
	}
	MUST(sv_is_utf8(sv(v->text)));
	switch (f->type) {
	case FIELD_JSON:
	case FIELD_OBJECT:
	case FIELD_ARRAY:
	case FIELD_STRINGS:
		check_json(v->text, f->type);
		break;
	case FIELD_INT:
		MUST((!f->min && !f->max) || (v->number >= f->min && v->number <= f->max));
		MUST(strtoll(v->text, NULL, 10) == v->number);
		break;
	case FIELD_USER:
		MUST(user_id_read(sv(v->text), id) && strcmp(id, v->text) == 0);
		break;
	case FIELD_BOOL:
		MUST(strcmp(v->text, "true") == 0 || strcmp(v->text, "false") == 0);
		break;
	case FIELD_TEXT:
	case FIELD_ID:
	case FIELD_CHANNEL:
	case FIELD_SOCKET:
	case FIELD_TIME:
	case FIELD_CHOICE:
		MUST(*v->text);
	}
}

static void read_fields(struct request *r, bool by_user, bool is_query, struct str_view id)
{
	struct call c = { .r = r,
			  .services = &fuzz_api.services,
			  .route = &routes[!is_query],
			  .app = app_ref(fuzz_api.app),
			  .is_sync = true,
			  .origin = SV("") };
	struct sync_call *sc;

	if (by_user)
		c.caller = (struct caller){ .kind = BY_USER,
					    .user = { { 7, 0 } },
					    .user_id = "7",
					    .user_json = xstrdup("{\"id\":7}") };
	else
		c.caller.kind = BY_SERVER;
	MUST(rates_take_quota(&c));
	sc = sync_call_new(&c);
	if (fields_read(sc, &id)) {
		MUST(!fuzz_api.answers);
		for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
			check(&fields[i], &sc->values[i]);
		sync_call_free(sc);
	} else {
		MUST(fuzz_api.answers == 1);
	}
	call_release(&c);
}

static void fuzz(struct str_view input)
{
	unsigned how = input.len ? (unsigned char)input.ptr[0] : 0;
	bool is_query = (how & 3) == 0, is_form = (how & 3) == 1;
	struct str_view rest = sv_skip(input, input.len > 0), id;
	struct request r;
	char *query = NULL;

	if (!fuzz_api.app)
		fuzz_api_start();
	id = fuzz_api_line(&rest);
	fuzz_api.headers = is_form ? SV("Content-Type: application/x-www-form-urlencoded") : SV("");
	r = fuzz_api_request(is_query ? "GET" : "POST", is_query ? SV("") : rest);
	if (is_query) {
		query = sv_dup(rest);
		if (request_parse_query(&r, query, rest.len)) {
			free(query);
			return;
		}
	}
	read_fields(&r, how & 4, is_query, id);
	free(query);
}
