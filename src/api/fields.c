/* SPDX-License-Identifier: MIT */
/*
 * Reads the fields of a request and checks them against those of its action.  A GET has them in its
 * query, other methods in a JSON object, a DELETE without a body in its query too; /broadcasting
 * also accepts forms, as pusher-js sends them.  An unknown field is refused: a misspelt filter
 * would otherwise list everything.
 *
 * Runs on a transport's thread, before anything is done.  Whatever fails has replied and freed the
 * call.
 */
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include "base/mem.h"
#include "svc/sockets.h"
#include "wire/json.h"
#include "wire/json_dump.h"
#include "wire/pusher.h"
#include "wire/socket_id.h"
#include "api/batch_body.h"
#include "api/fields.h"
#include "api/reply.h"

#define TEXT_MAX_BYTES 1024
#define ID_MAX_BYTES   64
#define LIST_MAX       1000
#define STRINGS_MAX    100
#define NUMBER_SHOWN   40 /* bytes of a number in an error */

/* A field's value as received: from JSON, or from a query (then text). */
struct raw {
	const json_t *json;
	struct str_view text;
};

static bool field_fail(struct sync_call *sc, const struct sync_field *f, const char *must)
{
	sync_fail(sc, 400, "invalid_value", f->name, "%s must be %s.", f->name, must);
	return false;
}

static int64_t field_or_default(int64_t value, int64_t fallback)
{
	return value ? value : fallback;
}

/* ---- one value --------------------------------------------------------------- */

static bool raw_is_text(const struct raw *v)
{
	return !v->json || json_is_string(v->json);
}

static struct str_view raw_text(const struct raw *v)
{
	return v->json ? sv_n(json_string_value(v->json), json_string_length(v->json)) : v->text;
}

/* Without NUL: PostgreSQL's type text cannot hold it. */
static bool field_is_clean(struct str_view s)
{
	return sv_is_utf8(s) && (!s.len || !memchr(s.ptr, '\0', s.len));
}

static bool field_read_text(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			    struct sync_value *out)
{
	int64_t max = field_or_default(f->max, TEXT_MAX_BYTES);
	struct str_view s;
	char must[96];

	snprintf(must, sizeof(must), "a string of %" PRId64 " to %" PRId64 " bytes of UTF-8",
		 f->min, max);
	if (!raw_is_text(v))
		return field_fail(sc, f, must);
	s = raw_text(v);
	if ((int64_t)s.len < f->min || (int64_t)s.len > max || !field_is_clean(s))
		return field_fail(sc, f, must);
	out->text = sv_dup(s);
	return true;
}

/* An integer of JSON, or text of digits; false: not an integer of 64 bits. */
static bool raw_to_int(const struct raw *v, int64_t *out)
{
	struct str_view s;
	bool negative;
	uint64_t n;

	if (v->json && json_is_integer(v->json)) {
		*out = json_integer_value(v->json);
		return true;
	}
	if (!raw_is_text(v))
		return false;
	s = raw_text(v);
	negative = s.len && s.ptr[0] == '-';
	if (!sv_to_u64(sv_skip(s, negative), INT64_MAX, &n))
		return false;
	*out = negative ? -(int64_t)n : (int64_t)n;
	return true;
}

static char *field_int_text(int64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, n);
	return xstrdup(text);
}

static bool field_read_id(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			  struct sync_value *out)
{
	int64_t max = field_or_default(f->max, ID_MAX_BYTES);
	struct str_view s;
	char must[96];

	if (v->json && json_is_integer(v->json)) {
		out->text = field_int_text(json_integer_value(v->json));
		return true;
	}
	snprintf(must, sizeof(must), "an id: an integer, or a string of 1 to %" PRId64 " bytes",
		 max);
	if (!raw_is_text(v))
		return field_fail(sc, f, must);
	s = raw_text(v);
	if (!s.len || (int64_t)s.len > max || !field_is_clean(s))
		return field_fail(sc, f, must);
	out->text = sv_dup(s);
	return true;
}

