/* SPDX-License-Identifier: MIT */
/*
 * The bench judges the daemon, so its own counting is tested: exact counts, times,
 * every byte of a message, the signature's published vector.
 */
#include "hist.h"
#include "ledger.h"
#include "message.h"
#include "sign.h"

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x))                                                                          \
			die("line %d: not so: %s", __LINE__, #x);                                  \
	} while (0)

static void test_ledger_counts_each_fault(void)
{
	static const uint32_t got[] = { 0, 1, 1, 4, 3, 6, 0, 3 }; /* 2 and 5 lost; 3 came late */
	struct ledger *l = ledger_new(2, 2);
	const struct ledger_sum *sum = ledger_sum(l);
	size_t i;

	for (i = 0; i < sizeof(got) / sizeof(got[0]); i++)
		ledger_got(l, 1, 1, got[i]);
	ledger_close(l, 1, 1, 9); /* 7 and 8 never came either */
	ledger_close(l, 0, 0, 1);
	CHECK(sum->received == 5);
	CHECK(sum->repeated == 3);
	CHECK(sum->out_of_order == 1);
	CHECK(sum->lost == 5);
	ledger_free(l);
}

static void test_ledger_holds_many_gaps(void)
{
	struct ledger *l = ledger_new(1, 1);
	uint32_t i;

	for (i = 1; i < 20000; i += 2)
		ledger_got(l, 0, 0, i);
	for (i = 0; i < 10000; i += 2)
		ledger_got(l, 0, 0, i);
	ledger_close(l, 0, 0, 20000);
	CHECK(ledger_sum(l)->received == 15000);
	CHECK(ledger_sum(l)->out_of_order == 5000);
	CHECK(ledger_sum(l)->lost == 5000);
	CHECK(ledger_sum(l)->repeated == 0);
	ledger_free(l);
}

static void test_hist_percentiles(void)
{
	static struct hist h;
	uint64_t i;

	CHECK(hist_ms(&h, 50) == 0);
	for (i = 1; i <= 1000; i++)
		hist_add(&h, i * NSEC_PER_MSEC);
	CHECK(hist_ms(&h, 50) >= 500 && hist_ms(&h, 50) < 508);
	CHECK(hist_ms(&h, 99) >= 990 && hist_ms(&h, 99) <= 1000);
	CHECK(hist_ms(&h, 100) == 1000);
}

/* The event as a server sends it on: the body's data behind other fields. */
static void as_delivered(const struct bytes *body, struct bytes *out)
{
	const char *data = memmem(body->ptr, body->len, "\"data\":", 7);

	CHECK(data);
	out->len = 0;
	bytes_addf(out, "{\"event\":\"bench\",\"channel\":\"c-3\",");
	bytes_add(out, data, (size_t)(body->ptr + body->len - data));
}

static void test_message_checks_every_byte(void)
{
	struct message sent = { 7, 3, 4000000000u, UINT64_C(123456789012345) };
	struct message got;
	struct bytes body = { 0 }, frame = { 0 };
	const char *data;
	size_t at;

	message_body(&sent, "c-3", 200, &body);
	as_delivered(&body, &frame);
	CHECK(message_read(frame.ptr, frame.len, "c-3", 200, &got));
	CHECK(got.publisher == 7 && got.channel == 3 && got.seq == sent.seq);
	CHECK(got.due_ns == sent.due_ns);
	CHECK(!message_read(frame.ptr, frame.len, "c-4", 200, &got));
	CHECK(!message_read(frame.ptr, frame.len, "c-3", 201, &got));
	data = memmem(frame.ptr, frame.len, "xx", 2);
	for (at = (size_t)(data - frame.ptr); at < frame.len - 1; at++) {
		frame.ptr[at] ^= 1;
		CHECK(!message_read(frame.ptr, frame.len, "c-3", 200, &got));
		frame.ptr[at] ^= 1;
	}
	bytes_release(&body);
	bytes_release(&frame);
}

static void test_whisper_is_read_as_it_was_written(void)
{
	struct message sent = { 7, 3, 5, 1234 }, got;
	struct bytes frame = { 0 };

	message_whisper(&sent, "private-c-3", 200, &frame);
	CHECK(message_is_event(frame.ptr, frame.len));
	CHECK(message_read(frame.ptr, frame.len, "private-c-3", 200, &got));
	CHECK(got.publisher == 7 && got.channel == 3 && got.seq == 5 && got.due_ns == 1234);
	CHECK(!message_read(frame.ptr, frame.len, "private-c-4", 200, &got));
	CHECK(!message_is_event("{\"event\":\"client-other\"}", 24));
	bytes_release(&frame);
}

/* The example of Pusher's documentation. */
static void test_channel_signature_vector(void)
{
	struct signer *s = signer_new("h", 1, "3", "278d425bdf160c739803", "7ad3773142a6692b25b8");
	char out[SIGNER_HEX + 1];

	signer_channel(s, "1234.1234", "private-foobar", out);
	CHECK(strcmp(out, "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4") == 0);
	signer_free(s);
}

static void test_signature_vector(void)
{
	static const char text[] = "{\"name\":\"foo\",\"channels\":[\"project-3\"],"
				   "\"data\":\"{\\\"some\\\":\\\"data\\\"}\"}";
	struct signer *s = signer_new("h", 1, "3", "278d425bdf160c739803", "7ad3773142a6692b25b8");
	struct bytes body = { 0 }, out = { 0 };

	bytes_add(&body, text, sizeof(text) - 1);
	signer_post_at(s, 1353088179, &body, &out);
	bytes_add(&out, "", 1);
	CHECK(strstr(out.ptr, "body_md5=ec365a775a4cd0599faeb73354201b6f&"));
	CHECK(strstr(out.ptr, "auth_signature=da454824c97ba181a32ccc17a72625ba"
			      "02771f50b50e1e7430e47a1f3f457e6c "));
	bytes_release(&body);
	bytes_release(&out);
	signer_free(s);
}

int main(void)
{
	test_ledger_counts_each_fault();
	test_ledger_holds_many_gaps();
	test_hist_percentiles();
	test_message_checks_every_byte();
	test_signature_vector();
	test_whisper_is_read_as_it_was_written();
	test_channel_signature_vector();
	return 0;
}
