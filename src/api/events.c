/* SPDX-License-Identifier: MIT */
/*
 * Publishing.  A request becomes a struct publication: its items point into the body, which is
 * kept until the publish has finished, because the attributes of "info" are read afterwards.
 *
 * With an idempotency key the reply is made first, since it is stored with the events, and
 * svc/idempotency.h decides whether to publish.
 *
 * The handlers run on a transport's thread.  on_published() and the other callbacks run on the log
 * writer's or a pool's thread, or within publish_submit().
 */
#include <jansson.h>
#include "base/annotate.h"
#include "base/metric.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/channels/directory.h"
#include "svc/admission.h"
#include "svc/idempotency.h"
#include "svc/occupancy.h"
#include "svc/publish.h"
#include "wire/json.h"
#include "wire/pusher.h"
#include "api/event_body.h"
#include "api/handlers.h"
#include "api/parameters.h"
#include "api/rates.h"
#include "api/reply.h"

/* Among more names than this, repeated ones are found with a map. */
#define COMPARE_ALL_MAX 16

struct item {
	struct event_body body;
	struct str_view *channels; /* body.list or one */
	struct str_view one;
	size_t n_channels; /* without repeats */
	uint64_t exclude_socket;
	unsigned info;
};

/* Of a channel, on all nodes. */
struct occupancy {
	unsigned subscriptions, users;
};

struct publication {
	struct request *r;
	const struct api_services *services;
	struct directory *directory;
	struct app *app; /* counted */
	json_t *root;	 /* NULL when the body was read without a tree */
	char *text;	 /* a channel name that is not in the request, or NULL */
	bool is_batch;
	unsigned status;	     /* of success */
	unsigned info;		     /* of any item */
	struct occupancy *occupancy; /* of its channels, in a cluster; heap; NULL: not read */
	struct publish_key key;	     /* key.key empty: none */
	char digest[IDEMPOTENCY_DIGEST_HEX + 1];
	struct strbuf answer; /* with a key */
	struct admission_wait admission;
	struct idempotent_call *once;
	size_t n;
	struct item items[];
};

static struct publication *publication_new(struct call *c, size_t n)
{
	struct publication *p = xcalloc(1, sizeof(*p) + n * sizeof(p->items[0]));

	p->r = c->r;
	p->services = c->services;
	p->directory = c->services->directory;
	p->app = app_ref(c->app);
	p->status = 200;
	p->n = n;
	for (size_t i = 0; i < n; i++)
		event_body_init(&p->items[i].body);
	return p;
}

static void publication_free(struct publication *p)
{
	if (p->services->admission)
		admission_leave(p->services->admission, &p->admission);
	for (size_t i = 0; i < p->n; i++)
		event_body_release(&p->items[i].body);
	json_decref(p->root);
	app_unref(p->app);
	strbuf_release(&p->answer);
	free(p->text);
	free(p->occupancy);
	free(p);
}

/* ---- the reply ------------------------------------------------------ */

/* {"user_count":1,"subscription_count":2}: requested attributes that the channel has. */
static void events_add_attributes(struct strbuf *b, const struct publication *p, size_t index,
				  struct str_view channel, unsigned info)
{
	struct channel_info ci = { .is_occupied = false };

	if (p->occupancy) {
		ci.subscription_count = p->occupancy[index].subscriptions;
		ci.user_count = p->occupancy[index].users;
	} else {
		directory_channel_info(p->directory, p->app, channel, &ci);
	}
	strbuf_add_c(b, '{');
	if ((info & INFO_USER_COUNT) && sv_starts_with(channel, SV("presence-")))
		strbuf_addf(b, "\"user_count\":%u%s", ci.user_count,
			    info & INFO_SUBSCRIPTION_COUNT ? "," : "");
	if (info & INFO_SUBSCRIPTION_COUNT)
		strbuf_addf(b, "\"subscription_count\":%u", ci.subscription_count);
	strbuf_add_c(b, '}');
	channel_info_release(&ci);
}

static void events_add_batch(struct strbuf *b, const struct publication *p)
{
	strbuf_add_str(b, "{\"batch\":[");
	for (size_t i = 0; i < p->n; i++) {
		if (i)
			strbuf_add_c(b, ',');
		events_add_attributes(b, p, i, p->items[i].channels[0], p->items[i].info);
	}
	strbuf_add_str(b, "]}");
}

static void events_add_channels(struct strbuf *b, const struct publication *p)
{
	const struct item *it = &p->items[0];

	strbuf_add_str(b, "{\"channels\":{");
	for (size_t i = 0; i < it->n_channels; i++) {
		if (i)
			strbuf_add_c(b, ',');
		strbuf_add_json(b, it->channels[i]);
		strbuf_add_c(b, ':');
		events_add_attributes(b, p, i, it->channels[i], it->info);
	}
	strbuf_add_str(b, "}}");
}

