/* SPDX-License-Identifier: MIT */
/* Which server of Redis has which channel, and which channels are wanted. */
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>
#include "unit.h"
#include "base/mem.h"
#include "bus/redis_channels.h"
#include "bus/redis_link.h"
#include "bus/redis_map.h"

START_TEST(slots_are_those_of_redis)
{
	/* CLUSTER KEYSLOT of Redis 7.0 */
	ck_assert_uint_eq(redis_slot(SV("")), 0);
	ck_assert_uint_eq(redis_slot(SV("123456789")), 0x31c3);
	ck_assert_uint_eq(redis_slot(SV("foo")), 12182);
	ck_assert_uint_eq(redis_slot(SV("a{foo}b")), 12182);
	ck_assert_uint_eq(redis_slot(SV("a{foo}{bar}")), 12182);
	ck_assert_uint_ne(redis_slot(SV("{}foo")), 12182);
	ck_assert_uint_ne(redis_slot(SV("{foo")), 12182);
}
END_TEST

START_TEST(each_partition_has_a_tag_in_the_middle_of_its_slots)
{
	static struct redis_tags t;

	redis_tags_init(&t);
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++) {
		unsigned slot = redis_slot(sv(t.of[i]));

		ck_assert_uint_eq(slot, t.slots[i]);
		ck_assert_uint_ge(slot, 128 * i + 62);
		ck_assert_uint_le(slot, 128 * i + 66);
	}
}
END_TEST

START_TEST(tags_and_partitions_never_change)
{
	static struct redis_tags t;

	/* Nodes of other versions use the same. */
	redis_tags_init(&t);
	ck_assert_str_eq(t.of[0], "11423");
	ck_assert_str_eq(t.of[127], "2748");
	ck_assert_uint_eq(redis_partition(SV("nodes")), 58);
	ck_assert_uint_eq(redis_partition(SV("portal:private-x.1")), 34);
}
END_TEST

/* An answer of the server, as hiredis reads it. */
static redisReply *reply_read(const char *text)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;

	ck_assert_int_eq(redisReaderFeed(reader, text, strlen(text)), REDIS_OK);
	ck_assert_int_eq(redisReaderGetReply(reader, &reply), REDIS_OK);
	ck_assert_ptr_nonnull(reply);
	redisReaderFree(reader);
	return reply;
}

#define PLACE(host, port) "*3\r\n" host ":" port "\r\n$2\r\nid\r\n"

START_TEST(a_map_gives_each_partition_to_the_master_of_its_slot)
{
	static const struct redis_place asked = { (char *)"seed", 7000 };
	redisReply *r =
		reply_read("*2\r\n"
			   "*4\r\n:0\r\n:8191\r\n" PLACE("$1\r\na\r\n", "7001")
				   PLACE("$1\r\nb\r\n", "7002") "*3\r\n:8192\r\n:16000\r\n" PLACE(
					   "$-1\r\n", "7003"));
	static struct redis_tags t;
	struct redis_map m;

	redis_tags_init(&t);
	ck_assert(redis_map_read(r, &asked, &t, &m));
	ck_assert_uint_eq(m.n, 2);
	ck_assert_str_eq(m.places[m.of[0]].host, "a");
	ck_assert_uint_eq(m.places[m.of[63]].port, 7001);
	ck_assert_str_eq(m.places[m.of[64]].host, "seed");
	ck_assert_uint_eq(m.places[m.of[124]].port, 7003);
	ck_assert_int_eq(m.of[127], REDIS_NOWHERE);
	redis_map_release(&m);
	freeReplyObject(r);
}
END_TEST

START_TEST(a_path_in_a_map_is_no_host)
{
	static const struct redis_place asked = { (char *)"seed", 7000 };
	redisReply *r =
		reply_read("*1\r\n*3\r\n:0\r\n:16383\r\n" PLACE("$6\r\n/run/x\r\n", "7001"));
	static struct redis_tags t;
	struct redis_map m;

	redis_tags_init(&t);
	ck_assert(redis_map_read(r, &asked, &t, &m));
	ck_assert_str_eq(m.places[m.of[0]].host, "seed");
	redis_map_release(&m);
	freeReplyObject(r);
}
END_TEST

START_TEST(what_is_no_map_is_refused)
{
	static const struct redis_place asked = { (char *)"seed", 7000 };
	static const char *const cases[] = {
		"*0\r\n",
		":1\r\n",
		"-ERR no\r\n",
		"*1\r\n:1\r\n",
		"*1\r\n*2\r\n:0\r\n:1\r\n",
		"*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
		"*1\r\n*3\r\n$1\r\n0\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
		"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:0\r\n",
		"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n",
		"*2\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n:7\r\n",
	};
	static struct redis_tags t;

	redis_tags_init(&t);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		redisReply *r = reply_read(cases[i]);
		struct redis_map m;

		ck_assert_msg(!redis_map_read(r, &asked, &t, &m), "%s", cases[i]);
		freeReplyObject(r);
	}
}
END_TEST

