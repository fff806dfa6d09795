/* SPDX-License-Identifier: MIT */
/*
 * Messages are read in place (wire/json.h): what is passed on is the bytes that came.  Strings may
 * hold NUL, so every one is taken with its length.  null counts as absent: some clients write their
 * unset fields out.
 */
#include <errno.h>
#include "base/mem.h"
#include "wire/channel_name.h"
#include "wire/json.h"
#include "wire/pusher.h"

static const char half_a_pair[] =
	"A string has half of a surrogate pair (such as \\ud83d), which UTF-8 cannot hold";

/* The object that text holds; false with *why. */
static bool pusher_load_object(struct str_view text, struct str_view *object, const char **why)
{
	switch (json_check(text, object)) {
	case JSON_NOT_UTF8:
		*why = "Message is not valid UTF-8";
		return false;
	case JSON_TOO_DEEP:
		*why = "Message is nested too deeply: at most 32 levels";
		return false;
	case JSON_INVALID:
		*why = "Message is not valid JSON";
		return false;
	case JSON_OK:
		break;
	}
	if (json_kind(*object) == '{')
		return true;
	*why = "Message is not a JSON object";
	return false;
}

/* Empty when absent or null. */
static struct str_view pusher_member(struct str_view object, const char *key)
{
	struct str_view value = json_member(object, sv(key));

	return json_kind(value) == 'n' ? sv_n(NULL, 0) : value;
}

/* Fields in data, which kinds of messages need them, and the text of the refusal. */
struct field {
	const char *key;
	size_t view; /* offset in struct client_frame */
	unsigned read_by, needed_by;
	const char *why;
};

#define KIND(k) (1U << (k))

static const struct field fields[] = {
	{ "channel", offsetof(struct client_frame, channel),
	  KIND(FRAME_SUBSCRIBE) | KIND(FRAME_UNSUBSCRIBE),
	  KIND(FRAME_SUBSCRIBE) | KIND(FRAME_UNSUBSCRIBE), "data.channel must be a string" },
	{ "auth", offsetof(struct client_frame, auth), KIND(FRAME_SUBSCRIBE) | KIND(FRAME_SIGNIN),
	  KIND(FRAME_SIGNIN), "data.auth must be a string" },
	{ "channel_data", offsetof(struct client_frame, channel_data), KIND(FRAME_SUBSCRIBE), 0,
	  "data.channel_data must be a string of JSON" },
	{ "since", offsetof(struct client_frame, since), KIND(FRAME_SUBSCRIBE), 0,
	  "data.since must be a string" },
	{ "was", offsetof(struct client_frame, was), KIND(FRAME_SUBSCRIBE), 0,
	  "data.was must be a string" },
	{ "user_data", offsetof(struct client_frame, user_data), KIND(FRAME_SIGNIN),
	  KIND(FRAME_SIGNIN), "data.user_data must be a string of JSON" },
};

/* data: the object.  room: where the next decoded string goes. */
static int pusher_read_fields(struct client_frame *f, struct str_view data, char **room,
			      const char **why)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		const struct field *d = &fields[i];
		struct str_view value;

		if (!(d->read_by & KIND(f->kind)))
			continue;
		value = pusher_member(data, d->key);
		if (!value.len && !(d->needed_by & KIND(f->kind)))
			continue;
		*why = d->why;
		if (json_kind(value) != '"')
			return -EINVAL;
		*why = half_a_pair;
		if (!json_decode_string(value, room, (struct str_view *)((char *)f + d->view)))
			return -EINVAL;
	}
	f->has_channel_data = f->channel_data.ptr != NULL;
	return 0;
}

/* data as an object; a string that holds one is decoded. */
static int pusher_open_data(struct str_view *data, char **room, const char **why)
{
	struct str_view inner;

	if (json_kind(*data) == '{')
		return 0;
	if (json_kind(*data) != '"') {
		*why = "data must be an object";
		return -EINVAL;
	}
	if (json_decode_string(*data, room, &inner) && pusher_load_object(inner, data, why))
		return 0;
	*why = "data must be an object, or a string that holds one";
	return -EINVAL;
}

