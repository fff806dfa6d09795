/* SPDX-License-Identifier: MIT */
/* Messages between nodes as text, and how they are packed into notifications. */
#include "unit.h"
#include "base/mem.h"
#include "base/macros.h"
#include "bus/message.h"
#include "bus/others.h"
#include "bus/outgoing.h"
#include "bus/packing.h"
#include "bus/redis_payload.h"
#include "bus/redis_senders.h"

#define ck_same(a, b) ck_assert(sv_eq((a), (b)))

static const struct bus_message event = {
	.kind = BUS_EVENT,
	.app = SV("portal"),
	.channel = SV("private-x.1"),
	.name = SV("App\\Events\\X"),
	.id = SV("01HZ"),
	.data = SV("{\"a\":\"\xc3\xa9 3:C2:x\"}"),
	.exclude = UINT64_C(0x7fffffff00000001),
	.published_at = INT64_C(1700000000000000),
};

static void ck_message(const struct bus_message *got, const struct bus_message *want)
{
	ck_assert_int_eq((int)got->kind, (int)want->kind);
	ck_same(got->app, want->app);
	ck_same(got->channel, want->channel);
	ck_same(got->name, want->name);
	ck_same(got->id, want->id);
	ck_same(got->data, want->data);
	ck_assert_uint_eq(got->exclude, want->exclude);
	ck_assert_int_eq(got->published_at, want->published_at);
}

START_TEST(a_message_is_read_as_it_was_written)
{
	static const struct bus_message whisper = {
		.kind = BUS_CLIENT_EVENT, .app = SV("a"), .channel = SV("private-c"), .data = SV("")
	};
	struct bus_message got;
	struct strbuf text;
	struct str_view rest;

	strbuf_init(&text, 64);
	ck_assert(bus_message_add(&text, &whisper));
	ck_assert(bus_message_add(&text, &event));
	rest = strbuf_view(&text);
	ck_assert(bus_message_take(&rest, &got));
	ck_message(&got, &whisper);
	ck_assert(bus_message_take(&rest, &got));
	ck_message(&got, &event);
	ck_assert(!bus_message_take(&rest, &got));
	strbuf_release(&text);
}
END_TEST

START_TEST(what_is_no_message_is_not_read)
{
	static const char *const cases[] = { "",
					     "C",
					     "X1:a1:b1:c",
					     "C1:a1:b",
					     "C1:a1:b9:c",
					     "C-1:a1:b1:c",
					     "C1a",
					     "C:a:b:c",
					     "C999999999:a",
					     "C1:a1:b1:\xc3",
					     "C1:a1:b1:c" /* valid, for the count */ };
	struct bus_message got;
	struct strbuf text;
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct str_view rest = sv(cases[i]);

		n += bus_message_take(&rest, &got);
	}
	ck_assert_uint_eq(n, 1);
	/* Every beginning of a message is none. */
	strbuf_init(&text, 64);
	ck_assert(bus_message_add(&text, &event));
	for (size_t len = 0; len < text.len; len++) {
		char *exact = xmalloc(len + 1);
		struct str_view rest = sv_n(exact, len);

		memcpy(exact, text.ptr, len);
		ck_assert(!bus_message_take(&rest, &got));
		free(exact);
	}
	strbuf_release(&text);
}
END_TEST

START_TEST(what_postgresql_cannot_carry_is_not_written)
{
	struct bus_message m = event;
	char *large = xcalloc(1, BUS_MESSAGE_MAX_BYTES + 1);
	struct strbuf text;

	strbuf_init(&text, 64);
	memset(large, 'x', BUS_MESSAGE_MAX_BYTES + 1);
	m.data = sv_n(large, BUS_MESSAGE_MAX_BYTES + 1);
	ck_assert(!bus_message_add(&text, &m));
	m.data = sv_n("a\0b", 3);
	ck_assert(!bus_message_add(&text, &m));
	ck_assert_uint_eq(text.len, 0);
	strbuf_release(&text);
	free(large);
}
END_TEST

/* -- packing -- */

struct wire {
	struct bus_unpacker unpacker;
	struct strbuf got; /* all messages, in their order */
	unsigned payloads, logs;
};