static bool field_read_int(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			   struct sync_value *out)
{
	int64_t min = f->min, max = f->max, n;
	char must[96];

	if (!min && !max) {
		min = INT64_MIN;
		max = INT64_MAX;
	}
	snprintf(must, sizeof(must), "an integer from %" PRId64 " to %" PRId64, min, max);
	if (!raw_to_int(v, &n) || n < min || n > max)
		return field_fail(sc, f, must);
	out->number = n;
	out->text = field_int_text(n);
	return true;
}

/* A user can name itself only. */
static bool field_read_user(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			    struct sync_value *out)
{
	char digits[24], id[USER_ID_SIZE], must[96];
	struct str_view text = SV("");

	if (v->json && json_is_integer(v->json)) {
		snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT,
			 json_integer_value(v->json));
		text = sv(digits);
	} else if (raw_is_text(v)) {
		text = raw_text(v);
	}
	if (!user_id_read(text, id)) {
		snprintf(must, sizeof(must), "a user's id, %s", user_id_rule());
		return field_fail(sc, f, must);
	}
	if (!(f->flags & FIELD_ANY_USER) && sc->call.caller.kind == BY_USER &&
	    strcmp(id, sc->call.caller.user_id) != 0) {
		sync_fail(sc, 403, "forbidden", f->name, "A user may act only as itself.");
		return false;
	}
	out->text = xstrdup(id);
	return true;
}

static bool field_read_bool(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			    struct sync_value *out)
{
	struct str_view s;

	if (v->json && json_is_boolean(v->json)) {
		out->text = xstrdup(json_is_true(v->json) ? "true" : "false");
		return true;
	}
	s = v->json ? SV("") : v->text;
	if (sv_eq(s, SV("true")) || sv_eq(s, SV("1")))
		out->text = xstrdup("true");
	else if (sv_eq(s, SV("false")) || sv_eq(s, SV("0")))
		out->text = xstrdup("false");
	else
		return field_fail(sc, f, "true or false");
	return true;
}

/* Whether s begins with the shape, in which d is a digit; the T may be a space. */
static bool field_has_shape(struct str_view s, const char *shape)
{
	if (s.len < strlen(shape))
		return false;
	for (size_t i = 0; shape[i]; i++)
		if (shape[i] == 'd' ? s.ptr[i] < '0' || s.ptr[i] > '9'
				    : s.ptr[i] != shape[i] && !(shape[i] == 'T' && s.ptr[i] == ' '))
			return false;
	return true;
}

/* "0000-00-00T00:00:00" with an optional fraction and an offset (RFC 3339). */
static bool field_is_time(struct str_view s)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd";
	size_t n = sizeof(shape) - 1;

	if (s.len > 40 || !field_has_shape(s, shape))
		return false;
	if (n < s.len && s.ptr[n] == '.')
		for (n++; n < s.len && s.ptr[n] >= '0' && s.ptr[n] <= '9'; n++)
			;
	s = sv_skip(s, n);
	if (sv_eq(s, SV("Z")))
		return true;
	return s.len == 6 && (field_has_shape(s, "+dd:dd") || field_has_shape(s, "-dd:dd"));
}

static bool field_read_time(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			    struct sync_value *out)
{
	if (!raw_is_text(v) || !field_is_time(raw_text(v)))
		return field_fail(sc, f,
				  v->json ? "a time such as 2026-01-31T12:00:00Z"
					  : "a time such as 2026-01-31T12:00:00Z; in a URL write "
					    "the + of an offset as %2B");
	out->text = sv_dup(raw_text(v));
	return true;
}

/* PHP encodes an empty object as an empty array. */
static bool field_is_object(const json_t *value)
{
	return json_is_object(value) || (json_is_array(value) && !json_array_size(value));
}

/* The value, parsed if it is a query's text; a new reference, or NULL. */
static json_t *raw_json(const struct raw *v)
{
	return v->json ? json_incref((json_t *)v->json)
		       : json_loadb(v->text.ptr, v->text.len, JSON_REJECT_DUPLICATES, NULL);
}

static bool field_read_json(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			    struct sync_value *out)
{
	json_t *value = raw_json(v);

	if (value)
		out->text = json_dump_text(value);
	json_decref(value);
	return value || field_fail(sc, f, "JSON");
}