START_TEST(a_channel_is_left_some_time_after_the_last_who_wanted_it)
{
	const usec_t later = 60 * USEC_PER_SEC;
	struct redis_channel *ch;
	struct redis_channels c;

	redis_channels_init(&c);
	ck_assert(redis_channels_want(&c, SV("a"), 1));
	ck_assert(!redis_channels_want(&c, SV("a"), 1));
	ck_assert(redis_channels_want(&c, SV("b"), 1));
	redis_channels_leave(&c, SV("a"), 0);
	ck_assert_ptr_null(redis_channels_take_left(&c, later)); /* one still wants it */
	redis_channels_leave(&c, SV("a"), later);
	redis_channels_leave(&c, SV("b"), later);
	redis_channels_leave(&c, SV("no such"), later);
	ck_assert_ptr_null(redis_channels_take_left(&c, later + 1)); /* too early */
	ck_assert(!redis_channels_want(&c, SV("b"), 1));	     /* it is back */
	ch = redis_channels_take_left(&c, 2 * later);
	ck_assert_str_eq(ch->name, "a");
	redis_channel_free(ch);
	ck_assert_ptr_null(redis_channels_take_left(&c, 2 * later));
	ck_assert_ptr_null(redis_channels_find(&c, SV("a")));
	ck_assert_ptr_eq(c.of[1], redis_channels_find(&c, SV("b")));
	redis_channels_leave(&c, SV("b"), 2 * later);
	ch = redis_channels_take_left(&c, 3 * later);
	redis_channel_free(ch);
	ck_assert_ptr_null(c.of[1]);
	redis_channels_release(&c);
}
END_TEST

START_TEST(a_partition_that_moves_is_asked_for_all_its_channels)
{
	struct redis_channels c;

	redis_channels_init(&c);
	ck_assert(redis_channels_want(&c, SV("a"), 1));
	ck_assert(redis_channels_want(&c, SV("b"), 2));
	for (unsigned i = 1; i <= 2; i++) {
		c.of[i]->is_sent = true;
		redis_channels_confirm(&c, c.of[i]);
		redis_channels_confirm(&c, c.of[i]);
	}
	ck_assert_uint_eq(c.n_confirmed, 2);
	redis_channels_unsend(&c, 1);
	ck_assert_uint_eq(c.n_confirmed, 1);
	ck_assert(!c.of[1]->is_sent && c.of[2]->is_sent);
	redis_channels_release(&c);
}
END_TEST

/* -- names of hosts -- */

static sem_t lookup_begins, lookup_may_end;
static atomic_uint lookups_ended;

/* The resolver of the system, but for names: each waits, and is this machine. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		struct addrinfo **out)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	bool is_name = !(hints->ai_flags & AI_NUMERICHOST);
	int error;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (is_name) {
		sem_post(&lookup_begins);
		sem_wait(&lookup_may_end);
	}
	error = is_name && strcmp(host, "none.test") == 0
			? EAI_NONAME
			: real(is_name ? "127.0.0.1" : host, port, hints, out);
	atomic_fetch_add(&lookups_ended, is_name);
	return error;
}

static void lookups_reset(void)
{
	sem_init(&lookup_begins, 0, 0);
	sem_init(&lookup_may_end, 0, 0);
	atomic_store(&lookups_ended, 0);
}

struct link_world {
	uv_loop_t loop;
	struct conf_cluster conf;
	char none[1]; /* an empty option */
	unsigned n_down;
	char why[256];
};

static void on_world_down(void *ctx, struct redis_link *l, const char *why)
{
	struct link_world *w = ctx;

	w->n_down++;
	snprintf(w->why, sizeof(w->why), "%s", why);
	redis_link_close(l);
}

static struct redis_link *link_world_open(struct link_world *w, const char *host, unsigned port)
{
	const struct redis_link_conf conf = { .loop = &w->loop,
					      .conf = &w->conf,
					      .host = host,
					      .port = port,
					      .is_configured = true,
					      .on_down = on_world_down,
					      .ctx = w };

	*w = (struct link_world){ .conf = { .redis_url = w->none,
					    .redis_username = w->none,
					    .redis_password = w->none } };
	lookups_reset();
	uv_loop_init(&w->loop);
	return redis_link_open(&conf);
}

/* Turns of the loop until the look-up has begun. */
static void link_world_begin_lookup(struct link_world *w)
{
	while (sem_trywait(&lookup_begins))
		uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void link_world_end(struct link_world *w)
{
	uv_run(&w->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&w->loop), 0);
	while (!atomic_load(&lookups_ended))
		sched_yield();
}

START_TEST(a_link_is_closed_while_the_name_of_its_host_is_looked_up)
{
	struct link_world w;
	struct redis_link *l = link_world_open(&w, "slow.test", 6379);

	thread_take_role(&on_bus);
	link_world_begin_lookup(&w);
	redis_link_close(l);
	uv_run(&w.loop, UV_RUN_DEFAULT); /* ends */
	ck_assert_uint_eq(atomic_load(&lookups_ended), 0);
	sem_post(&lookup_may_end);
	link_world_end(&w);
	ck_assert_uint_eq(w.n_down, 0);
}
END_TEST