static void on_payload(void *ctx, struct str_view payload)
{
	struct wire *w = ctx;
	struct str_view messages;
	char *exact = xmalloc(payload.len + 1);

	ck_assert_uint_le(payload.len, BUS_PAYLOAD_MAX);
	/* Cut between characters. */
	ck_assert_uint_ne((unsigned char)payload.ptr[payload.len - 1], 0xc3);
	memcpy(exact, payload.ptr, payload.len);
	w->payloads++;
	if (bus_unpacker_take(&w->unpacker, sv_n(exact, payload.len), &messages) == BUS_NEWS_LOG)
		w->logs++;
	strbuf_add(&w->got, messages.ptr, messages.len);
	free(exact);
}

START_TEST(messages_of_all_sizes_arrive_whole_and_in_their_order)
{
	struct wire w = { .payloads = 0 };
	struct bus_packer p;
	struct strbuf sent, one, data;

	strbuf_init(&w.got, 0);
	strbuf_init(&sent, 0);
	strbuf_init(&one, 0);
	strbuf_init(&data, 0);
	bus_packer_init(&p);
	p.number = 7;
	p.emit = on_payload;
	p.ctx = &w;
	for (size_t i = 0; i < 300; i++) {
		struct bus_message m = event;

		strbuf_reset(&data);
		for (size_t n = 0; n < i * i; n += 2)
			strbuf_add_str(&data, "\xc3\xa9");
		m.data = strbuf_view(&data);
		strbuf_reset(&one);
		ck_assert(bus_message_add(&one, &m));
		strbuf_add(&sent, one.ptr, one.len);
		bus_packer_add(&p, strbuf_view(&one));
		if (i % 50 == 0)
			bus_packer_log_grew(&p);
	}
	bus_packer_flush(&p);
	ck_same(strbuf_view(&w.got), strbuf_view(&sent));
	ck_assert_uint_eq(w.logs, 6);
	ck_assert_uint_le(w.payloads, sent.len / BUS_PAYLOAD_MAX * 2 + 20);
	bus_packer_release(&p);
	bus_unpacker_release(&w.unpacker);
	strbuf_release(&w.got);
	strbuf_release(&sent);
	strbuf_release(&one);
	strbuf_release(&data);
}
END_TEST

START_TEST(parts_of_several_senders_are_not_mixed)
{
	struct bus_unpacker u = { .n_parts = 0 };
	struct str_view got;

	ck_assert_int_eq((int)bus_unpacker_take(&u, SV("1 1 B1 ab"), &got), (int)BUS_NEWS_NONE);
	ck_assert_int_eq((int)bus_unpacker_take(&u, SV("1 2 B1 xy"), &got), (int)BUS_NEWS_NONE);
	ck_assert_int_eq((int)bus_unpacker_take(&u, SV("1 1 G2 c"), &got), (int)BUS_NEWS_MESSAGES);
	ck_view_eq(got, "abc");
	ck_assert_int_eq((int)bus_unpacker_take(&u, SV("1 2 M2 whole"), &got),
			 (int)BUS_NEWS_MESSAGES);
	ck_view_eq(got, "whole");
	ck_assert_uint_eq(u.n_parts, 0);
	bus_unpacker_release(&u);
}
END_TEST

/* Parts of another message must never come to a channel. */
START_TEST(a_message_whose_parts_did_not_all_arrive_is_dropped)
{
	static const char *const lost[] = { "1 1 B1 ab", "1 1 B5 xy", "1 1 F7 c", "1 1 G8 d",
					    "1 1 F9 e",	 "1 1 G10 f", "1 1 B ab", "1 1 G1 c" };
	struct bus_unpacker u = { .n_parts = 0 };
	struct str_view got;

	for (size_t i = 0; i < ARRAY_SIZE(lost); i++)
		ck_assert_int_eq((int)bus_unpacker_take(&u, sv(lost[i]), &got), (int)BUS_NEWS_NONE);
	ck_assert_uint_eq(u.n_parts, 0);
	/* The sender begins another one. */
	ck_assert_int_eq((int)bus_unpacker_take(&u, SV("1 1 B1 ab"), &got), (int)BUS_NEWS_NONE);
	ck_assert_int_eq((int)bus_unpacker_take(&u, SV("1 1 B2 x"), &got), (int)BUS_NEWS_NONE);
	ck_assert_int_eq((int)bus_unpacker_take(&u, SV("1 1 F3 y"), &got), (int)BUS_NEWS_NONE);
	ck_assert_int_eq((int)bus_unpacker_take(&u, SV("1 1 G4 z"), &got), (int)BUS_NEWS_MESSAGES);
	ck_view_eq(got, "xyz");
	bus_unpacker_release(&u);
}
END_TEST

