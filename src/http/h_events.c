/* SPDX-License-Identifier: MIT */
/*
 * Publishing.  A request becomes a struct publication: its items point into the parsed JSON, which
 * is kept until the publish is done because "info" is answered afterwards.
 */
#include <jansson.h>
#include "base/annotate.h"
#include "base/map.h"
#include "base/mem.h"
#include "http/call.h"

/* A trigger names few channels as a rule; more go to the heap. */
#define CHANNELS_INLINE 4
/* Repeats among more names than this are found with a map. */
#define COMPARE_ALL_MAX 16

struct item {
	struct str_view name, data;
	struct str_view few[CHANNELS_INLINE];
	struct str_view *channels; /* few, or heap */
	size_t n_channels;
	uint64_t exclude_socket;
	unsigned info;
};

struct publication {
	struct request *r;
	struct directory *directory;
	struct app *app; /* counted */
	json_t *root;	 /* NULL for the legacy call */
	char *text;	 /* a channel name that stands nowhere in the request, or NULL */
	bool is_batch;
	unsigned status; /* of success */
	unsigned info;	 /* of any item */
	size_t n;
	struct item items[];
};

static struct publication *publication_new(struct call *c, json_t *root, size_t n)
{
	struct publication *p = xcalloc(1, sizeof(*p) + n * sizeof(p->items[0]));

	p->r = c->r;
	p->directory = c->services->directory;
	p->app = app_ref(c->app);
	p->root = root;
	p->status = 200;
	p->n = n;
	return p;
}

static void publication_free(struct publication *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->items[i].channels != p->items[i].few)
			free(p->items[i].channels);
	json_decref(p->root);
	app_unref(p->app);
	free(p->text);
	free(p);
}

/* ---- the answer ------------------------------------------------------ */

static bool is_presence(struct str_view channel)
{
	return sv_starts_with(channel, SV("presence-"));
}

/* {"user_count":1,"subscription_count":2}: what was asked for and applies. */
static void add_attributes(struct strbuf *b, const struct publication *p, struct str_view channel,
			   unsigned info)
{
	struct channel_info ci = { .occupied = false };

	directory_channel_info(p->directory, p->app, channel, &ci);
	strbuf_add_c(b, '{');
	if ((info & INFO_USER_COUNT) && is_presence(channel))
		strbuf_addf(b, "\"user_count\":%u%s", ci.user_count,
			    info & INFO_SUBSCRIPTION_COUNT ? "," : "");
	if (info & INFO_SUBSCRIPTION_COUNT)
		strbuf_addf(b, "\"subscription_count\":%u", ci.subscription_count);
	strbuf_add_c(b, '}');
	channel_info_release(&ci);
}

static void add_batch(struct strbuf *b, const struct publication *p)
{
	strbuf_add_str(b, "{\"batch\":[");
	for (size_t i = 0; i < p->n; i++) {
		if (i)
			strbuf_add_c(b, ',');
		add_attributes(b, p, p->items[i].channels[0], p->items[i].info);
	}
	strbuf_add_str(b, "]}");
}

static void add_channels(struct strbuf *b, const struct publication *p)
{
	const struct item *it = &p->items[0];

	strbuf_add_str(b, "{\"channels\":{");
	for (size_t i = 0; i < it->n_channels; i++) {
		if (i)
			strbuf_add_c(b, ',');
		strbuf_add_json(b, it->channels[i]);
		strbuf_add_c(b, ':');
		add_attributes(b, p, it->channels[i], it->info);
	}
	strbuf_add_str(b, "}}");
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
		if (p->is_batch)
			add_batch(&b, p);
		else
			add_channels(&b, p);
		call_reply_json(p->r, p->status, &b);
	}
	publication_free(p);
}

static void to_publish_item(const struct item *it, struct publish_item *out)
{
	*out = (struct publish_item){ it->name, it->data, it->channels, it->n_channels,
				      it->exclude_socket };
}

/* Takes p over. */
static void publish(struct call *c, struct publication *p)
{
	struct publish_item one, *items = p->n == 1 ? &one : xcalloc(p->n, sizeof(*items));
	unsigned events = 0;

	for (size_t i = 0; i < p->n; i++) {
		to_publish_item(&p->items[i], &items[i]);
		events += (unsigned)p->items[i].n_channels;
		p->info |= p->items[i].info;
	}
	if (call_take_events(c, events))
		publish_submit(c->services->publisher, c->app, items, p->n, on_published, p);
	else
		publication_free(p);
	if (items != &one)
		free(items);
}

/* ---- reading the request --------------------------------------------- */