/* Of a server that accepts; *port is its port. */
static int server_listen(unsigned *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(at);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, len), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&at, &len);
	*port = ntohs(at.sin_port);
	return listener;
}

/* A server sends head, then body again and again, until the link has failed. */
static void link_world_fed(struct link_world *w, const char *head, struct str_view body)
{
	unsigned port;
	int listener = server_listen(&port), fd;
	size_t sent = 0, at = 0;

	thread_take_role(&on_bus);
	(void)link_world_open(w, "127.0.0.1", port);
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0)
		uv_run(&w->loop, UV_RUN_NOWAIT);
	ck_assert_int_eq(send(fd, head, strlen(head), MSG_NOSIGNAL), (ssize_t)strlen(head));
	while (!w->n_down) {
		ssize_t n = send(fd, body.ptr + at, body.len - at, MSG_NOSIGNAL);

		at = (at + (n > 0 ? (size_t)n : 0)) % body.len;
		sent += n > 0 ? (size_t)n : 0;
		ck_assert_uint_lt(sent, 64 << 20);
		uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	uv_run(&w->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&w->loop), 0);
	close(fd);
	close(listener);
}

START_TEST(a_reply_without_end_ends_the_link)
{
	static char more[65536];
	struct strbuf parts;
	struct link_world w;

	link_world_fed(&w, "$400000000\r\n", sv_n(more, sizeof(more)));
	ck_assert_ptr_nonnull(strstr(w.why, "more than 16 MB"));
	strbuf_init(&parts, 0);
	for (unsigned i = 0; i < 512; i++)
		strbuf_addf(&parts, "$100\r\n%0100u\r\n", i);
	link_world_fed(&w, "*1000000\r\n", strbuf_view(&parts));
	ck_assert_ptr_nonnull(strstr(w.why, "more than 16 MB"));
	strbuf_release(&parts);
}
END_TEST

START_TEST(a_reply_of_too_many_parts_ends_the_link)
{
	static const char *const heads[] = { "*2147483647\r\n", "*1048577\r\n",
					     "*1000000\r\n*1000000\r\n" };
	struct link_world w;

	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		link_world_fed(&w, heads[i], SV(":1\r\n"));
		ck_assert_ptr_nonnull(strstr(w.why, "more than 1048576 parts"));
	}
}
END_TEST

START_TEST(a_link_connects_to_the_address_of_a_name)
{
	struct redis_link *l;
	struct link_world w;
	unsigned port;
	int listener = server_listen(&port), fd;

	thread_take_role(&on_bus);
	l = link_world_open(&w, "name.test", port);
	link_world_begin_lookup(&w);
	sem_post(&lookup_may_end);
	while ((fd = accept(listener, NULL, NULL)) < 0)
		uv_run(&w.loop, UV_RUN_NOWAIT);
	redis_link_close(l);
	link_world_end(&w);
	ck_assert_uint_eq(w.n_down, 0);
	close(fd);
	close(listener);
}
END_TEST

START_TEST(a_name_that_does_not_exist_is_the_reason_of_the_failure)
{
	struct link_world w;

	(void)link_world_open(&w, "none.test", 6379);
	thread_take_role(&on_bus);
	link_world_begin_lookup(&w);
	sem_post(&lookup_may_end);
	link_world_end(&w);
	ck_assert_uint_eq(w.n_down, 1);
	ck_assert_ptr_nonnull(strstr(w.why, "its name cannot be resolved: "));
	ck_assert_ptr_nonnull(strstr(w.why, "; check cluster.redis_host and cluster.redis_port "
					    "(REDIS_HOST, REDIS_PORT)"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bus/redis");
	TCase *t = tcase_create("redis");

	tcase_add_test(t, slots_are_those_of_redis);
	tcase_add_test(t, each_partition_has_a_tag_in_the_middle_of_its_slots);
	tcase_add_test(t, tags_and_partitions_never_change);
	tcase_add_test(t, a_map_gives_each_partition_to_the_master_of_its_slot);
	tcase_add_test(t, a_path_in_a_map_is_no_host);
	tcase_add_test(t, what_is_no_map_is_refused);
	tcase_add_test(t, a_channel_is_left_some_time_after_the_last_who_wanted_it);
	tcase_add_test(t, a_partition_that_moves_is_asked_for_all_its_channels);
	tcase_add_test(t, a_link_is_closed_while_the_name_of_its_host_is_looked_up);
	tcase_add_test(t, a_link_connects_to_the_address_of_a_name);
	tcase_add_test(t, a_reply_without_end_ends_the_link);
	tcase_add_test(t, a_reply_of_too_many_parts_ends_the_link);
	tcase_add_test(t, a_name_that_does_not_exist_is_the_reason_of_the_failure);
	suite_add_tcase(s, t);
	return unit_run(s);
}