START_TEST(what_is_no_payload_is_ignored)
{
	static const char *const cases[] = { "",
					     " ",
					     "1",
					     "1 ",
					     "1 1",
					     "1 1 ",
					     "2 1 L",
					     "x",
					     "1 x L",
					     "1 1 X",
					     "1 99999999999 L",
					     "1  L" };
	struct bus_unpacker u = { .n_parts = 0 };
	struct strbuf part;
	struct str_view got;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_int_eq((int)bus_unpacker_take(&u, sv(cases[i]), &got),
				 (int)BUS_NEWS_UNKNOWN);
	/* A message without an end is given up, and so are senders beyond a bound. */
	strbuf_init(&part, 0);
	for (size_t n = 0; n * 7000 < BUS_MESSAGE_MAX_BYTES * 4; n++) {
		strbuf_reset(&part);
		strbuf_addf(&part, "1 5 %c%zu ", n ? 'F' : 'B', n);
		while (part.len < 7000)
			strbuf_add_c(&part, 'x');
		ck_assert_int_eq((int)bus_unpacker_take(&u, strbuf_view(&part), &got),
				 (int)BUS_NEWS_NONE);
	}
	ck_assert_uint_eq(u.n_parts, 0);
	for (unsigned i = 100; i < 400; i++) {
		strbuf_reset(&part);
		strbuf_addf(&part, "1 %u B1 x", i);
		ck_assert_int_eq((int)bus_unpacker_take(&u, strbuf_view(&part), &got),
				 (int)BUS_NEWS_NONE);
	}
	ck_assert_uint_le(u.n_parts, 64);
	strbuf_release(&part);
	bus_unpacker_release(&u);
}
END_TEST

/* Otherwise the node that registered would receive nothing until the next count. */
START_TEST(a_count_of_before_a_node_registered_does_not_hide_it)
{
	struct bus_others o;
	unsigned joins;

	bus_others_init(&o);
	bus_others_set(&o, bus_others_joins(&o), 1);
	joins = bus_others_joins(&o);
	bus_others_received(&o, true);
	bus_others_set(&o, joins, 0);
	ck_assert_uint_eq(bus_others_get(&o), 1);
	ck_assert_int_eq(unit_metric(METRIC_BUS_NODES, 0), 1);
	bus_others_set(&o, joins, 2);
	ck_assert_uint_eq(bus_others_get(&o), 2);
	/* The node has left. */
	bus_others_set(&o, bus_others_joins(&o), 0);
	ck_assert_uint_eq(bus_others_get(&o), 0);
	ck_assert_int_eq(unit_metric(METRIC_BUS_NODES, 0), 0);
	/* Any message shows that there is one. */
	joins = bus_others_joins(&o);
	bus_others_received(&o, false);
	ck_assert_uint_eq(bus_others_get(&o), 1);
	ck_assert_int_eq(unit_metric(METRIC_BUS_NODES, 0), 1);
	bus_others_set(&o, joins, 0);
	ck_assert_uint_eq(bus_others_get(&o), 1);
}
END_TEST

START_TEST(what_waits_has_a_bound_and_drops_are_counted)
{
	struct bus_outgoing o;
	struct bus_message m = event;
	char *data = xcalloc(1, 100000);
	int64_t before = unit_metric(METRIC_BUS_DROPPED, 0);
	unsigned woken = 0;

	memset(data, 'x', 100000);
	m.data = sv_n(data, 100000);
	bus_outgoing_init(&o);
	for (unsigned i = 0; i < 100; i++)
		woken += bus_outgoing_add(&o, &m) == 1;
	ck_assert_uint_eq(woken, 1);
	ck_assert_uint_le(atomic_load(&o.bytes), BUS_OUTGOING_MAX_BYTES + 101000);
	ck_assert_int_gt(unit_metric(METRIC_BUS_DROPPED, 0), before + 40);
	bus_outgoing_drop(&o);
	ck_assert_int_eq(unit_metric(METRIC_BUS_DROPPED, 0), before + 100);
	ck_assert_uint_eq(atomic_load(&o.bytes), 0);
	bus_outgoing_release(&o);
	free(data);
}
END_TEST

