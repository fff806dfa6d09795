/* SPDX-License-Identifier: MIT */
/* Steps of a client: NAME STEP ... */
#include "wire/auth.h"
#include "play.h"

#define CHUNK 256 /* bytes that the socket layer passes at once */

struct step {
	const char *name;
	void (*run)(struct peer *p, struct str_view rest); /* on_worker */
	bool needs_open;				   /* needs an open connection */
};

/* As the socket layer passes a message: in pieces, each of which may be the last. */
static void receive(struct peer *p, struct str_view text, bool first, bool last, bool binary)
	RUNS_ON(on_worker)
{
	do {
		struct str_view piece = sv_n(text.ptr, text.len < CHUNK ? text.len : CHUNK);
		char *copy = xmalloc(piece.len + 1); /* exact but for one: ends are seen */

		memcpy(copy, piece.ptr, piece.len);
		text = sv_skip(text, piece.len);
		session_receive(p->session, sv_n(copy, piece.len), first, last && !text.len,
				binary);
		first = false;
		free(copy);
	} while (text.len);
}

static void step_send(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct strbuf text;

	words_expand(&text, rest);
	receive(p, strbuf_view(&text), true, true, false);
	strbuf_release(&text);
}

static void step_binary(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	receive(p, rest, true, true, true);
}

/* fragment first|middle|last TEXT */
static void step_fragment(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view which = words_next(&rest);

	receive(p, rest, sv_eq_c(which, "first"), sv_eq_c(which, "last"), false);
}

/* large BYTES: a ping that is padded to that size. */
static void step_large(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	static const char ping[] = "{\"event\":\"pusher:ping\"}";
	size_t n = words_number(words_next(&rest));
	char *text;

	if (n < sizeof(ping) - 1) {
		play_fail("a message of %zu bytes is no ping", n);
		return;
	}
	text = xmalloc(n);
	memset(text, ' ', n);
	memcpy(text, ping, sizeof(ping) - 1);
	receive(p, sv_n(text, n), true, true, false);
	free(text);
}

static void step_expect(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	frames_expect(p, rest);
}

/* frames N: that many, whatever they are */
static void step_frames(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = words_number(words_next(&rest)), got = 0;
	struct str_view text;

	while (frames_next(p, &text))
		got++;
	if (got != want)
		play_fail("%s: got %u frames, want %u", p->name, got, want);
}

/* skip N: the next so many, whatever they are */
static void step_skip(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = words_number(words_next(&rest)), got = 0;
	struct str_view text;

	while (got < want && frames_next(p, &text))
		got++;
	if (got != want)
		play_fail("%s: got %u frames, want %u", p->name, got, want);
}

static void step_nothing(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view text;

	(void)rest;
	if (frames_next(p, &text))
		play_fail("%s: got %.*s, want nothing", p->name, SV_ARG(text));
	if (p->is_closing || p->is_killed)
		play_fail("%s: closed with %u", p->name, p->close_code);
}

/* closed CODE: by the server, after everything it sent was expected */
static void step_closed(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = words_number(words_next(&rest));
	struct str_view text;

	if (frames_next(p, &text))
		play_fail("%s: got %.*s before its close", p->name, SV_ARG(text));
	if (!p->is_closing || p->close_code != want)
		play_fail("%s: closed with %u, want %u", p->name, p->close_code, want);
}

static void step_killed(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	if (!p->is_killed)
		play_fail("%s: was not dropped", p->name);
}

/* pings N: PING frames since the last check, before the next text frame */
static void step_pings(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = words_number(words_next(&rest));

	frames_count_pings(p);
	if (p->pings != want)
		play_fail("%s: %u PING frames, want %u", p->name, p->pings, want);
	p->pings = 0;
}

/* writes N: calls of write since the last check */
static void step_writes(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = words_number(words_next(&rest));

	if (p->writes != want)
		play_fail("%s: %u writes, want %u", p->name, p->writes, want);
	p->writes = 0;
}

static void step_block(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	p->is_blocked = true;
}

static void step_unblock(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	p->is_blocked = false;
	if (!p->wants_writable)
		play_fail("%s: the session did not request session_writable()", p->name);
	p->wants_writable = false;
	if (p->session && !p->is_closing)
		session_writable(p->session);
}

static void step_break(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	p->is_broken = true;
}

static void step_pong(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	session_alive(p->session);
}

/* Bytes of a frame that only the socket layer sees. */
static void step_bytes(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	p->heard_at = play.now;
}