static struct str_view json_view(const json_t *s)
{
	return sv_n(json_string_value(s), json_string_length(s));
}

/* The body as a JSON object, or NULL: answered. */
static json_t *read_object(struct call *c)
{
	json_error_t error;
	json_t *root = json_loadb(c->r->body.ptr, c->r->body.len, JSON_DECODE_ANY, &error);

	if (!root)
		call_fail(c, 400, "The body is not valid JSON (line %d, column %d).", error.line,
			  error.column);
	else if (!json_is_object(root))
		call_fail(c, 400, "The body must be a JSON object.");
	else
		return root;
	json_decref(root);
	return NULL;
}

static bool check_name(struct call *c, struct str_view name)
{
	unsigned max = c->app->limits.max_event_name_bytes;

	if (!name.len)
		call_fail(c, 400, "The event needs a name.");
	else if (max && name.len > max)
		call_fail(c, 400, "An event's name may have at most %u bytes.", max);
	else if (!sv_is_utf8(name) || memchr(name.ptr, '\0', name.len))
		call_fail(c, 400, "The event's name is not valid UTF-8 text.");
	else
		return true;
	return false;
}

static bool check_data(struct call *c, struct str_view data)
{
	unsigned max = c->app->limits.max_event_payload_bytes;

	if (max && data.len > max)
		call_fail(c, 413, "The event's data has %zu bytes; at most %u are allowed.",
			  data.len, max);
	else if (!sv_is_utf8(data) || (data.len && memchr(data.ptr, '\0', data.len)))
		call_fail(c, 400, "The event's data is not valid UTF-8 text.");
	else
		return true;
	return false;
}

/* A member that must be a string; null and absence give the empty view and *there false. */
static bool read_string(struct call *c, const json_t *obj, const char *key, struct str_view *out,
			bool *there)
{
	const json_t *v = json_object_get(obj, key);

	*there = v && !json_is_null(v);
	*out = sv_n("", 0);
	if (!*there)
		return true;
	if (!json_is_string(v)) {
		call_fail(c, 400, "\"%s\" must be a string.", key);
		return false;
	}
	*out = json_view(v);
	return true;
}

static bool read_name_and_data(struct call *c, const json_t *obj, struct item *it)
{
	bool there;

	if (!read_string(c, obj, "name", &it->name, &there) || !check_name(c, it->name) ||
	    !read_string(c, obj, "data", &it->data, &there))
		return false;
	if (!there) {
		call_fail(c, 400, "The event needs \"data\", a string (encode objects as JSON).");
		return false;
	}
	return check_data(c, it->data);
}

static bool read_options(struct call *c, const json_t *obj, struct item *it)
{
	struct str_view socket, info;
	bool there;

	if (!read_string(c, obj, "socket_id", &socket, &there))
		return false;
	if (there && !socket.len) {
		call_fail(c, 400, "\"socket_id\" is empty; leave it out.");
		return false;
	}
	return call_read_socket(c, socket, &it->exclude_socket) &&
	       read_string(c, obj, "info", &info, &there) && call_read_info(c, info, &it->info);
}

/* Adds unless it is there already; seen is used once the list is long. */
static void add_once(struct item *it, struct map *seen, struct str_view name)
{
	if (it->n_channels < COMPARE_ALL_MAX) {
		for (size_t i = 0; i < it->n_channels; i++)
			if (sv_eq(it->channels[i], name))
				return;
	} else {
		if (!seen->used)
			for (size_t i = 0; i < it->n_channels; i++)
				map_put(seen, it->channels[i], it);
		if (map_put(seen, name, it))
			return;
	}
	it->channels[it->n_channels++] = name;
}

static bool take_channel(struct call *c, struct item *it, struct map *seen, const json_t *v,
			 bool *encrypted)
{
	struct channel_traits t;

	if (!json_is_string(v)) {
		call_fail(c, 400, "A channel must be a string.");
		return false;
	}
	if (!call_read_channel(c, json_view(v), &t))
		return false;
	*encrypted |= t.encrypted;
	add_once(it, seen, json_view(v));
	return true;
}

static bool take_channels(struct call *c, struct item *it, const json_t *list, const json_t *one)
{
	bool encrypted = false, ok = true;
	struct map seen;

	map_init(&seen);
	for (size_t i = 0; ok && i < json_array_size(list); i++)
		ok = take_channel(c, it, &seen, json_array_get(list, i), &encrypted);
	if (ok && one)
		ok = take_channel(c, it, &seen, one, &encrypted);
	map_release(&seen);
	if (ok && encrypted && it->n_channels > 1) {
		call_fail(c, 400, "An event for an encrypted channel can go to that one only.");
		ok = false;
	}
	return ok;
}