START_TEST(only_what_a_node_may_send_is_allowed)
{
	const struct bus_message client = { .kind = BUS_CLIENT_EVENT,
					    .app = SV("portal"),
					    .channel = SV("private-x"),
					    .data = SV("{\"event\":\"client-a\",\"data\":1}") };
	struct bus_message m = client;

	ck_assert(bus_message_is_allowed(&event));
	ck_assert(bus_message_is_allowed(&client));
	m.channel = SV("presence-x");
	ck_assert(bus_message_is_allowed(&m));
	m.channel = SV("x");
	ck_assert(!bus_message_is_allowed(&m));
	m.channel = SV("private-encrypted-x");
	ck_assert(!bus_message_is_allowed(&m));
	m = client;
	m.data = SV("{\"event\":\"Paid\"}");
	ck_assert(!bus_message_is_allowed(&m));
	m.data = SV("");
	ck_assert(!bus_message_is_allowed(&m));
	m = event;
	m.name = SV("pusher:error");
	ck_assert(!bus_message_is_allowed(&m));
	m.name = SV("pusher_internal:member_removed");
	ck_assert(!bus_message_is_allowed(&m));
	m.name = SV("");
	ck_assert(!bus_message_is_allowed(&m));
	m = event;
	m.channel = SV("a b");
	ck_assert(!bus_message_is_allowed(&m));
}
END_TEST

/* -- what is before the messages in Redis -- */

/* A payload for channel, or "" without a secret; for the caller to free. */
static char *payload_of(struct bus_seal *seal, const char *channel, uint64_t count)
{
	struct strbuf b;

	strbuf_init(&b, 0);
	redis_payload_begin(&b, 7, count, 'M');
	strbuf_add_str(&b, " message");
	if (!redis_payload_sign(&b, seal, sv(channel)))
		strbuf_reset(&b);
	return strbuf_detach(&b);
}

/* It is read, and signed for the channel. */
static bool is_signed(struct bus_seal *seal, const char *channel, struct str_view payload)
{
	struct redis_payload p;

	return redis_payload_read(payload, &p) == REDIS_PAYLOAD_READ &&
	       bus_seal_check(seal, sv(channel), p.text, p.signature) == BUS_SIGNED;
}

START_TEST(a_payload_is_accepted_as_it_was_signed_and_in_no_other_way)
{
	struct bus_seal *seal = bus_seal_new();
	struct redis_payload p;
	char *text;
	size_t len;

	bus_seal_set(seal, SV("secret"));
	text = payload_of(seal, "a", 12);
	len = strlen(text);
	ck_assert_int_eq(redis_payload_read(sv(text), &p), REDIS_PAYLOAD_READ);
	ck_assert_uint_eq(p.sender, 7);
	ck_assert_uint_eq(p.count, 12);
	ck_assert_int_eq(p.word, 'M');
	ck_assert(sv_eq_c(p.messages, "message"));
	ck_assert(is_signed(seal, "a", sv(text)));
	ck_assert(!is_signed(seal, "b", sv(text)));
	ck_assert(!is_signed(seal, "", sv(text)));
	for (size_t i = 0; i < len; i++) {
		text[i] ^= 1;
		ck_assert_msg(!is_signed(seal, "a", sv(text)), "byte %zu", i);
		text[i] ^= 1;
		ck_assert(!is_signed(seal, "a", sv_n(text, i)));
	}
	bus_seal_set(seal, SV("another"));
	ck_assert(!is_signed(seal, "a", sv(text)));
	free(text);
	bus_seal_free(seal);
}
END_TEST

/* Else a part of the name could be one of the text. */
START_TEST(where_the_name_of_the_channel_ends_is_signed)
{
	struct bus_seal *seal = bus_seal_new();
	char signature[BUS_SIGNATURE_BYTES];

	bus_seal_set(seal, SV("secret"));
	ck_assert(bus_seal_sign(seal, SV("ab"), SV("c"), signature));
	ck_assert_int_eq(
		bus_seal_check(seal, SV("ab"), SV("c"), sv_n(signature, sizeof(signature))),
		BUS_SIGNED);
	ck_assert_int_eq(
		bus_seal_check(seal, SV("a"), SV("bc"), sv_n(signature, sizeof(signature))),
		BUS_NOT_SIGNED);
	bus_seal_free(seal);
}
END_TEST

