/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "unit.h"
#include "unit_clock.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/log_gate.h"
#include "base/mailbox.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/msgbuf.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/wake.h"

START_TEST(views_compare_search_and_skip)
{
	ck_assert_uint_eq(sv(NULL).len, 0);
	ck_assert(sv_eq(sv_n(NULL, 0), SV("")));
	ck_assert(!sv_eq(SV("a\0b"), SV("a\0c")));
	ck_assert(sv_starts_with(SV("abc"), SV("ab")));
	ck_assert(sv_starts_with(SV("abc"), SV("")));
	ck_assert(!sv_starts_with(SV("ab"), SV("abc")));
	ck_assert(sv_ends_with(SV("abc"), SV("bc")));
	ck_assert(!sv_ends_with(SV("bc"), SV("abc")));
	ck_assert_int_eq(sv_find(SV("a:b:"), ':'), 1);
	ck_assert_int_eq(sv_find(SV("ab"), ':'), -1);
	ck_assert_int_eq(sv_find(SV(""), ':'), -1);
	ck_view_eq(sv_skip(SV("abc"), 1), "bc");
	ck_view_eq(sv_skip(SV("abc"), 9), "");
	ck_view_eq(sv_skip(sv_n(NULL, 0), 1), "");
	ck_assert(sv_is_utf8(sv_n(NULL, 0)));
}
END_TEST

START_TEST(views_are_copied_into_a_block_one_after_the_other)
{
	char block[5] = "....", *at = block;

	ck_view_eq(sv_copy_to(&at, SV("ab")), "ab");
	ck_view_eq(sv_copy_to(&at, sv_n(NULL, 0)), "");
	ck_view_eq(sv_copy_to(&at, SV("c")), "c");
	ck_assert_ptr_eq(at, block + 3);
	ck_assert_str_eq(block, "abc.");
}
END_TEST