static bool field_read_object(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			      struct sync_value *out)
{
	json_t *object = raw_json(v);
	bool ok = field_is_object(object);

	if (ok)
		out->text = json_is_array(object) ? xstrdup("{}") : json_dump_text(object);
	json_decref(object);
	return ok || field_fail(sc, f, "an object");
}

static bool field_read_array(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			     struct sync_value *out)
{
	size_t max = (size_t)field_or_default(f->max, LIST_MAX);
	json_t *array = raw_json(v);
	bool ok = json_is_array(array) && json_array_size(array) <= max &&
		  json_array_size(array) >= (size_t)f->min;
	char must[64];

	if (ok) {
		out->text = json_dump_text(array);
		out->number = (int64_t)json_array_size(array);
	}
	json_decref(array);
	snprintf(must, sizeof(must), "a list of %" PRId64 " to %zu members", f->min, max);
	return ok || field_fail(sc, f, must);
}

/* "a,b" as a JSON array of strings; NULL: a part is not UTF-8. */
static json_t *fields_split(struct str_view text)
{
	json_t *array = json_array();
	struct str_view part;

	while (sv_split(&text, ',', &part))
		if (json_array_append_new(array, json_stringn(part.ptr, part.len))) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static bool field_is_name(const json_t *value)
{
	struct str_view s = sv_n(json_string_value(value), json_string_length(value));

	return json_is_string(value) && s.len && s.len <= TEXT_MAX_BYTES && field_is_clean(s);
}

static bool field_are_names(const json_t *array, size_t max)
{
	if (!json_is_array(array) || !json_array_size(array) || json_array_size(array) > max)
		return false;
	for (size_t i = 0; i < json_array_size(array); i++)
		if (!field_is_name(json_array_get(array, i)))
			return false;
	return true;
}

static bool field_read_strings(struct sync_call *sc, const struct sync_field *f,
			       const struct raw *v, struct sync_value *out)
{
	size_t max = (size_t)field_or_default(f->max, STRINGS_MAX);
	json_t *array = v->json ? json_incref((json_t *)v->json) : fields_split(v->text);
	bool ok = field_are_names(array, max);
	char must[64];

	if (ok) {
		out->text = json_dumps(array, JSON_COMPACT);
		out->number = (int64_t)json_array_size(array);
	}
	json_decref(array);
	snprintf(must, sizeof(must), "a list of 1 to %zu strings of UTF-8", max);
	return ok || field_fail(sc, f, must);
}

static bool field_read_channel(struct sync_call *sc, const struct sync_field *f,
			       const struct raw *v, struct sync_value *out)
{
	if (!raw_is_text(v) ||
	    channel_name_parse(raw_text(v), sc->call.app->limits.max_channel_name_bytes,
			       &out->channel))
		return field_fail(sc, f, "a channel's name: letters, digits and _-=@,.; only");
	out->text = sv_dup(raw_text(v));
	return true;
}

/* A user cannot take an event away from another's connection, or end with it.  The server may name
 * any, but nothing is tied to one that does not exist.  Of a socket of another node only its id is
 * known, which cannot be guessed; that node ends what is tied to a socket that is not open. */
static bool field_check_socket(struct sync_call *sc, const struct sync_field *f, uint64_t id)
{
	struct sockets *sockets = sc->call.services->sockets;

	bool is_user = sc->call.caller.kind == BY_USER;

	if (!is_user && !(f->flags & FIELD_OPEN))
		return true;
	if (sockets_is_elsewhere(sockets, id))
		return true;
	if (!sockets_has(sockets, id, sc->call.app->runtime->number))
		sync_fail(sc, 400, "unknown_socket", f->name,
			  "No connection of the application has this socket_id: send that of an "
			  "open connection, or none.");
	else if (is_user && !sockets_is_of(sockets, id, sc->call.caller.user_id))
		sync_fail(sc, 403, "socket_forbidden", f->name,
			  "The connection with this socket_id is not known to be this user's: sign "
			  "it in, or authorize a channel of it, with the user's token first.");
	else
		return true;
	return false;
}

static bool field_read_socket(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			      struct sync_value *out)
{
	if (!raw_is_text(v) || !socket_id_parse(raw_text(v), &out->socket_id))
		return field_fail(sc, f, "a socket id, as in \"123.456\"");
	if (f->flags & FIELD_OWN && !field_check_socket(sc, f, out->socket_id))
		return false;
	out->text = sv_dup(raw_text(v));
	return true;
}

static bool field_read_choice(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
			      struct sync_value *out)
{
	struct str_view s = raw_is_text(v) ? raw_text(v) : SV("");
	const char *at = f->choices;
	char must[160];

	while (s.len && at) {
		size_t n = strcspn(at, "|");

		if (sv_eq(s, sv_n(at, n))) {
			out->text = sv_dup(s);
			return true;
		}
		at = at[n] ? at + n + 1 : NULL;
	}
	snprintf(must, sizeof(must), "one of %s", f->choices);
	for (char *bar = must; (bar = strchr(bar, '|')); bar++)
		*bar = ' ';
	return field_fail(sc, f, must);
}

typedef bool reader(struct sync_call *sc, const struct sync_field *f, const struct raw *v,
		    struct sync_value *out);

static reader *const readers[] = {
	[FIELD_TEXT] = field_read_text,	      [FIELD_ID] = field_read_id,
	[FIELD_INT] = field_read_int,	      [FIELD_USER] = field_read_user,
	[FIELD_BOOL] = field_read_bool,	      [FIELD_TIME] = field_read_time,
	[FIELD_OBJECT] = field_read_object,   [FIELD_ARRAY] = field_read_array,
	[FIELD_STRINGS] = field_read_strings, [FIELD_CHANNEL] = field_read_channel,
	[FIELD_SOCKET] = field_read_socket,   [FIELD_CHOICE] = field_read_choice,
	[FIELD_JSON] = field_read_json,
};

/* ---- all fields --------------------------------------------------------------- */

/* The field that was probably meant, or NULL. */
static const char *field_near(const struct sync_action *a, size_t first, struct str_view name)
{
	const char *near = NULL;
	unsigned least = UINT_MAX;

	for (size_t i = first; i < a->n_fields; i++)
		if (str_is_nearer(name, a->fields[i].name, &least))
			near = a->fields[i].name;
	return near;
}

static bool field_take(struct sync_call *sc, size_t first, struct str_view name,
		       const struct raw *v)
{
	const struct sync_action *a = sc->call.route->action;
	size_t i = first;

	while (i < a->n_fields && !sv_eq_c(name, a->fields[i].name))
		i++;
	if (i == a->n_fields) {
		const char *near = field_near(a, first, name);
		char shown[65];

		snprintf(shown, sizeof(shown), "%.*s", name.len > 64 ? 64 : (int)name.len,
			 name.ptr);
		sync_fail(sc, 400, "unknown_field", sv_is_utf8(sv(shown)) ? shown : NULL,
			  "The request has a field that this endpoint does not know%s%s%s.",
			  near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
		return false;
	}
	if (v->json && json_is_null(v->json))
		return true;
	if (sc->values[i].text) {
		sync_fail(sc, 400, "repeated_field", a->fields[i].name,
			  "%s is given more than once.", a->fields[i].name);
		return false;
	}
	return readers[a->fields[i].type](sc, &a->fields[i], v, &sc->values[i]);
}

static bool fields_take_query(struct sync_call *sc, size_t first)
{
	const struct request *r = sc->call.r;

	for (size_t i = 0; i < r->n_params; i++) {
		struct raw v = { NULL, r->params[i].value };
		struct str_view name = r->params[i].name;

		if (sc->is_signed &&
		    (sv_starts_with(name, SV("auth_")) || sv_eq(name, SV("body_md5"))))
			continue;
		if (!field_take(sc, first, name, &v))
			return false;
	}
	return true;
}

static bool field_take_object(struct sync_call *sc, size_t first, json_t *body)
{
	const char *name;
	json_t *value;

	json_object_foreach(body, name, value)
	{
		struct raw v = { value, { NULL, 0 } };

		if (!field_take(sc, first, sv(name), &v))
			return false;
	}
	return true;
}

/* As batch_body_read(), if the action has such a list. */
static json_t *fields_read_items(const struct sync_call *sc)
{
	const struct sync_action *a = sc->call.route->action;

	for (size_t i = 0; i < a->n_fields; i++)
		if (a->fields[i].flags & FIELD_EACH)
			return batch_body_read(sc->call.r->body, a->fields[i].name);
	return NULL;
}

/* As jansson's own faults. */
static void fields_blame_number(json_error_t *why, struct str_view body, struct str_view number)
{
	int shown = (int)(number.len < NUMBER_SHOWN ? number.len : NUMBER_SHOWN);
	const char *line = body.ptr;

	why->line = 1;
	for (const char *p = body.ptr; p < number.ptr; p++) {
		if (*p == '\n') {
			why->line++;
			line = p + 1;
		}
	}
	why->column = (int)(number.ptr - line) + 1;
	why->position = (int)(number.ptr - body.ptr) + 1;
	snprintf(why->text, sizeof(why->text),
		 "the value of the number %.*s would be changed; send it as a string", shown,
		 number.ptr);
}

/* Numbers are read as doubles: one that they would change is a fault. */
static json_t *fields_read_body(const struct sync_call *sc, json_error_t *why)
{
	struct str_view text = sc->call.r->body, number;
	json_t *body = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, why);

	if (body && json_find_inexact(text, &number)) {
		json_decref(body);
		body = NULL;
		fields_blame_number(why, text, number);
	}
	return body ? body : fields_read_items(sc);
}

static bool fields_take_body(struct sync_call *sc, size_t first)
{
	json_error_t why;
	json_t *body = fields_read_body(sc, &why);
	bool ok;

	if (field_is_object(body)) {
		ok = field_take_object(sc, first, body);
	} else {
		if (body)
			sync_fail(sc, 400, "invalid_json", NULL,
				  "The body must be a JSON object; it is another type.");
		else
			sync_fail(sc, 400, "invalid_json", NULL,
				  "The body must be a JSON object: %s, at byte %d (line %d, column "
				  "%d).",
				  why.text, why.position, why.line, why.column);
		ok = false;
	}
	json_decref(body);
	return ok;
}

static bool fields_is_form(const struct sync_call *sc)
{
	return sv_starts_with(sc->call.r->header(sc->call.r, "Content-Type"),
			      SV("application/x-www-form-urlencoded"));
}

/* As pusher-js sends POST /broadcasting/auth: the body has the form of a query. */
static bool fields_take_form(struct sync_call *sc, size_t first)
{
	char *text = sv_dup(sc->call.r->body);
	bool ok;

	if (request_parse_query(sc->call.r, text, sc->call.r->body.len)) {
		sync_fail(sc, 400, "invalid_form", NULL, "The form has too many fields.");
		ok = false;
	} else {
		ok = fields_take_query(sc, first);
	}
	/* sc is freed unless ok; its parameters point into text */
	if (ok)
		sc->call.r->n_params = 0;
	free(text);
	return ok;
}

/* Fallbacks, and the caller for its own id. */
static bool fields_complete(struct sync_call *sc)
{
	const struct sync_action *a = sc->call.route->action;

	for (size_t i = 0; i < a->n_fields; i++) {
		const struct sync_field *f = &a->fields[i];

		if (sc->values[i].text)
			continue;
		if (f->type == FIELD_USER && !(f->flags & FIELD_ANY_USER) &&
		    sc->call.caller.kind == BY_USER) {
			sc->values[i].text = xstrdup(sc->call.caller.user_id);
		} else if (f->fallback) {
			sc->values[i].text = xstrdup(f->fallback);
		} else if (f->flags & FIELD_REQUIRED) {
			sync_fail(sc, 400, "missing_field", f->name, "%s is missing.", f->name);
			return false;
		}
	}
	return true;
}

bool fields_read(struct sync_call *sc, const struct str_view *args)
{
	const struct sync_action *a = sc->call.route->action;
	bool in_query = sc->call.route->method[0] == 'G' || !sc->call.r->body.len;
	size_t first = 0;

	for (const char *p = sc->call.route->path; (p = strchr(p, '{')); p++, first++) {
		struct raw v = { NULL, args[first] };

		if (!readers[a->fields[first].type](sc, &a->fields[first], &v, &sc->values[first]))
			return false;
	}
	if (in_query		 ? !fields_take_query(sc, first)
	    : fields_is_form(sc) ? !fields_take_form(sc, first)
				 : !fields_take_body(sc, first))
		return false;
	return fields_complete(sc);
}