static void events_add_answer(struct strbuf *b, const struct publication *p)
{
	if (!p->info)
		strbuf_add_str(b, "{}");
	else if (p->is_batch)
		events_add_batch(b, p);
	else
		events_add_channels(b, p);
}

static void on_published(void *ctx, int rc)
{
	struct publication *p = ctx;
	struct strbuf b;

	if (rc) {
		call_reply_failure(p->r, rc);
	} else if (!p->info) {
		request_reply(p->r, p->status, SV("{}"));
	} else {
		strbuf_init(&b, 256);
		events_add_answer(&b, p);
		call_reply_json(p->r, p->status, &b);
	}
	publication_free(p);
}

static void events_submit(struct publication *p, const struct publish_key *key,
			  void (*done)(void *ctx, int rc))
{
	struct publish_item one, *items = p->n == 1 ? &one : xcalloc(p->n, sizeof(*items));
	struct publish_request request = { p->app, items, p->n, key };

	for (size_t i = 0; i < p->n; i++) {
		const struct item *it = &p->items[i];

		items[i] =
			(struct publish_item){ it->body.name.text, it->body.data.text, it->channels,
					       it->n_channels, it->exclude_socket };
		metric_add_at(METRIC_EVENTS_IN, p->is_batch ? VIA_BATCH : VIA_HTTP,
			      (int64_t)it->n_channels);
		metric_observe(METRIC_PAYLOAD_BYTES, (usec_t)items[i].data.len, it->n_channels);
	}
	publish_submit(p->services->publisher, &request, done, p);
	if (items != &one)
		free(items);
}

/* ---- with an idempotency key ------------------------------------------ */

static void on_keyed(void *ctx, int rc)
{
	struct publication *p = ctx;

	idempotency_end(p->once, rc, p->key.answer);
}

static void events_reply_once(struct publication *p, const struct idempotency_reply *once)
{
	struct reply reply = { .status = p->status };

	strbuf_init(&reply.body, once->text.len);
	strbuf_add_sv(&reply.body, once->text);
	if (once->is_repeat)
		reply_add_header(&reply, "Idempotent-Replayed", SV("true"));
	request_reply_full(p->r, &reply);
}

static void on_once(void *ctx, struct idempotent_call *o, const struct idempotency_reply *once)
{
	struct publication *p = ctx;

	switch (once->result) {
	case IDEMPOTENCY_FIRST:
		p->once = o;
		strbuf_init(&p->answer, 256);
		events_add_answer(&p->answer, p);
		p->key.answer = strbuf_view(&p->answer);
		events_submit(p, &p->key, on_keyed);
		return;
	case IDEMPOTENCY_ANSWER:
		events_reply_once(p, once);
		break;
	case IDEMPOTENCY_DIFFERENT:
		call_fail(&(struct call){ .r = p->r }, 422,
			  "The idempotency key was used for another request before; nothing was "
			  "published.");
		break;
	case IDEMPOTENCY_FAILED:
		call_reply_failure(p->r, once->rc);
	}
	publication_free(p);
}

/* The header, or the member of the body.  False: replied 400. */
static bool events_read_key(struct call *c, const struct event_member *member, struct str_view *out)
{
	struct str_view header = c->r->header(c->r, "Idempotency-Key");
	bool has_member = member && member->state != MEMBER_ABSENT;

	*out = has_member ? member->text : header;
	if (!has_member && !header.len)
		return true;
	if (has_member && member->state == MEMBER_WRONG)
		call_fail(c, 400, "\"idempotency_key\" must be a string.");
	else if (!idempotency_key_is_valid(*out))
		call_fail(c, 400,
			  "An idempotency key is 1 to %d printable ASCII characters without a "
			  "space.",
			  IDEMPOTENCY_KEY_MAX);
	else if (header.len && !sv_eq(header, *out))
		call_fail(c, 400, "The header Idempotency-Key and \"idempotency_key\" differ.");
	else
		return true;
	return false;
}

/* ---- admission ---------------------------------------------------------- */

static void events_begin(struct publication *p)
{
	const struct request *r = p->r;

	if (p->key.key.len) {
		const struct str_view parts[] = { r->path, request_param(r, "name"),
						  request_param(r, "socket_id"), r->body };
		struct idempotency_key key = { .app = sv(p->app->id), .key = p->key.key };

		idempotency_digest(parts, ARRAY_SIZE(parts), p->digest);
		key.digest = p->key.digest = sv(p->digest);
		idempotency_begin(p->services->once, &key, on_once, p);
	} else {
		events_submit(p, NULL, on_published);
	}
}