START_TEST(a_list_is_split_at_each_separator)
{
	static const struct {
		const char *list, *parts; /* each part in brackets */
	} cases[] = {
		{ "", "" },	   { "a", "[a]" },	   { "a,bc", "[a][bc]" }, { "a,", "[a]" },
		{ ",a", "[][a]" }, { "a,,b", "[a][][b]" }, { ",", "[]" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct str_view rest = sv(cases[i].list), part;
		struct strbuf b;

		strbuf_init(&b, 0);
		while (sv_split(&rest, ',', &part))
			strbuf_addf(&b, "[%.*s]", SV_ARG(part));
		ck_assert_str_eq(b.ptr, cases[i].parts);
		strbuf_release(&b);
	}
}
END_TEST

START_TEST(a_number_over_max_is_refused)
{
	static const struct {
		const char *text;
		uint64_t max;
		bool ok;
		uint64_t v;
	} cases[] = {
		{ "0", 0, true, 0 },
		{ "1", 0, false, 0 },
		{ "9", 5, false, 0 },
		{ "007", 7, true, 7 },
		{ "65535", 65535, true, 65535 },
		{ "65536", 65535, false, 0 },
		{ "18446744073709551615", UINT64_MAX, true, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, false, 0 },
		{ "99999999999999999999999", UINT64_MAX, false, 0 },
		{ "", 9, false, 0 },
		{ "-1", 9, false, 0 },
		{ "+1", 9, false, 0 },
		{ " 1", 9, false, 0 },
		{ "1 ", 9, false, 0 },
		{ "0x1", 9, false, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t v = 0;

		ck_assert_msg(sv_to_u64(sv(cases[i].text), cases[i].max, &v) == cases[i].ok, "%s",
			      cases[i].text);
		ck_assert_uint_eq(v, cases[i].v);
	}
}
END_TEST

START_TEST(a_number_is_written_as_it_is_read)
{
	static const uint64_t numbers[] = { 0,	       9, 10, 99, 100, 1234567890, UINT64_MAX - 1,
					    UINT64_MAX };
	char text[STR_U64_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		uint64_t back = 1;

		ck_assert(sv_to_u64(sv(str_u64(text, numbers[i])), UINT64_MAX, &back));
		ck_assert_uint_eq(back, numbers[i]);
	}
	ck_assert_str_eq(str_u64(text, 1000), "1000");
}
END_TEST

START_TEST(a_copy_is_as_long_as_there_is_room)
{
	char room[4] = "xxx";

	str_copy(room, sizeof(room), SV("abcdef"));
	ck_assert_str_eq(room, "abc");
	str_copy(room, sizeof(room), SV("ab"));
	ck_assert_str_eq(room, "ab");
	str_copy(room, sizeof(room), sv(NULL));
	ck_assert_str_eq(room, "");
	str_copy(room, 1, SV("abc"));
	ck_assert_str_eq(room, "");
}
END_TEST

START_TEST(a_secret_is_overwritten)
{
	char text[] = "a secret";
	static const char none[sizeof(text)];

	ck_assert_ptr_eq(secret_wipe(text), text);
	ck_assert_mem_eq(text, none, sizeof(text));
	ck_assert_ptr_null(secret_wipe(NULL));
	secret_free(NULL);
}
END_TEST

START_TEST(utf8_is_checked_by_rfc_3629)
{
	static const struct {
		struct str_view text;
		bool ok;
	} cases[] = {
		{ SV(""), true },
		{ SV("plain\0nul"), true },
		{ SV("\xc3\xa9"), true },
		{ SV("\xe2\x82\xac"), true },
		{ SV("\xf0\x9f\x98\x80"), true },
		{ SV("\xf4\x8f\xbf\xbf"), true },
		{ SV("\xed\x9f\xbf"), true },
		{ SV("\x80"), false },
		{ SV("\xc3"), false },
		{ SV("\xc3("), false },
		{ SV("\xc0\x80"), false },
		{ SV("\xc1\xbf"), false },
		{ SV("\xe0\x9f\xbf"), false },
		{ SV("\xe2\x82"), false },
		{ SV("\xed\xa0\x80"), false },
		{ SV("\xf0\x8f\xbf\xbf"), false },
		{ SV("\xf0\x9f\x98"), false },
		{ SV("\xf4\x90\x80\x80"), false },
		{ SV("\xf5\x80\x80\x80"), false },
		{ SV("\xff"), false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(sv_is_utf8(cases[i].text) == cases[i].ok, "case %zu", i);
}
END_TEST

/* The same wherever it stands: eight bytes are looked at together. */
START_TEST(utf8_is_checked_at_every_offset)
{
	char text[28];

	for (size_t at = 0; at < 24; at++) {
		memset(text, 'a', sizeof(text));
		memcpy(text + at, "\xf0\x9f\x98\x80", 4);
		ck_assert(sv_is_utf8(sv_n(text, sizeof(text))));
		for (size_t len = at + 1; len < at + 4; len++)
			ck_assert(!sv_is_utf8(sv_n(text, len)));
		text[at] = 'a';
		ck_assert(!sv_is_utf8(sv_n(text, sizeof(text))));
	}
}
END_TEST

START_TEST(the_plain_end_is_found_at_every_offset)
{
	char text[24];

	for (unsigned c = 0; c < 256; c++) {
		bool plain = c >= 0x20 && c != '"' && c != '\\';

		for (size_t at = 0; at < sizeof(text); at++) {
			/* neighbours that a borrow or a carry could reach */
			memset(text, at % 2 ? '!' : 0xff, sizeof(text));
			text[at] = (char)c;
			ck_assert_ptr_eq(str_plain_end(text, text + sizeof(text)),
					 text + (plain ? sizeof(text) : at));
			ck_assert_ptr_eq(str_plain_end(text, text + at), text + at);
		}
	}
}
END_TEST

START_TEST(strbufs_grow)
{
	struct strbuf b;
	char *text;

	strbuf_init(&b, 0);
	ck_assert_str_eq(b.ptr, "");
	for (int i = 0; i < 1000; i++)
		strbuf_add_c(&b, 'x');
	ck_assert_uint_eq(b.len, 1000);
	ck_assert_uint_eq(strlen(b.ptr), 1000);
	strbuf_reset(&b);
	strbuf_add_u64(&b, 0);
	strbuf_add_u64(&b, UINT64_MAX);
	strbuf_addf(&b, "-%s-%d", "a", 5);
	strbuf_add(&b, NULL, 0);
	ck_assert_str_eq(b.ptr, "018446744073709551615-a-5");
	text = strbuf_detach(&b);
	ck_assert_str_eq(text, "018446744073709551615-a-5");
	ck_assert_ptr_null(b.ptr); /* nothing is left to release */
	free(text);
}
END_TEST

START_TEST(a_json_string_is_escaped)
{
	struct strbuf b;

	strbuf_init(&b, 0);
	strbuf_add_json(&b, SV(""));
	strbuf_add_json(&b, SV("a\"b\\c/\b\f\n\r\t\x01\x1f\x7f\0\xc3\xa9"));
	ck_assert_str_eq(b.ptr, "\"\"\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\\u0000\xc3\xa9"
				"\"");
	strbuf_release(&b);
}
END_TEST

struct named {
	char name[16];
};

START_TEST(the_hash_is_siphash)
{
	/*
	 * The input of its authors' vectors, key 00 01 .. 0f, and 0, 1, .. bytes 00 01 ..: of
	 * SipHash-1-3, by a program that gives their results for SipHash-2-4.
	 */
	static const uint64_t key[2] = { UINT64_C(0x0706050403020100),
					 UINT64_C(0x0f0e0d0c0b0a0908) };
	static const uint64_t vectors[] = {
		UINT64_C(0xabac0158050fc4dc), UINT64_C(0xc9f49bf37d57ca93),
		UINT64_C(0x82cb9b024dc7d44d), UINT64_C(0x8bf80ab8e7ddf7fb),
		UINT64_C(0xcf75576088d38328), UINT64_C(0xdef9d52f49533b67),
		UINT64_C(0xc50d2b50c59f22a7), UINT64_C(0xd3927d989bb11140),
		UINT64_C(0x369095118d299a8e),
	};
	char input[15];

	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (char)i;
	for (size_t n = 0; n < ARRAY_SIZE(vectors); n++)
		ck_assert_uint_eq(hash_with_key(key, sv_n(input, n)), vectors[n]);
	ck_assert_uint_eq(hash_with_key(key, sv_n(input, 15)), UINT64_C(0xd320d86d2a519956));
}
END_TEST

/* Another process has another key. */
static uint64_t hash_in_a_child(void)
{
	uint64_t hash = 0;
	int fds[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		hash = hash_bytes(SV("name"));
		_exit(write(fds[1], &hash, sizeof(hash)) != sizeof(hash));
	}
	ck_assert_int_eq(read(fds[0], &hash, sizeof(hash)), sizeof(hash));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	close(fds[0]);
	close(fds[1]);
	return hash;
}

START_TEST(the_hash_has_a_random_key)
{
	ck_assert_uint_ne(hash_in_a_child(), hash_in_a_child());
	ck_assert_uint_eq(hash_bytes(SV("name")), hash_bytes(SV("name")));
	ck_assert_uint_ne(hash_bytes(SV("name")), hash_bytes(SV("nama")));
	ck_assert_uint_ne(hash_bytes(SV("12345678")), hash_bytes(sv_n("12345678\0", 9)));
}
END_TEST

START_TEST(random_bytes_do_not_repeat)
{
	unsigned char a[16], b[16], large[5000] = { 0 };

	for (int i = 0; i < 1000; i++) {
		random_bytes(a, sizeof(a));
		random_bytes(b, sizeof(b));
		ck_assert_int_ne(memcmp(a, b, sizeof(a)), 0);
	}
	random_bytes(large, sizeof(large));
	ck_assert_int_ne(memcmp(large, large + 2500, 2500), 0);
}
END_TEST

START_TEST(a_map_finds_what_was_put)
{
	enum { N = 2000 };
	struct named *all = xcalloc(N, sizeof(*all));
	struct map m;
	size_t at = 0, seen = 0;

	map_init(&m);
	ck_assert_ptr_null(map_get(&m, SV("x")));
	ck_assert_ptr_null(map_del(&m, SV("x")));
	ck_assert_ptr_null(map_next(&m, &at));
	for (int i = 0; i < N; i++) {
		snprintf(all[i].name, sizeof(all[i].name), "n%d", i);
		ck_assert_ptr_null(map_put(&m, sv(all[i].name), &all[i]));
	}
	ck_assert_ptr_eq(map_put(&m, sv(all[7].name), &all[7]), &all[7]);
	ck_assert_uint_eq(m.used, N);
	for (int i = 0; i < N; i += 2)
		ck_assert_ptr_eq(map_del(&m, sv(all[i].name)), &all[i]);
	for (int i = 0; i < N; i++)
		ck_assert_ptr_eq(map_get(&m, sv(all[i].name)), i % 2 ? &all[i] : NULL);
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_eq(map_find(&m, sv(all[i].name), hash_bytes(sv(all[i].name))),
				 map_get(&m, sv(all[i].name)));
	for (at = 0; map_next(&m, &at);)
		seen++;
	ck_assert_uint_eq(seen, N / 2);
	for (int i = 1; i < N; i += 2)
		ck_assert_ptr_eq(map_del(&m, sv(all[i].name)), &all[i]);
	ck_assert_uint_eq(m.used, 0);
	ck_assert_uint_le(m.cap, 64);
	map_release(&m);
	free(all);
}
END_TEST

/* Each connection has one: most have one subscription. */
START_TEST(a_small_map_takes_little_and_finds_what_was_put)
{
	struct named all[7];
	struct map m;

	for (size_t n = 1; n <= ARRAY_SIZE(all); n++) {
		map_init(&m);
		for (size_t i = 0; i < n; i++) {
			snprintf(all[i].name, sizeof(all[i].name), "n%zu", i);
			ck_assert_ptr_null(map_put(&m, sv(all[i].name), &all[i]));
			ck_assert_uint_lt(m.used, m.cap); /* a search ends at a free slot */
		}
		ck_assert_uint_le(m.cap, n == 1 ? 2 : 3 * n);
		ck_assert_ptr_null(map_get(&m, SV("x")));
		for (size_t i = 0; i < n; i++) {
			ck_assert_ptr_eq(map_get(&m, sv(all[i].name)), &all[i]);
			ck_assert_ptr_eq(map_del(&m, sv(all[i].name)), &all[i]);
			ck_assert_ptr_null(map_get(&m, sv(all[i].name)));
		}
		map_release(&m);
	}
}
END_TEST

START_TEST(mailboxes_keep_order_and_bounds)
{
	struct mailbox_entry a, b, c;
	struct mailbox m;

	mailbox_init(&m, 2);
	ck_assert_ptr_null(mailbox_take(&m));
	ck_assert_int_eq(mailbox_put(&m, &a), 1);
	ck_assert_int_eq(mailbox_put(&m, &b), 0);
	ck_assert_int_eq(mailbox_put(&m, &c), -EAGAIN);
	ck_assert_int_eq(mailbox_put_owed(&m, &c), 0);
	ck_assert_ptr_eq(mailbox_take(&m), &a);
	ck_assert_ptr_eq(a.next, &b);
	ck_assert_ptr_eq(b.next, &c);
	ck_assert_ptr_null(c.next);
	ck_assert_int_eq(mailbox_put_owed(&m, &a), 1);
	mailbox_close(&m);
	ck_assert_int_eq(mailbox_put(&m, &b), -EPIPE);
	ck_assert_int_eq(mailbox_put_owed(&m, &b), -EPIPE);
	ck_assert_ptr_eq(mailbox_take(&m), &a);
	mailbox_release(&m);
}
END_TEST

struct note {
	struct mailbox_entry entry;
	int sender, number;
};

struct sender {
	struct mailbox *box;
	struct note notes[500];
	int wakes;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;

	for (size_t i = 0; i < ARRAY_SIZE(s->notes); i++)
		if (mailbox_put(s->box, &s->notes[i].entry) == 1)
			s->wakes++;
	return NULL;
}

START_TEST(mailboxes_take_from_many_threads)
{
	enum { SENDERS = 3 };
	struct sender *senders = xcalloc(SENDERS, sizeof(*senders));
	int got = 0, last[SENDERS] = { 0 }, wakes = 0, takes = 0;
	pthread_t threads[SENDERS];
	struct mailbox box;

	mailbox_init(&box, 0);
	for (int i = 0; i < SENDERS; i++) {
		senders[i].box = &box;
		for (int n = 0; n < 500; n++)
			senders[i].notes[n] = (struct note){ .sender = i, .number = n + 1 };
		ck_assert_int_eq(
			thread_start(&threads[i], "sender", &on_worker, send_all, &senders[i]), 0);
	}
	while (got < SENDERS * 500) {
		struct mailbox_entry *e = mailbox_take(&box);

		takes += e != NULL;
		for (; e; e = e->next, got++) {
			struct note *n = CONTAINER_OF(e, struct note, entry);

			ck_assert_int_eq(n->number, last[n->sender] + 1);
			last[n->sender] = n->number;
		}
	}
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(threads[i], NULL);
		wakes += senders[i].wakes;
	}
	ck_assert_msg(wakes == takes, "each non-empty take has one wake");
	mailbox_release(&box);
	free(senders);
}
END_TEST

START_TEST(msgbufs_are_counted)
{
	struct msgbuf *m = msgbuf_from(SV("abc"));

	ck_view_eq(msgbuf_view(m), "abc");
	ck_assert_ptr_eq(msgbuf_ref(m), m);
	msgbuf_unref(m);
	ck_view_eq(msgbuf_view(m), "abc");
	msgbuf_unref(m);
	msgbuf_unref(NULL);
	m = msgbuf_from(sv_n(NULL, 0));
	ck_assert_uint_eq(m->len, 0);
	msgbuf_unref(m);
}
END_TEST

START_TEST(a_clock_goes_forward_and_is_written_as_iso_8601)
{
	char text[CLOCK_ISO_SIZE];
	usec_t a = clock_mono(), b = clock_mono();

	ck_assert_int_ge(b, a);
	ck_assert_int_gt(clock_wall(), (usec_t)1700000000 * USEC_PER_SEC);
	ck_assert_str_eq(clock_iso(0, text), "1970-01-01T00:00:00.000Z");
	ck_assert_str_eq(clock_iso((usec_t)1353088179 * USEC_PER_SEC + 7999, text),
			 "2012-11-16T17:49:39.007Z");
}
END_TEST

/* What the statement writes to standard error; the process is a test's own. */
#define logged(out, statement)                                                                     \
	do {                                                                                       \
		int fd_ = memfd_create("log", 0), n_;                                              \
		ck_assert_int_ge(dup2(fd_, STDERR_FILENO), 0);                                     \
		statement;                                                                         \
		n_ = (int)pread(fd_, (out), sizeof(out) - 1, 0);                                   \
		ck_assert_int_ge(n_, 0);                                                           \
		(out)[n_] = '\0';                                                                  \
		close(fd_);                                                                        \
	} while (0)

START_TEST(log_lines_cannot_be_forged)
{
	char text[4096];

	logged(text, log_info("a\nb\t\x1b[0m\xc3\xa9 %d", 7));
	ck_assert_ptr_nonnull(strstr(text, "Z info: a\\x0ab\\x09\\x1b[0m\\xc3\\xa9 7\n"));
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(log_lines_are_bounded)
{
	static char long_text[5000], got[8192];

	memset(long_text, '\n', sizeof(long_text) - 1);
	logged(got, log_error("%s", long_text));
	ck_assert_uint_lt(strlen(got), 4096);
	ck_assert_ptr_eq(strchr(got, '\n'), got + strlen(got) - 1);
}
END_TEST

static unsigned lines_with(const char *text, const char *part)
{
	unsigned n = 0;

	while ((text = strstr(text, part))) {
		text++;
		n++;
	}
	return n;
}

START_TEST(log_lines_as_json_are_valid)
{
	static char long_text[5000], got[8192];

	log_set_format(LOG_FORMAT_JSON);
	logged(got, log_warn("a \"name\", a\\b\n\xc3\xa9"));
	ck_assert_ptr_nonnull(strstr(got, "Z\",\"level\":\"warn\",\"text\":\"a \\\"name\\\", "
					  "a\\\\b\\\\x0a\\\\xc3\\\\xa9\"}\n"));
	ck_assert(strncmp(got, "{\"at\":\"2", 8) == 0);
	for (size_t n = 1; n < sizeof(long_text); n += n < 2000 ? 67 : 999) {
		memset(long_text, n % 2 ? '\\' : '\n', n);
		logged(got, log_error("%s", long_text));
		ck_assert_str_eq(got + strlen(got) - 3, "\"}\n");
		ck_assert_uint_lt(strlen(got), 4096);
		/* No escape is cut in two. */
		for (char *c = strstr(got, "text\":\"") + 7; *c != '"'; c++)
			if (*c == '\\')
				ck_assert_ptr_nonnull(strchr("\\\"", *++c));
	}
	log_set_format(LOG_FORMAT_TEXT);
}
END_TEST

/* What the file has (static). */
static const char *log_content(const char *path)
{
	static char text[4096];
	FILE *in = fopen(path, "re");
	size_t n;

	ck_assert_ptr_nonnull(in);
	n = fread(text, 1, sizeof(text) - 1, in);
	text[n] = '\0';
	fclose(in);
	return text;
}

START_TEST(the_file_of_the_log_is_opened_again)
{
	char folder[] = "/tmp/scopewire-log.XXXXXX", *path, *renamed, got[4096];

	ck_assert_ptr_nonnull(mkdtemp(folder));
	path = textf("%s/log", folder);
	renamed = textf("%s/log.1", folder);
	ck_assert_int_eq(log_use_file(path), 0);
	logged(got, log_info("one"));
	ck_assert_str_eq(got, "");
	ck_assert_int_eq(rename(path, renamed), 0);
	log_info("two");
	ck_assert_int_eq(log_use_file(path), 0);
	log_info("three");
	ck_assert_uint_eq(lines_with(log_content(renamed), "info: "), 2);
	ck_assert_ptr_nonnull(strstr(log_content(path), "info: three\n"));
	ck_assert_int_eq(log_use_file(folder), -EISDIR);
	log_info("four");
	ck_assert_uint_eq(lines_with(log_content(path), "info: "), 2);
	ck_assert_int_eq(log_use_file(""), 0);
	logged(got, log_info("five"));
	ck_assert_uint_eq(lines_with(got, "info: five"), 1);
	ck_assert_int_eq(log_use_file(path), 0);
	log_info("six");
	ck_assert_uint_eq(lines_with(log_content(path), "info: "), 3);
	ck_assert_int_eq(log_use_file(""), 0);
	unlink(path);
	unlink(renamed);
	rmdir(folder);
	free(path);
	free(renamed);
}
END_TEST

START_TEST(lines_to_a_journal_begin_with_their_priority)
{
	int fd = memfd_create("journal", 0);
	char text[512], *name;
	struct stat st;
	ssize_t n;

	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	name = textf("%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	log_find_journal(name);
	log_error("one");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("two");
	log_find_journal("1:1");
	log_info("three");
	log_find_journal(NULL);
	n = pread(fd, text, sizeof(text) - 1, 0);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	ck_assert(strncmp(text, "<3>2", 4) == 0);
	ck_assert_ptr_nonnull(strstr(text, "\n<7>2"));
	ck_assert_uint_eq(lines_with(text, "<"), 2);
	log_set_level(LOG_LEVEL_INFO);
	close(fd);
	free(name);
}
END_TEST

START_TEST(a_gate_lets_some_lines_through_and_counts_the_others)
{
	static struct log_gate gate = LOG_GATE("requests refused"), other = LOG_GATE("others");
	static char text[8192];
	usec_t window = LOG_GATE_WINDOW_S * USEC_PER_SEC;

	unit_clock_begin(5 * window);
	logged(text, for (int i = 0; i < 25; i++) log_gated(&gate, "line %d", i));
	ck_assert_uint_eq(lines_with(text, "info: line"), LOG_GATE_LINES);
	logged(text, log_gated(&other, "another kind"));
	ck_assert_uint_eq(lines_with(text, "another kind"), 1);
	unit_now += window - 1;
	logged(text, log_gates_flush(unit_now));
	ck_assert_str_eq(text, "");
	unit_now++;
	logged(text, log_gates_flush(unit_now));
	ck_assert_ptr_nonnull(strstr(text, "info: and 15 more requests refused\n"));
	ck_assert_uint_eq(lines_with(text, "\n"), 1);
	logged(text, log_gates_flush(unit_now + window));
	ck_assert_str_eq(text, "");
	logged(text, log_gated(&gate, "again"));
	ck_assert_uint_eq(lines_with(text, "again"), 1);
	unit_clock_end();
}
END_TEST

START_TEST(log_levels_hide_lines)
{
	char text[256];

	log_set_level(LOG_LEVEL_WARN);
	logged(text, log_info("no"));
	ck_assert_str_eq(text, "");
	logged(text, log_warn("yes"));
	ck_assert_ptr_nonnull(strstr(text, "warn: yes\n"));
}
END_TEST

START_TEST(a_role_is_held)
{
	thread_take_role(&on_http);
	ASSERT_ON(on_http);
}
END_TEST

START_TEST(another_role_aborts)
{
	thread_take_role(&on_http);
	ASSERT_ON(on_worker);
}
END_TEST

START_TEST(no_memory_ends_the_process)
{
	int status = 0;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (!child) {
		/* more members than a size_t counts bytes */
		free(xreallocarray(NULL, SIZE_MAX / 2, 4));
		_exit(EXIT_SUCCESS);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	/* by abort(), or by the sanitizer's own allocator */
	ck_assert(!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS);
}
END_TEST

static void *blocked_signals(void *arg)
{
	sigset_t set;

	pthread_sigmask(SIG_SETMASK, NULL, &set);
	*(bool *)arg = sigismember(&set, SIGTERM) && sigismember(&set, SIGHUP);
	ASSERT_ON(on_db);
	return NULL;
}

START_TEST(threads_leave_signals_to_main)
{
	bool blocked = false;
	pthread_t t;

	ck_assert_int_eq(thread_start(&t, "a name longer than the kernel's", &on_db,
				      blocked_signals, &blocked),
			 0);
	pthread_join(t, NULL);
	ck_assert(blocked);
}
END_TEST

START_TEST(a_strbuf_moves_without_a_copy)
{
	struct strbuf from, to;
	char *bytes;

	strbuf_init(&from, 0);
	strbuf_add_str(&from, "abc");
	bytes = from.ptr;
	strbuf_move(&to, &from);
	ck_assert_ptr_eq(to.ptr, bytes);
	ck_assert_uint_eq(to.len, 3);
	ck_assert_ptr_null(from.ptr);
	strbuf_release(&from);
	strbuf_release(&to);
}
END_TEST

START_TEST(hex_is_written_in_lower_case_and_read_in_both)
{
	char out[9];

	hex_encode("\0\x7f\xa0\xff", 4, out);
	ck_assert_str_eq(out, "007fa0ff");
	hex_encode("", 0, out);
	ck_assert_str_eq(out, "");
	for (int c = CHAR_MIN; c <= CHAR_MAX; c++) {
		static const char digits[] = "0123456789abcdef0123456789ABCDEF";
		const char *at = c ? strchr(digits, c) : NULL;
		int want = at ? (int)(at - digits) % 16 : -1;

		ck_assert_int_eq(hex_value((char)c), want);
	}
}
END_TEST

START_TEST(a_backoff_doubles_up_to_its_maximum)
{
	struct backoff b;

	backoff_init(&b, 100, 500);
	ck_assert_uint_eq(backoff_next(&b), 100);
	ck_assert_uint_eq(backoff_next(&b), 200);
	ck_assert_uint_eq(backoff_next(&b), 400);
	ck_assert_uint_eq(backoff_next(&b), 500);
	ck_assert_uint_eq(backoff_next(&b), 500);
	backoff_reset(&b);
	ck_assert_uint_eq(backoff_next(&b), 100);
}
END_TEST

static void *signal_wake(void *arg)
{
	wake_signal(arg);
	return NULL;
}

START_TEST(signals_before_a_drain_count_as_one)
{
	struct wake w = { 0 };
	pthread_t t;

	wake_release(&w); /* nothing to release */
	ck_assert_int_eq(wake_init(&w), 0);
	ck_assert(!wake_wait(&w, 0));
	wake_signal(&w);
	wake_signal(&w);
	ck_assert(wake_wait(&w, -1));
	ck_assert(!wake_wait(&w, 0));
	wake_drain(&w); /* does not block */
	ck_assert_int_eq(thread_start(&t, "signals", &on_db, signal_wake, &w), 0);
	ck_assert(wake_wait(&w, -1));
	pthread_join(t, NULL);
	wake_release(&w);
	wake_release(&w);
}
END_TEST

static void *count_one_connection(void *arg UNUSED)
{
	metric_add(METRIC_CONNECTIONS, 1);
	return NULL;
}

START_TEST(what_threads_count_is_added_up_and_survives_them)
{
	pthread_t t[4];

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(
				thread_start(&t[i], "t", &on_worker, count_one_connection, NULL),
				0);
		for (unsigned i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
	}
	metric_add(METRIC_CONNECTIONS, -3);
	ck_assert_int_eq(unit_metric(METRIC_CONNECTIONS, 0), 5);
}
END_TEST

START_TEST(an_observation_is_in_the_first_bucket_that_holds_it)
{
	unsigned base = 3 * metric_cells(METRIC_HTTP_SECONDS);

	metric_observe_at(METRIC_HTTP_SECONDS, 3, 100, 1);
	metric_observe_at(METRIC_HTTP_SECONDS, 3, 101, 2);
	metric_observe_at(METRIC_HTTP_SECONDS, 3, -5, 1); /* the clock was set back */
	metric_observe_at(METRIC_HTTP_SECONDS, 3, 20 * USEC_PER_SEC, 1);
	ck_assert_int_eq(unit_metric(METRIC_HTTP_SECONDS, base), 2);
	ck_assert_int_eq(unit_metric(METRIC_HTTP_SECONDS, base + 1), 2);
	ck_assert_int_eq(unit_metric(METRIC_HTTP_SECONDS, base + METRIC_BUCKETS), 1);
	ck_assert_int_eq(unit_metric(METRIC_HTTP_SECONDS, base + METRIC_BUCKETS + 1),
			 302 + 20 * USEC_PER_SEC);
}
END_TEST

START_TEST(every_metric_has_a_row_with_a_valid_name)
{
	for (unsigned m = 0; m < METRIC_COUNT; m++) {
		const struct metric_row *row = &metric_rows[m];

		ck_assert_msg(row->name && row->help, "metric %u has no row", m);
		ck_assert_int_eq(row->name[strspn(row->name, "abcdefghijklmnopqrstuvwxyz_")], 0);
		ck_assert_msg((row->type == METRIC_COUNTER) ==
				      sv_ends_with(sv(row->name), SV("_total")),
			      "%s: counters, and no others, end with _total", row->name);
		for (unsigned other = 0; other < m; other++)
			ck_assert_str_ne(row->name, metric_rows[other].name);
	}
	for (unsigned set = METRIC_NO_LABEL + 1; set < METRIC_LABEL_SETS; set++)
		ck_assert_ptr_nonnull(metric_label(set)->name);
	ck_assert_str_eq(
		metric_label(METRIC_BY_STATUS)->values[metric_number(METRIC_BY_STATUS, 404)],
		"404");
	ck_assert_str_eq(
		metric_label(METRIC_BY_STATUS)->values[metric_number(METRIC_BY_STATUS, 299)],
		"other");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("base");
	TCase *t = tcase_create("base");

	tcase_add_test(t, views_compare_search_and_skip);
	tcase_add_test(t, views_are_copied_into_a_block_one_after_the_other);
	tcase_add_test(t, a_list_is_split_at_each_separator);
	tcase_add_test(t, a_number_over_max_is_refused);
	tcase_add_test(t, a_number_is_written_as_it_is_read);
	tcase_add_test(t, a_copy_is_as_long_as_there_is_room);
	tcase_add_test(t, a_secret_is_overwritten);
	tcase_add_test(t, utf8_is_checked_by_rfc_3629);
	tcase_add_test(t, utf8_is_checked_at_every_offset);
	tcase_add_test(t, the_plain_end_is_found_at_every_offset);
	tcase_add_test(t, strbufs_grow);
	tcase_add_test(t, a_strbuf_moves_without_a_copy);
	tcase_add_test(t, a_json_string_is_escaped);
	tcase_add_test(t, hex_is_written_in_lower_case_and_read_in_both);
	tcase_add_test(t, a_backoff_doubles_up_to_its_maximum);
	tcase_add_test(t, signals_before_a_drain_count_as_one);
	tcase_add_test(t, the_hash_is_siphash);
	tcase_add_test(t, the_hash_has_a_random_key);
	tcase_add_test(t, random_bytes_do_not_repeat);
	tcase_add_test(t, a_map_finds_what_was_put);
	tcase_add_test(t, a_small_map_takes_little_and_finds_what_was_put);
	tcase_add_test(t, mailboxes_keep_order_and_bounds);
	tcase_add_test(t, mailboxes_take_from_many_threads);
	tcase_add_test(t, msgbufs_are_counted);
	tcase_add_test(t, what_threads_count_is_added_up_and_survives_them);
	tcase_add_test(t, an_observation_is_in_the_first_bucket_that_holds_it);
	tcase_add_test(t, every_metric_has_a_row_with_a_valid_name);
	tcase_add_test(t, a_clock_goes_forward_and_is_written_as_iso_8601);
	tcase_add_test(t, log_lines_cannot_be_forged);
	tcase_add_test(t, log_lines_are_bounded);
	tcase_add_test(t, log_lines_as_json_are_valid);
	tcase_add_test(t, the_file_of_the_log_is_opened_again);
	tcase_add_test(t, lines_to_a_journal_begin_with_their_priority);
	tcase_add_test(t, a_gate_lets_some_lines_through_and_counts_the_others);
	tcase_add_test(t, log_levels_hide_lines);
	tcase_add_test(t, a_role_is_held);
	tcase_add_test_raise_signal(t, another_role_aborts, SIGABRT);
	tcase_add_test(t, no_memory_ends_the_process);
	tcase_add_test(t, threads_leave_signals_to_main);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