static void item_room(struct item *it, size_t n)
{
	it->channels =
		n <= CHANNELS_INLINE ? it->few : xreallocarray(NULL, n, sizeof(*it->channels));
}

/* "channels", "channel" or both. */
static bool read_channels(struct call *c, const json_t *obj, struct item *it)
{
	const json_t *list = json_object_get(obj, "channels");
	const json_t *one = json_object_get(obj, "channel");
	unsigned max = c->app->limits.max_event_channels;
	size_t n;

	if (list && !json_is_null(list) && !json_is_array(list)) {
		call_fail(c, 400, "\"channels\" must be an array of strings.");
		return false;
	}
	if (one && json_is_null(one))
		one = NULL;
	n = json_array_size(list) + (one != NULL);
	if (!n) {
		call_fail(c, 400, "The event needs \"channels\" or \"channel\".");
		return false;
	}
	if (max && n > max) {
		call_fail(c, 400, "An event can go to at most %u channels at once.", max);
		return false;
	}
	item_room(it, n);
	return take_channels(c, it, list, one);
}

static bool read_one_channel(struct call *c, const json_t *obj, struct item *it)
{
	const json_t *one = json_object_get(obj, "channel");

	item_room(it, 1);
	if (!one) {
		call_fail(c, 400, "Each event of a batch needs a \"channel\".");
		return false;
	}
	return take_channels(c, it, NULL, one);
}

/* ---- the calls ------------------------------------------------------- */

void h_events_post(struct call *c)
{
	json_t *root = read_object(c);
	struct publication *p;

	if (!root)
		return;
	p = publication_new(c, root, 1);
	if (read_name_and_data(c, root, &p->items[0]) && read_options(c, root, &p->items[0]) &&
	    read_channels(c, root, &p->items[0]))
		publish(c, p);
	else
		publication_free(p);
}

static bool read_batch(struct call *c, const json_t *batch, struct publication *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const json_t *obj = json_array_get(batch, i);

		if (!json_is_object(obj)) {
			call_fail(c, 400, "Each event of a batch must be an object.");
			return false;
		}
		if (!read_name_and_data(c, obj, &p->items[i]) ||
		    !read_options(c, obj, &p->items[i]) || !read_one_channel(c, obj, &p->items[i]))
			return false;
	}
	return true;
}

static bool check_batch(struct call *c, const json_t *batch)
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
	json_t *root = read_object(c);
	const json_t *batch = json_object_get(root, "batch");
	struct publication *p;

	if (!root)
		return;
	if (!check_batch(c, batch)) {
		json_decref(root);
		return;
	}
	p = publication_new(c, root, json_array_size(batch));
	p->is_batch = true;
	if (read_batch(c, batch, p))
		publish(c, p);
	else
		publication_free(p);
}

/* The call of old SDKs: the data is the body, the rest stands in the query. */
void h_events_post_channel(struct call *c)
{
	struct publication *p = publication_new(c, NULL, 1);
	struct item *it = &p->items[0];
	struct channel_traits t;

	p->status = 202;
	it->name = request_param(c->r, "name");
	it->data = c->r->body;
	item_room(it, 1);
	it->channels[it->n_channels++] = c->arg[0];
	if (call_read_channel(c, c->arg[0], &t) && check_name(c, it->name) &&
	    check_data(c, it->data) &&
	    call_read_socket(c, request_param(c->r, "socket_id"), &it->exclude_socket))
		publish(c, p);
	else
		publication_free(p);
}

static bool read_user_channel(struct call *c, struct publication *p)
{
	struct item *it = &p->items[0];
	struct channel_traits t;
	struct strbuf b;

	strbuf_init(&b, sizeof(USER_CHANNEL_PREFIX) + c->arg[0].len);
	strbuf_add_str(&b, USER_CHANNEL_PREFIX);
	strbuf_add_sv(&b, c->arg[0]);
	item_room(it, 1);
	it->channels[it->n_channels++] = strbuf_view(&b);
	p->text = b.ptr;
	return call_read_channel(c, it->channels[0], &t);
}

void h_events_post_user(struct call *c)
{
	json_t *root = read_object(c);
	struct publication *p;

	if (!root)
		return;
	p = publication_new(c, root, 1);
	if (read_user_channel(c, p) && read_name_and_data(c, root, &p->items[0]) &&
	    read_options(c, root, &p->items[0]))
		publish(c, p);
	else
		publication_free(p);
}