static void on_occupancy_read(void *ctx, const struct pg_answer *a)
{
	struct publication *p = ctx;
	int rows = a->rc ? 0 : pg_answer_rows(a);

	if (rows)
		p->occupancy = xcalloc((size_t)rows, sizeof(*p->occupancy));
	for (int row = 0; row < rows; row++)
		p->occupancy[row] = (struct occupancy){ (unsigned)pg_answer_int(a, row, 0),
							(unsigned)pg_answer_int(a, row, 1) };
	events_begin(p);
}

/* In a cluster, attributes of the channels are read before the events are published. */
static void events_admitted(struct publication *p)
{
	struct strbuf names;

	if (!p->info || !occupancy_is_shared(p->services->conf)) {
		events_begin(p);
		return;
	}
	strbuf_init(&names, 256);
	for (size_t i = 0; i < p->n; i++)
		for (size_t k = 0; k < (p->is_batch ? 1 : p->items[i].n_channels); k++) {
			strbuf_add_str(&names, names.len ? " " : "");
			strbuf_add_sv(&names, p->items[i].channels[k]);
		}
	occupancy_read(p->services->pool, p->app, strbuf_view(&names), on_occupancy_read, p);
	strbuf_release(&names);
}

static void on_waited(struct admission_wait *w, int rc)
{
	struct publication *p = CONTAINER_OF(w, struct publication, admission);

	if (!rc) {
		events_admitted(p);
		return;
	}
	call_reply_failure(p->r, rc);
	publication_free(p);
}

/* Publishes now, or when the workers keep up. */
static void events_enter(struct call *c, struct publication *p)
{
	struct admission *a = p->services->admission;
	struct client_address client;

	if (!a) {
		events_admitted(p);
		return;
	}
	for (size_t i = 0; i < p->n; i++)
		for (size_t k = 0; k < p->items[i].n_channels; k++)
			directory_add_share(p->directory, p->app, p->items[i].channels[k],
					    &p->admission.share);
	p->admission.done = on_waited;
	if (admission_enter(a, &p->admission)) {
		events_admitted(p);
		return;
	}
	client = call_client(c);
	admission_park(a, p->app, &client.address, &p->admission);
}

/* Takes p over.  member is the body's idempotency key, NULL where it cannot have one. */
static void events_publish(struct call *c, struct publication *p, const struct event_member *member)
{
	unsigned events = 0;

	for (size_t i = 0; i < p->n; i++) {
		events += (unsigned)p->items[i].n_channels;
		p->info |= p->items[i].info;
	}
	if (!events_read_key(c, member, &p->key.key) || !rates_take_events(c, events))
		publication_free(p);
	else
		events_enter(c, p);
}

/* ---- reading the request --------------------------------------------- */

/* Names what jansson refuses although it is valid JSON. */
static const char *events_json_fault(struct str_view body, const json_error_t *error)
{
	struct str_view root;

	switch (json_check(body, &root)) {
	case JSON_NOT_UTF8:
		return "is not valid UTF-8";
	case JSON_INVALID:
		return "is not valid JSON";
	case JSON_TOO_DEEP:
	case JSON_OK:
		break;
	}
	switch (json_error_code(error)) {
	case json_error_numeric_overflow:
		return "has a number that is too large";
	case json_error_null_byte_in_key:
		return "has a name with NUL (\\u0000)";
	case json_error_stack_overflow:
		return "is nested too deeply";
	default:
		return "has half of a surrogate pair (such as \\ud83d), which UTF-8 cannot hold";
	}
}

/* The body as a JSON object, or NULL: replied. */
static json_t *events_read_object(struct call *c)
{
	json_error_t error;
	json_t *root = json_loadb(c->r->body.ptr, c->r->body.len, JSON_DECODE_ANY | JSON_ALLOW_NUL,
				  &error);

	if (!root)
		call_fail(c, 400, "The body %s (line %d, column %d).",
			  events_json_fault(c->r->body, &error), error.line, error.column);
	else if (!json_is_object(root))
		call_fail(c, 400, "The body must be a JSON object.");
	else
		return root;
	json_decref(root);
	return NULL;
}

/* One event as a publication of one item, or NULL: replied. */
static struct publication *events_read_event(struct call *c)
{
	struct publication *p = publication_new(c, 1);

	if (event_body_scan(c->r->body, &p->items[0].body))
		return p;
	p->root = events_read_object(c);
	if (p->root) {
		event_body_of_json(p->root, &p->items[0].body);
		return p;
	}
	publication_free(p);
	return NULL;
}