static void step_closing(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	session_peer_closing(p->session, 1000);
}

static void step_gone(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	session_closed(p->session);
	p->session = NULL;
}

static const char *secret_of(void)
{
	return play.apps[0]->secret_text;
}

/* auth of text for the first app, as its server would answer. */
static void sign(struct strbuf *out, const struct strbuf *text)
{
	struct auth_secret *secret = auth_secret_new(sv(secret_of()));
	struct str_view part = strbuf_view(text);
	char hex[AUTH_HEX_BYTES + 1];

	auth_sign(secret, &part, 1, hex);
	auth_secret_free(secret);
	strbuf_addf(out, "%s:%s", play.apps[0]->key, hex);
}

struct signed_frame {
	const char *event;
	const struct strbuf *signed_text; /* NULL: without a signature */
	const char *field;		  /* of value */
	struct str_view value, channel, since;
};

static void send_signed(struct peer *p, const struct signed_frame *f) RUNS_ON(on_worker)
{
	struct strbuf b;

	strbuf_init(&b, 256);
	strbuf_addf(&b, "{\"event\":\"%s\",\"data\":{\"auth\":\"", f->event);
	if (f->signed_text)
		sign(&b, f->signed_text);
	strbuf_add_c(&b, '"');
	if (f->channel.ptr) {
		strbuf_add_str(&b, ",\"channel\":");
		strbuf_add_json(&b, f->channel);
	}
	if (f->since.len) {
		strbuf_add_str(&b, ",\"since\":");
		strbuf_add_json(&b, f->since);
	}
	if (f->value.len) {
		strbuf_addf(&b, ",\"%s\":", f->field);
		strbuf_add_json(&b, f->value);
	}
	strbuf_add_str(&b, "}}");
	receive(p, strbuf_view(&b), true, true, false);
	strbuf_release(&b);
}

/* subscribe [since=POSITION] CHANNEL [CHANNEL_DATA]: with a signature if the channel needs one */
static void step_subscribe(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view channel = words_next(&rest), since = SV("");
	struct strbuf text;

	if (sv_starts_with(channel, SV("since="))) {
		since = sv_skip(channel, sizeof("since=") - 1);
		channel = words_next(&rest);
	}
	strbuf_init(&text, 256);
	strbuf_addf(&text, "%s:", p->id);
	strbuf_add_sv(&text, channel);
	if (rest.len)
		strbuf_add_c(&text, ':');
	strbuf_add_sv(&text, rest);
	send_signed(p, &(struct signed_frame){
			       .event = "pusher:subscribe",
			       .signed_text = sv_starts_with(channel, SV("pr")) ? &text : NULL,
			       .field = "channel_data",
			       .value = rest,
			       .channel = channel,
			       .since = since });
	strbuf_release(&text);
}

/* signin USER_DATA */
static void step_signin(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct strbuf text;

	strbuf_init(&text, 256);
	strbuf_addf(&text, "%s::user::", p->id);
	strbuf_add_sv(&text, rest);
	send_signed(p, &(struct signed_frame){ .event = "pusher:signin",
					       .signed_text = &text,
					       .field = "user_data",
					       .value = rest });
	strbuf_release(&text);
}

static const struct step peer_steps[] = {
	{ ">", step_send, true },
	{ "<", step_expect, false },
	{ "-", step_nothing, false },
	{ "frames", step_frames, false },
	{ "skip", step_skip, false },
	{ "closed", step_closed, false },
	{ "killed", step_killed, false },
	{ "writes", step_writes, false },
	{ "pings", step_pings, false },
	{ "binary", step_binary, true },
	{ "fragment", step_fragment, true },
	{ "large", step_large, true },
	{ "block", step_block, true },
	{ "unblock", step_unblock, false },
	{ "break", step_break, true },
	{ "pong", step_pong, true },
	{ "bytes", step_bytes, true },
	{ "closing", step_closing, true },
	{ "gone", step_gone, true },
	{ "subscribe", step_subscribe, true },
	{ "signin", step_signin, true },
};

void step_run(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view name = words_next(&rest);

	for (size_t i = 0; i < ARRAY_SIZE(peer_steps); i++) {
		const struct step *s = &peer_steps[i];

		if (!sv_eq_c(name, s->name))
			continue;
		if (s->needs_open && !p->session)
			play_fail("%s: is closed (%u)", p->name, p->close_code);
		else
			s->run(p, rest);
		return;
	}
	play_fail("\"%.*s\" is no step", SV_ARG(name));
}