START_TEST(without_the_secret_nothing_is_signed_or_accepted)
{
	struct bus_seal *seal = bus_seal_new(), *none = bus_seal_new();
	struct redis_payload p;
	char *text;

	bus_seal_set(seal, SV("secret"));
	text = payload_of(none, "a", 1);
	ck_assert_str_eq(text, "");
	free(text);
	text = payload_of(seal, "a", 1);
	ck_assert_int_eq(redis_payload_read(sv(text), &p), REDIS_PAYLOAD_READ);
	ck_assert_int_eq(bus_seal_check(none, SV("a"), p.text, p.signature), BUS_NO_SECRET);
	free(text);
	bus_seal_free(seal);
	bus_seal_free(none);
}
END_TEST

START_TEST(other_versions_are_not_malformed)
{
	struct redis_payload p;
	static const char *const malformed[] = { "2 ",	      "2 x",	     "2 x 1 2 Z",
						 "2 x a 2 M", "2 x 1 b M",   "2 x 1 2 MM",
						 "2 x 1 2 ",  "2 \xff 1 2 M" };

	ck_assert_int_eq(redis_payload_read(SV(""), &p), REDIS_PAYLOAD_UNKNOWN);
	ck_assert_int_eq(redis_payload_read(SV("1 7 M x"), &p), REDIS_PAYLOAD_UNKNOWN);
	ck_assert_int_eq(redis_payload_read(SV("3 7 M x"), &p), REDIS_PAYLOAD_UNKNOWN);
	for (size_t i = 0; i < ARRAY_SIZE(malformed); i++)
		ck_assert_msg(redis_payload_read(sv(malformed[i]), &p) == REDIS_PAYLOAD_MALFORMED,
			      "%s", malformed[i]);
}
END_TEST

START_TEST(a_count_is_taken_once_and_none_below_it)
{
	struct redis_senders s = { .n = 0 };

	ck_assert(redis_senders_take(&s, 1, 0, 5));
	ck_assert(!redis_senders_take(&s, 1, 0, 5));
	ck_assert(!redis_senders_take(&s, 1, 0, 4));
	ck_assert(redis_senders_take(&s, 1, 0, 9));
	/* Another partition has another server, and another sender its own counts. */
	ck_assert(redis_senders_take(&s, 1, 1, 4));
	ck_assert(redis_senders_take(&s, 2, 0, 5));
	ck_assert(!redis_senders_take(&s, 1, 0, 9));
	redis_senders_release(&s);
}
END_TEST

START_TEST(the_sender_that_was_silent_for_longest_is_forgotten)
{
	struct redis_senders s = { .n = 0 };

	for (uint64_t i = 0; i < REDIS_SENDERS_MAX; i++)
		ck_assert(redis_senders_take(&s, i, 3, 5));
	ck_assert(!redis_senders_take(&s, 0, 3, 5)); /* the second one is the oldest now */
	ck_assert(redis_senders_take(&s, UINT64_MAX, 3, 5));
	ck_assert_uint_eq(s.n, REDIS_SENDERS_MAX);
	ck_assert(!redis_senders_take(&s, 0, 3, 5));
	ck_assert(!redis_senders_take(&s, 2, 3, 5));
	ck_assert(redis_senders_take(&s, 1, 3, 5));
	redis_senders_release(&s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bus/parts");
	TCase *t = tcase_create("parts");

	tcase_add_test(t, a_message_is_read_as_it_was_written);
	tcase_add_test(t, what_is_no_message_is_not_read);
	tcase_add_test(t, what_postgresql_cannot_carry_is_not_written);
	tcase_add_test(t, messages_of_all_sizes_arrive_whole_and_in_their_order);
	tcase_add_test(t, parts_of_several_senders_are_not_mixed);
	tcase_add_test(t, a_message_whose_parts_did_not_all_arrive_is_dropped);
	tcase_add_test(t, what_is_no_payload_is_ignored);
	tcase_add_test(t, a_count_of_before_a_node_registered_does_not_hide_it);
	tcase_add_test(t, what_waits_has_a_bound_and_drops_are_counted);
	tcase_add_test(t, only_what_a_node_may_send_is_allowed);
	tcase_add_test(t, a_payload_is_accepted_as_it_was_signed_and_in_no_other_way);
	tcase_add_test(t, where_the_name_of_the_channel_ends_is_signed);
	tcase_add_test(t, without_the_secret_nothing_is_signed_or_accepted);
	tcase_add_test(t, other_versions_are_not_malformed);
	tcase_add_test(t, a_count_is_taken_once_and_none_below_it);
	tcase_add_test(t, the_sender_that_was_silent_for_longest_is_forgotten);
	suite_add_tcase(s, t);
	return unit_run(s);
}