static bool events_check_name(struct call *c, struct str_view name)
{
	unsigned max = c->app->limits.max_event_name_bytes;

	if (!name.len)
		call_fail(c, 400, "The event needs a name.");
	else if (sv_starts_with(name, SV("pusher:")) ||
		 sv_starts_with(name, SV("pusher_internal:")))
		call_fail(c, 400,
			  "An event's name must not start with pusher: or pusher_internal:.");
	else if (max && name.len > max)
		call_fail(c, 400, "An event's name may have at most %u bytes.", max);
	else if (memchr(name.ptr, '\0', name.len))
		call_fail(c, 400, "An event's name may not contain NUL (\\u0000).");
	else
		return true;
	return false;
}

static bool events_check_data(struct call *c, struct str_view data)
{
	unsigned max = c->app->limits.max_event_payload_bytes;

	if (!max || data.len <= max)
		return true;
	call_fail(c, 413, "The event's data has %zu bytes; at most %u are allowed.", data.len, max);
	return false;
}

static bool events_check_type(struct call *c, const struct event_member *f, const char *key)
{
	if (f->state != MEMBER_WRONG)
		return true;
	call_fail(c, 400, "\"%s\" must be a string.", key);
	return false;
}

static bool events_check_content(struct call *c, const struct event_body *b)
{
	if (!events_check_type(c, &b->name, "name") || !events_check_name(c, b->name.text) ||
	    !events_check_type(c, &b->data, "data"))
		return false;
	if (b->data.state == MEMBER_ABSENT) {
		call_fail(c, 400, "The event needs \"data\", a string (encode objects as JSON).");
		return false;
	}
	return events_check_data(c, b->data.text);
}

static bool events_read_options(struct call *c, struct item *it)
{
	const struct event_body *b = &it->body;

	if (!events_check_type(c, &b->socket_id, "socket_id") ||
	    !events_check_type(c, &b->info, "info"))
		return false;
	if (b->socket_id.state == MEMBER_TEXT && !b->socket_id.text.len) {
		call_fail(c, 400, "\"socket_id\" is empty; leave it out.");
		return false;
	}
	return parameters_read_socket(c, b->socket_id.text, &it->exclude_socket) &&
	       parameters_read_info(c, b->info.text, &it->info);
}

static bool events_is_among(const struct str_view *names, size_t n, struct str_view name)
{
	for (size_t i = 0; i < n; i++)
		if (sv_eq(names[i], name))
			return true;
	return false;
}

/* Leaves the first of each name in it->channels. */
static void events_drop_repeats(struct item *it, size_t n)
{
	struct map seen;

	map_init(&seen);
	for (size_t i = 0; i < n; i++) {
		struct str_view name = it->channels[i];
		bool repeat = n <= COMPARE_ALL_MAX
				      ? events_is_among(it->channels, it->n_channels, name)
				      : map_put(&seen, name, it) != NULL;

		if (!repeat)
			it->channels[it->n_channels++] = name;
	}
	map_release(&seen);
}

static bool events_check_channels(struct call *c, struct item *it)
{
	bool encrypted = false;
	struct channel_traits t;

	for (size_t i = 0; i < it->n_channels; i++) {
		if (!parameters_read_channel(c, it->channels[i], &t))
			return false;
		encrypted |= t.is_encrypted;
	}
	if (!encrypted || it->n_channels == 1)
		return true;
	call_fail(c, 400, "An event for an encrypted channel can have no other channel.");
	return false;
}

static bool events_set_channel(struct call *c, struct item *it, struct str_view name)
{
	it->one = name;
	it->channels = &it->one;
	it->n_channels = 1;
	return events_check_channels(c, it);
}

static bool events_check_lists(struct call *c, const struct event_body *b)
{
	unsigned max = c->app->limits.max_event_channels;
	size_t n = b->n_channels + (b->channel.state != MEMBER_ABSENT);

	if (b->channels == MEMBER_WRONG)
		call_fail(c, 400, "\"channels\" must be an array of strings.");
	else if (b->has_wrong_channel || b->channel.state == MEMBER_WRONG)
		call_fail(c, 400, "A channel must be a string.");
	else if (!n)
		call_fail(c, 400, "The event needs \"channels\" or \"channel\".");
	else if (max && n > max)
		call_fail(c, 400, "An event can go to at most %u channels at once.", max);
	else
		return true;
	return false;
}