static int pusher_read_client_event(struct client_frame *f, struct str_view root, char **room,
				    const char **why)
{
	struct str_view channel = pusher_member(root, "channel");

	*why = "channel must be a string";
	if (json_kind(channel) != '"')
		return -EINVAL;
	*why = half_a_pair;
	if (!json_decode_string(channel, room, &f->channel))
		return -EINVAL;
	f->data = json_member(root, SV("data"));
	return 0;
}

static enum frame_kind pusher_kind_of(struct str_view event)
{
	static const struct {
		const char *event;
		enum frame_kind kind;
	} kinds[] = {
		{ "pusher:ping", FRAME_PING },
		{ "pusher:pong", FRAME_PONG },
		{ "pusher:subscribe", FRAME_SUBSCRIBE },
		{ "pusher:unsubscribe", FRAME_UNSUBSCRIBE },
		{ "pusher:signin", FRAME_SIGNIN },
		{ "client-scopewire:heartbeat", FRAME_HEARTBEAT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (sv_eq_c(event, kinds[i].event))
			return kinds[i].kind;
	return sv_starts_with(event, SV("client-")) ? FRAME_CLIENT_EVENT : FRAME_UNKNOWN;
}

static int pusher_read_frame(struct client_frame *f, struct str_view root, char **room,
			     const char **why)
{
	struct str_view event = pusher_member(root, "event"), data;
	int rc;

	*why = "event must be a string";
	if (json_kind(event) != '"')
		return -EINVAL;
	*why = half_a_pair;
	if (!json_decode_string(event, room, &f->event))
		return -EINVAL;
	f->kind = pusher_kind_of(f->event);
	switch (f->kind) {
	case FRAME_SUBSCRIBE:
	case FRAME_UNSUBSCRIBE:
	case FRAME_SIGNIN:
		data = json_member(root, SV("data"));
		rc = pusher_open_data(&data, room, why);
		return rc < 0 ? rc : pusher_read_fields(f, data, room, why);
	case FRAME_CLIENT_EVENT:
		return pusher_read_client_event(f, root, room, why);
	case FRAME_HEARTBEAT:
		f->data = pusher_member(root, "data");
		return f->data.len ? pusher_open_data(&f->data, room, why) : 0;
	case FRAME_PING:
	case FRAME_PONG:
	case FRAME_UNKNOWN:
		break;
	}
	return 0;
}

int client_frame_parse(struct str_view bytes, struct client_frame *out, const char **why)
{
	struct client_frame f = { .kind = FRAME_UNKNOWN };
	struct str_view root;
	char *room;
	int rc;

	if (!pusher_load_object(bytes, &root, why))
		return -EINVAL;
	/* A string that holds the data is decoded, and then the strings in it: twice at most. */
	if (sv_find(bytes, '\\') >= 0)
		f.text = xmalloc(bytes.len * 2);
	room = f.text;
	rc = pusher_read_frame(&f, root, &room, why);
	if (rc < 0)
		client_frame_release(&f);
	else
		*out = f;
	return rc;
}

void client_frame_release(struct client_frame *f)
{
	free(f->text);
	*f = (struct client_frame){ .kind = FRAME_UNKNOWN };
}

/* A heap string, or NULL with *why. */
static char *pusher_string(struct str_view value, const char **why)
{
	struct str_view text;
	char *room = xmalloc(value.len), *start = room, *copy = NULL;

	if (!json_decode_string(value, &room, &text))
		*why = half_a_pair;
	else if (memchr(text.ptr, '\0', text.len))
		*why = "An id may not contain NUL (\\u0000)";
	else
		copy = sv_dup(text);
	free(start);
	return copy;
}

/* Other clients would read 7.0, 1e3 and -0 as other ids. */
static bool pusher_is_whole_number(struct str_view value)
{
	size_t i = value.len > 1 && value.ptr[0] == '-';

	if (value.len > 1 && value.ptr[i] == '0')
		return false;
	for (; i < value.len; i++)
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			return false;
	return value.len > 0;
}

/* The id as heap text, or NULL with *why. */
static char *pusher_id(struct str_view value, bool numbers_too, const char **why)
{
	if (json_kind(value) == '"' && value.len > 2)
		return pusher_string(value, why);
	if (numbers_too && pusher_is_whole_number(value))
		return sv_dup(value);
	*why = numbers_too ? "user_id must be a non-empty string or a whole number in digits"
			   : "id must be a non-empty string";
	return NULL;
}

/* A member of a presence channel (is_user false), or a user who signs in. */
static int pusher_read_member(struct str_view object, bool is_user, size_t max_id_bytes,
			      struct presence_member *m, const char **why)
{
	struct str_view info = json_member(object, SV("user_info"));
	struct str_view id = json_member(object, is_user ? SV("id") : SV("user_id"));

	m->user_id = pusher_id(id, !is_user, why);
	if (!m->user_id)
		return -EINVAL;
	if (max_id_bytes && strlen(m->user_id) > max_id_bytes) {
		*why = "The user's id is too long (option max_user_id_bytes)";
		return -E2BIG;
	}
	m->user_info = info.len ? sv_dup(info) : NULL;
	return 0;
}

int presence_member_parse(struct str_view channel_data, size_t max_id_bytes, size_t max_info_bytes,
			  struct presence_member *out, const char **why)
{
	struct presence_member m = { NULL, NULL, NULL, 0 };
	struct str_view root;
	int rc;

	if (!pusher_load_object(channel_data, &root, why)) {
		*why = "channel_data must be a JSON object";
		return -EINVAL;
	}
	rc = pusher_read_member(root, false, max_id_bytes, &m, why);
	if (rc == 0 && max_info_bytes && m.user_info && strlen(m.user_info) > max_info_bytes) {
		*why = "The member's user_info is too large (option max_presence_member_bytes)";
		rc = -E2BIG;
	}
	if (rc < 0)
		presence_member_release(&m);
	else
		*out = m;
	return rc;
}

static int pusher_read_watchlist(struct str_view root, struct presence_member *m, const char **why)
{
	struct str_view list = pusher_member(root, "watchlist"), value;
	size_t at = 0, n = 0;

	if (!list.len)
		return 0;
	*why = "watchlist must be an array of user ids";
	if (json_kind(list) != '[')
		return -EINVAL;
	while (json_next_element(list, &at, &value))
		n++;
	m->watchlist = xcalloc(n + 1, sizeof(*m->watchlist));
	for (at = 0; json_next_element(list, &at, &value);) {
		char *id;

		if (json_kind(value) != '"')
			return -EINVAL;
		if (value.len == 2)
			continue;
		id = pusher_string(value, why);
		if (!id)
			return -EINVAL;
		m->watchlist[m->n_watchlist++] = id;
	}
	return 0;
}

/* The user's own channel has the id in its name. */
static int pusher_check_user_id(const char *id, const char **why)
{
	struct channel_traits t;
	struct strbuf name;
	int rc;

	strbuf_init(&name, 64);
	strbuf_add_str(&name, USER_CHANNEL_PREFIX);
	strbuf_add_str(&name, id);
	rc = channel_name_parse(strbuf_view(&name), 0, &t);
	strbuf_release(&name);
	if (rc)
		*why = "id may hold only letters, digits and _-=@,.; because the channel "
		       "#server-to-user-ID has it in its name";
	return rc;
}

int user_data_parse(struct str_view user_data, size_t max_id_bytes, struct presence_member *out,
		    const char **why)
{
	struct presence_member m = { NULL, NULL, NULL, 0 };
	struct str_view root;
	int rc;

	if (!pusher_load_object(user_data, &root, why)) {
		*why = "user_data must be a JSON object";
		return -EINVAL;
	}
	rc = pusher_read_member(root, true, max_id_bytes, &m, why);
	if (rc == 0)
		rc = pusher_check_user_id(m.user_id, why);
	if (rc == 0)
		rc = pusher_read_watchlist(root, &m, why);
	if (rc < 0)
		presence_member_release(&m);
	else
		*out = m;
	return rc;
}

void presence_member_release(struct presence_member *m)
{
	free(m->user_id);
	free(m->user_info);
	for (size_t i = 0; i < m->n_watchlist; i++)
		free(m->watchlist[i]);
	free(m->watchlist);
	*m = (struct presence_member){ NULL, NULL, NULL, 0 };
}

/* Adds ,"key": and leaves the value to the caller. */
static void pusher_add_key(struct strbuf *b, const char *key)
{
	strbuf_add(b, ",\"", 2);
	strbuf_add_str(b, key);
	strbuf_add(b, "\":", 2);
}

static void pusher_add_string(struct strbuf *b, const char *key, struct str_view value)
{
	pusher_add_key(b, key);
	strbuf_add_json(b, value);
}

/* event needs no escapes. */
static void pusher_begin(struct strbuf *b, const char *event)
{
	strbuf_add_str(b, "{\"event\":\"");
	strbuf_add_str(b, event);
	strbuf_add_c(b, '"');
}

static void pusher_begin_on(struct strbuf *b, const char *event, struct str_view channel)
{
	pusher_begin(b, event);
	pusher_add_string(b, "channel", channel);
}

static void pusher_end_with_data(struct strbuf *b, struct strbuf *data)
{
	pusher_add_string(b, "data", strbuf_view(data));
	strbuf_add_c(b, '}');
	strbuf_release(data);
}

void frame_connection_established(struct strbuf *b, const char *socket_id,
				  unsigned activity_timeout_s, struct str_view epoch)
{
	struct strbuf data;

	strbuf_init(&data, 128);
	strbuf_addf(&data, "{\"socket_id\":\"%s\",\"activity_timeout\":%u", socket_id,
		    activity_timeout_s);
	if (epoch.len)
		pusher_add_string(&data, "epoch", epoch);
	strbuf_add_c(&data, '}');
	pusher_begin(b, "pusher:connection_established");
	pusher_end_with_data(b, &data);
}

static void frame_error_begin(struct strbuf *b, enum pusher_code code, struct str_view message)
{
	pusher_begin(b, "pusher:error");
	strbuf_add_str(b, ",\"data\":{\"code\":");
	if (code == PUSHER_CODE_NULL)
		strbuf_add_str(b, "null");
	else
		strbuf_add_u64(b, code);
	pusher_add_string(b, "message", message);
}

void frame_error(struct strbuf *b, enum pusher_code code, struct str_view message)
{
	frame_error_begin(b, code, message);
	strbuf_add_str(b, "}}");
}

void frame_reconnect(struct strbuf *b, struct str_view message, unsigned within_ms)
{
	frame_error_begin(b, PUSHER_RECONNECT, message);
	if (within_ms) {
		strbuf_add_str(b, ",\"reconnect_within_ms\":");
		strbuf_add_u64(b, within_ms);
	}
	strbuf_add_str(b, "}}");
}

void frame_pong(struct strbuf *b)
{
	strbuf_add_str(b, "{\"event\":\"pusher:pong\",\"data\":{}}");
}

void frame_subscription_succeeded(struct strbuf *b, struct str_view channel,
				  struct str_view data_json, struct str_view position)
{
	pusher_begin(b, "pusher_internal:subscription_succeeded");
	pusher_add_string(b, "data", data_json);
	pusher_add_string(b, "channel", channel);
	if (position.len)
		pusher_add_string(b, "position", position);
	strbuf_add_c(b, '}');
}

/* Begins the data of an event of our own: {"channel":... */
static void pusher_begin_data(struct strbuf *data, struct str_view channel)
{
	strbuf_init(data, 128 + channel.len);
	strbuf_add_str(data, "{\"channel\":");
	strbuf_add_json(data, channel);
}

static void pusher_end_with_position(struct strbuf *b, struct strbuf *data,
				     struct str_view position)
{
	pusher_add_string(b, "data", strbuf_view(data));
	if (position.len)
		pusher_add_string(b, "position", position);
	strbuf_add_c(b, '}');
	strbuf_release(data);
}

void frame_replayed(struct strbuf *b, struct str_view channel, unsigned count,
		    struct str_view position)
{
	struct strbuf data;

	pusher_begin_data(&data, channel);
	strbuf_addf(&data, ",\"count\":%u}", count);
	pusher_begin_on(b, "scopewire:replayed", channel);
	pusher_end_with_position(b, &data, position);
}

void frame_resync(struct strbuf *b, struct str_view channel, const char *reason,
		  const struct position *now)
{
	char text[POSITION_SIZE];
	struct strbuf data;

	pusher_begin_data(&data, channel);
	pusher_add_string(&data, "reason", sv(reason));
	if (now->epoch[0]) {
		pusher_add_string(&data, "epoch", sv(now->epoch));
		pusher_add_key(&data, "serial");
		strbuf_add_u64(&data, now->serial);
	}
	strbuf_add_c(&data, '}');
	pusher_begin_on(b, "scopewire:resync", channel);
	pusher_end_with_position(b, &data, sv(position_format(now, text)));
}

void frame_token_expiring(struct strbuf *b, uint64_t exp)
{
	struct strbuf data;

	strbuf_init(&data, 64);
	strbuf_add_str(&data, "{\"exp\":");
	strbuf_add_u64(&data, exp);
	strbuf_add_c(&data, '}');
	pusher_begin(b, "scopewire:token_expiring");
	pusher_end_with_data(b, &data);
}

/* Without a channel: stock clients decrypt what they receive on an encrypted channel. */
void frame_token_extended(struct strbuf *b, struct str_view channel, uint64_t exp)
{
	struct strbuf data;

	pusher_begin_data(&data, channel);
	strbuf_add_str(&data, ",\"exp\":");
	strbuf_add_u64(&data, exp);
	strbuf_add_c(&data, '}');
	pusher_begin(b, "scopewire:token_extended");
	pusher_end_with_data(b, &data);
}

void frame_subscription_error(struct strbuf *b, struct str_view channel, const char *type,
			      struct str_view error, unsigned status)
{
	pusher_begin_on(b, "pusher:subscription_error", channel);
	strbuf_add_str(b, ",\"data\":{\"type\":");
	strbuf_add_json(b, sv(type));
	pusher_add_string(b, "error", error);
	strbuf_addf(b, ",\"status\":%u}}", status);
}

void frame_member_added(struct strbuf *b, struct str_view channel, struct str_view user_id,
			struct str_view user_info_json)
{
	struct strbuf data;

	strbuf_init(&data, 64 + user_id.len + user_info_json.len);
	strbuf_add_str(&data, "{\"user_id\":");
	strbuf_add_json(&data, user_id);
	if (user_info_json.len) {
		pusher_add_key(&data, "user_info");
		strbuf_add_sv(&data, user_info_json);
	}
	strbuf_add_c(&data, '}');
	pusher_begin_on(b, "pusher_internal:member_added", channel);
	pusher_end_with_data(b, &data);
}

void frame_member_removed(struct strbuf *b, struct str_view channel, struct str_view user_id)
{
	struct strbuf data;

	strbuf_init(&data, 64 + user_id.len);
	strbuf_add_str(&data, "{\"user_id\":");
	strbuf_add_json(&data, user_id);
	strbuf_add_c(&data, '}');
	pusher_begin_on(b, "pusher_internal:member_removed", channel);
	pusher_end_with_data(b, &data);
}

void frame_subscription_count(struct strbuf *b, struct str_view channel, unsigned count)
{
	pusher_begin_on(b, "pusher_internal:subscription_count", channel);
	strbuf_addf(b, ",\"data\":\"{\\\"subscription_count\\\":%u}\"}", count);
}

void frame_cache_miss(struct strbuf *b, struct str_view channel)
{
	pusher_begin_on(b, "pusher:cache_miss", channel);
	strbuf_add_str(b, ",\"data\":\"{}\"}");
}

void frame_signin_success(struct strbuf *b, struct str_view user_data)
{
	pusher_begin(b, "pusher:signin_success");
	strbuf_add_str(b, ",\"data\":{\"user_data\":");
	strbuf_add_json(b, user_data);
	strbuf_add_str(b, "}}");
}

void frame_watchlist(struct strbuf *b, const char *name, const struct str_view *user_ids, size_t n)
{
	pusher_begin(b, "pusher_internal:watchlist_events");
	strbuf_add_str(b, ",\"data\":{\"events\":[{\"name\":");
	strbuf_add_json(b, sv(name));
	strbuf_add_str(b, ",\"user_ids\":[");
	for (size_t i = 0; i < n; i++) {
		if (i)
			strbuf_add_c(b, ',');
		strbuf_add_json(b, user_ids[i]);
	}
	strbuf_add_str(b, "]}]}}");
}

void frame_event(struct strbuf *b, const struct frame_event *e)
{
	strbuf_reserve(b, e->data.len + e->event.len + e->channel.len + 128);
	strbuf_add_str(b, "{\"event\":");
	strbuf_add_json(b, e->event);
	pusher_add_string(b, "channel", e->channel);
	if (!e->has_json_data) {
		pusher_add_string(b, "data", e->data);
	} else if (e->data.len) {
		pusher_add_key(b, "data");
		strbuf_add_sv(b, e->data);
	}
	if (e->id.len)
		pusher_add_string(b, "id", e->id);
	if (e->serial) {
		pusher_add_key(b, "serial");
		strbuf_add_u64(b, e->serial);
	}
	if (e->user_id.len)
		pusher_add_string(b, "user_id", e->user_id);
	strbuf_add_c(b, '}');
}

/* FIN and opcode 1, then the length in 1, 3 or 9 bytes. */
static size_t pusher_ws_header(size_t len, unsigned char out[10])
{
	size_t n = 2;

	out[0] = 0x81;
	if (len < 126) {
		out[1] = (unsigned char)len;
		return n;
	}
	out[1] = len <= UINT16_MAX ? 126 : 127;
	for (int shift = len <= UINT16_MAX ? 8 : 56; shift >= 0; shift -= 8)
		out[n++] = (unsigned char)((uint64_t)len >> shift);
	return n;
}

struct msgbuf *ws_text_frame(struct str_view json)
{
	unsigned char header[10];
	size_t n = pusher_ws_header(json.len, header);
	struct msgbuf *m = msgbuf_new(n + json.len);

	memcpy(m->data, header, n);
	if (json.len)
		memcpy(m->data + n, json.ptr, json.len);
	return m;
}

void ws_text_frame_add(struct strbuf *out, struct str_view json)
{
	unsigned char header[10];

	strbuf_add(out, header, pusher_ws_header(json.len, header));
	strbuf_add_sv(out, json);
}

struct msgbuf *ws_ping_frames(void)
{
	static const unsigned char ping[] = { 0x89, 0 }; /* FIN, PING; no payload */
	struct strbuf frames;
	struct msgbuf *m;

	strbuf_init(&frames, 64);
	strbuf_add(&frames, ping, sizeof(ping));
	ws_text_frame_add(&frames, SV("{\"event\":\"pusher:ping\",\"data\":{}}"));
	m = msgbuf_from(strbuf_view(&frames));
	strbuf_release(&frames);
	return m;
}

struct msgbuf *ws_close_frame(unsigned code, struct str_view reason)
{
	size_t n = reason.len < 123 ? reason.len : 123;
	struct msgbuf *m = msgbuf_new(4 + n);

	m->data[0] = 0x88; /* FIN, close */
	m->data[1] = (unsigned char)(2 + n);
	m->data[2] = (unsigned char)(code >> 8);
	m->data[3] = (unsigned char)code;
	memcpy(m->data + 4, reason.ptr, n);
	return m;
}