/* "channels"; a "channel" next to it counts as one more. */
static bool events_read_channels(struct call *c, struct item *it)
{
	struct event_body *b = &it->body;

	if (!events_check_lists(c, b))
		return false;
	if (b->channel.state == MEMBER_TEXT)
		event_body_add_channel(b, b->channel.text);
	it->channels = b->list;
	events_drop_repeats(it, b->n_channels);
	return events_check_channels(c, it);
}

static bool events_read_one_channel(struct call *c, struct item *it)
{
	const struct event_member *f = &it->body.channel;

	if (f->state == MEMBER_ABSENT)
		call_fail(c, 400, "Each event of a batch needs a \"channel\".");
	else if (f->state == MEMBER_WRONG)
		call_fail(c, 400, "A channel must be a string.");
	else
		return events_set_channel(c, it, f->text);
	return false;
}

/* ---- the calls ------------------------------------------------------- */

void h_events_post(struct call *c)
{
	struct publication *p = events_read_event(c);

	if (!p)
		return;
	if (events_check_content(c, &p->items[0].body) && events_read_options(c, &p->items[0]) &&
	    events_read_channels(c, &p->items[0]))
		events_publish(c, p, &p->items[0].body.idempotency_key);
	else
		publication_free(p);
}

static bool events_read_batch(struct call *c, const json_t *batch, struct publication *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const json_t *obj = json_array_get(batch, i);
		struct item *it = &p->items[i];

		if (!json_is_object(obj)) {
			call_fail(c, 400, "Each event of a batch must be an object.");
			return false;
		}
		event_body_of_json(obj, &it->body);
		if (it->body.idempotency_key.state != MEMBER_ABSENT) {
			call_fail(c, 400,
				  "\"idempotency_key\" belongs next to \"batch\": it is for the "
				  "whole batch.");
			return false;
		}
		if (!events_check_content(c, &it->body) || !events_read_options(c, it) ||
		    !events_read_one_channel(c, it))
			return false;
	}
	return true;
}

static bool events_check_batch(struct call *c, const json_t *batch)
{
	unsigned max = c->app->limits.max_batch_events;

	if (!json_is_array(batch))
		call_fail(c, 400, "The body needs \"batch\", an array of events.");
	else if (!json_array_size(batch))
		call_fail(c, 400, "The batch is empty.");
	else if (max && json_array_size(batch) > max)
		call_fail(c, 400, "A batch may hold at most %u events.", max);
	else
		return true;
	return false;
}

void h_events_post_batch(struct call *c)
{
	json_t *root = events_read_object(c);
	const json_t *batch = json_object_get(root, "batch");
	struct publication *p;
	struct event_member key;

	if (!root)
		return;
	if (!events_check_batch(c, batch)) {
		json_decref(root);
		return;
	}
	p = publication_new(c, json_array_size(batch));
	p->root = root;
	p->is_batch = true;
	key = event_body_member(json_object_get(root, "idempotency_key"));
	if (events_read_batch(c, batch, p))
		events_publish(c, p, &key);
	else
		publication_free(p);
}

static bool events_check_text(struct call *c, struct str_view text, const char *what)
{
	if (sv_is_utf8(text))
		return true;
	call_fail(c, 400, "The event's %s is not valid UTF-8 text.", what);
	return false;
}

/* For old SDKs: the data is the body, the rest is in the query. */
void h_events_post_channel(struct call *c)
{
	struct publication *p = publication_new(c, 1);
	struct item *it = &p->items[0];

	p->status = 202;
	it->body.name.text = request_param(c->r, "name");
	it->body.data.text = c->r->body;
	if (events_set_channel(c, it, c->arg[0]) && events_check_name(c, it->body.name.text) &&
	    events_check_text(c, it->body.name.text, "name") &&
	    events_check_data(c, it->body.data.text) &&
	    events_check_text(c, it->body.data.text, "data") &&
	    parameters_read_socket(c, request_param(c->r, "socket_id"), &it->exclude_socket))
		events_publish(c, p, NULL);
	else
		publication_free(p);
}

void h_events_post_user(struct call *c)
{
	struct publication *p = events_read_event(c);
	struct strbuf channel;

	if (!p)
		return;
	strbuf_init(&channel, sizeof(USER_CHANNEL_PREFIX) + c->arg[0].len);
	strbuf_add_str(&channel, USER_CHANNEL_PREFIX);
	strbuf_add_sv(&channel, c->arg[0]);
	p->text = channel.ptr;
	if (events_set_channel(c, &p->items[0], strbuf_view(&channel)) &&
	    events_check_content(c, &p->items[0].body) && events_read_options(c, &p->items[0]))
		events_publish(c, p, &p->items[0].body.idempotency_key);
	else
		publication_free(p);
}
