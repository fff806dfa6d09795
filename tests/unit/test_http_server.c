/* SPDX-License-Identifier: MIT */
/*
 * The transport over real sockets.  The test defines the router's two functions itself, so the
 * API is not linked: /now replies during the call, /later on another thread, /held when the test
 * decides, /echo with the request, and /gate stops the server's thread until the test opens it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>
#include "unit.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/server.h"

#define PATIENCE_MS 10000
#define LIMIT	    1000

static struct http_server *server;
static int listener;
static struct sockaddr_in address;
static struct request *_Atomic held;
static atomic_uint later_threads;
static sem_t at_gate, gate;

static void *reply_later(void *arg)
{
	request_reply(arg, 200, SV("{\"later\":true}"));
	atomic_fetch_sub(&later_threads, 1);
	return NULL;
}

static void echo(struct request *r)
{
	struct strbuf b;

	strbuf_init(&b, 64);
	strbuf_addf(&b, "%.*s %.*s", SV_ARG(r->method), SV_ARG(r->path));
	for (size_t i = 0; i < r->n_params; i++)
		strbuf_addf(&b, " %.*s=%.*s", SV_ARG(r->params[i].name),
			    SV_ARG(r->params[i].value));
	strbuf_addf(&b, " x=%.*s %s [%.*s]", SV_ARG(r->header(r, "x-test")),
		    address_is_loopback(&r->peer) ? "local" : "far", SV_ARG(r->body));
	request_reply_text(r, 200, strbuf_view(&b));
	strbuf_release(&b);
}

void router_handle(const struct api_services *services UNUSED, struct request *r)
{
	pthread_t t;

	if (sv_eq(r->path, SV("/now"))) {
		request_reply(r, 200, SV("{}"));
	} else if (sv_eq(r->path, SV("/later"))) {
		atomic_fetch_add(&later_threads, 1);
		ck_assert_int_eq(pthread_create(&t, NULL, reply_later, r), 0);
		pthread_detach(t);
	} else if (sv_eq(r->path, SV("/held"))) {
		atomic_store(&held, r);
	} else if (sv_eq(r->path, SV("/gate"))) {
		sem_post(&at_gate);
		sem_wait(&gate);
		request_reply(r, 200, SV("{}"));
	} else if (sv_eq(r->path, SV("/busy"))) {
		struct reply reply = { .status = 503, .retry_after_s = 7, .wants_close = true };

		reply_add_header(&reply, "Allow", SV("GET"));
		strbuf_init(&reply.body, 0);
		request_reply_full(r, &reply);
	} else if (sv_eq(r->path, SV("/upgrade"))) {
		request_reply_text(r, 426, SV("no"));
	} else {
		echo(r);
	}
}

size_t router_body_limit(const struct api_services *services UNUSED, const struct request *r)
{
	return sv_eq(r->path, SV("/big")) ? 10u << 20 : LIMIT;
}

void router_refusal(const struct api_services *services UNUSED, const struct request *r,
		    struct refusal *refusal)
{
	if (sv_eq(r->path, SV("/json"))) {
		strbuf_add_str(&refusal->headers, "Content-Type: application/json\r\n");
		strbuf_addf(&refusal->body, "{\"code\":\"%s\"}", refusal->code);
		return;
	}
	strbuf_add_str(&refusal->headers, "Content-Type: " REQUEST_TEXT "\r\n");
	strbuf_add_str(&refusal->body, refusal->sentence);
}

static struct address_limits *addresses;

static void listen_here(void)
{
	socklen_t len = sizeof(address);

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address = (struct sockaddr_in){ .sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(listen(listener, 128), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
}

static void start_with(unsigned max, unsigned request_timeout_ms)
{
	struct http_server_conf conf = { .max_connections = max,
					 .addresses = addresses,
					 .max_header_bytes = 16384,
					 .request_timeout_ms = request_timeout_ms,
					 .idle_timeout_s = 60 };

	listen_here();
	ck_assert_int_eq(http_server_start(&conf, NULL, &server), 0);
}

static void start(void)
{
	start_with(0, 60000);
}

static void stop(void)
{
	http_server_stop(server, 1000);
	server = NULL;
	close(listener);
}

/* Opens a connection from that address, or from its own when it is NULL; the server's answer. */
static int dial_try(const char *from, int *fd)
{
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	int theirs;

	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(*fd, (struct sockaddr *)&address, sizeof(address)), 0);
	theirs = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ck_assert_int_ge(theirs, 0);
	if (from)
		ck_assert_int_eq(inet_pton(AF_INET, from, &peer.sin_addr), 1);
	return http_server_adopt(server, theirs, (struct sockaddr *)&peer, len, false);
}

static int dial_from(const char *from, int want)
{
	int fd;

	ck_assert_int_eq(dial_try(from, &fd), want);
	return fd;
}

/* A connection that the server has. */
static int dial_rc(int want)
{
	return dial_from(NULL, want);
}

static int dial(void)
{
	return dial_rc(0);
}

static void say_n(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		ck_assert_int_gt(k, 0);
		p += k;
		n -= (size_t)k;
	}
}

static void say(int fd, const char *s)
{
	say_n(fd, s, strlen(s));
}

/* More bytes; 0 at the end. */
static size_t hear(int fd, struct strbuf *b)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n;

	ck_assert_msg(poll(&p, 1, PATIENCE_MS) == 1, "no answer; so far: %s", b->ptr);
	n = recv(fd, strbuf_reserve(b, 4096), 4096, 0);
	ck_assert_msg(n >= 0, "%s; so far: %s", strerror(errno), b->ptr);
	b->len += (size_t)n;
	b->ptr[b->len] = '\0';
	return (size_t)n;
}

static char *rest; /* the caller's last answers, for messages */

/* Everything until the server closes. */
static const char *hear_all(int fd)
{
	struct strbuf b;

	strbuf_init(&b, 4096);
	while (hear(fd, &b))
		;
	close(fd);
	free(rest);
	rest = b.ptr;
	return rest;
}

/* Until one of two texts came. */
static const char *hear_either(int fd, const char *one, const char *other)
{
	struct strbuf b;

	strbuf_init(&b, 4096);
	while (!strstr(b.ptr, one) && !strstr(b.ptr, other))
		ck_assert_msg(hear(fd, &b), "closed; so far: %s", b.ptr);
	free(rest);
	rest = b.ptr;
	return rest;
}

static const char *hear_until(int fd, const char *text)
{
	return hear_either(fd, text, text);
}

static unsigned count(const char *s, const char *what)
{
	unsigned n = 0;

	while ((s = strstr(s, what))) {
		n++;
		s++;
	}
	return n;
}

static void drop_rest(void)
{
	free(rest);
	rest = NULL;
	ck_assert_uint_eq(atomic_load(&later_threads), 0);
}

#define ck_has(s, what) ck_assert_msg(strstr((s), (what)), "no \"%s\" in: %s", what, (s))
#define ck_status(s, code)                                                                         \
	ck_assert_msg(strncmp((s), "HTTP/1.1 " code " ", 13) == 0, "want " code ": %s", (s))

START_TEST(a_connection_is_kept_after_each_response)
{
	int fd = dial();

	for (int i = 0; i < 3; i++) {
		say(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
		ck_status(hear_until(fd, "{}"), "200");
		ck_has(rest, "Content-Type: application/json\r\n");
		ck_assert_ptr_null(strstr(rest, "lose"));
	}
	close(fd);
}
END_TEST

START_TEST(a_response_may_come_from_another_thread)
{
	int fd = dial();

	for (int i = 0; i < 200; i++) {
		say(fd, "POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
		ck_status(hear_until(fd, "{\"later\":true}"), "200");
	}
	close(fd);
	while (atomic_load(&later_threads))
		sched_yield();
}
END_TEST

/* libmicrohttpd's epoll loop takes 128 events at a time. */
static const unsigned crowds[] = { 127, 128, 129, 256 };
#define CROWD_MAX 256

static void ask_all(const int *fds, unsigned n, const char *path)
{
	char request[64];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	for (unsigned i = 0; i < n; i++)
		say(fds[i], request);
}

static void hear_them_all(const int *fds, unsigned n, const char *text)
{
	for (unsigned i = 0; i < n; i++)
		hear_until(fds[i], text);
}

/* n kept-alive connections have a request each when the server's thread looks. */
static void crowd_at_once(unsigned n)
{
	int fds[CROWD_MAX], keeper = dial();

	for (unsigned i = 0; i < n; i++)
		fds[i] = dial();
	ask_all(fds, n, "/now");
	hear_them_all(fds, n, "\r\n\r\n{}");
	ask_all(&keeper, 1, "/gate");
	sem_wait(&at_gate);
	ask_all(fds, n, "/now");
	sem_post(&gate);
	hear_them_all(fds, n, "\r\n\r\n{}");
	hear_them_all(&keeper, 1, "\r\n\r\n{}");
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	close(keeper);
}

START_TEST(requests_of_a_crowd_are_answered_at_once)
{
	sem_init(&at_gate, 0, 0);
	sem_init(&gate, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(crowds); i++)
		crowd_at_once(crowds[i]);
}
END_TEST

START_TEST(requests_of_a_crowd_may_be_answered_later)
{
	int fds[CROWD_MAX];

	for (unsigned i = 0; i < CROWD_MAX; i++)
		fds[i] = dial();
	for (size_t i = 0; i < ARRAY_SIZE(crowds); i++) {
		ask_all(fds, crowds[i], "/later");
		hear_them_all(fds, crowds[i], "{\"later\":true}");
	}
	for (unsigned i = 0; i < CROWD_MAX; i++)
		close(fds[i]);
	while (atomic_load(&later_threads))
		sched_yield();
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
	struct strbuf b;
	int fd = dial();

	strbuf_init(&b, 0);
	for (int i = 0; i < 100; i++)
		strbuf_addf(&b,
			    "POST /%s?i=%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na%02d",
			    i % 5 ? "echo" : "later", i, i);
	strbuf_add_str(&b, "GET /echo?last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	say_n(fd, b.ptr, b.len);
	strbuf_release(&b);
	hear_all(fd);
	ck_assert_uint_eq(count(rest, "HTTP/1.1 200 OK"), 101);
	ck_assert_uint_eq(count(rest, "{\"later\":true}"), 20);
	ck_has(rest, "POST /echo i=99 x= local [a99]");
	ck_assert(strstr(rest, "[a98]") < strstr(rest, "[a99]"));
	while (atomic_load(&later_threads))
		sched_yield();
}
END_TEST

START_TEST(the_handler_receives_all_of_a_request)
{
	int fd = dial();

	say(fd, "POST http://h/a%20b/echo?x=1+2&l[0]=p&l[1]=q HTTP/1.1\r\nHost: h\r\n"
		"X-Test: yes\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
	ck_has(hear_all(fd), "POST /a b/echo x=1 2 l=p,q x=yes local [hi]");
}
END_TEST

START_TEST(http_1_0_and_head_are_answered)
{
	int fd = dial();

	say(fd, "GET /now HTTP/1.0\r\n\r\n");
	ck_has(hear_all(fd), "\r\n\r\n{}");
	fd = dial();
	say(fd, "HEAD /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	ck_has(hear_all(fd), "Content-Length: 22\r\n");
	ck_assert_ptr_null(strstr(rest, "HEAD /echo"));
}
END_TEST

START_TEST(a_response_has_the_headers_of_its_reply)
{
	int fd = dial();

	say(fd, "GET /busy HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_status(hear_all(fd), "503");
	ck_has(rest, "Retry-After: 7\r\n");
	ck_has(rest, "Allow: GET\r\n");
	ck_has(rest, "Connection: close\r\n");
	fd = dial();
	say(fd, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	ck_status(hear_all(fd), "426");
	ck_has(rest, "Upgrade: websocket\r\n");
}
END_TEST

START_TEST(a_chunked_body_is_joined)
{
	int fd = dial();

	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		"3\r\nabc\r\n4;e=1\r\ndefg\r\n0\r\n\r\n");
	ck_has(hear_until(fd, "]"), "[abcdefg]");
	close(fd);
}
END_TEST

START_TEST(a_content_length_over_the_limit_is_413)
{
	int fd = dial();

	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
	ck_status(hear_all(fd), "413");
	ck_has(rest, "1000 bytes");
	ck_has(rest, "Connection: close");
	fd = dial();
	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n"
		"Expect: 100-continue\r\n\r\n");
	ck_status(hear_all(fd), "413");
}
END_TEST

/* The upload is far larger than the socket buffers: its sender still gets to read the answer. */
static void *upload(void *arg)
{
	static const char zeros[65536];
	int fd = *(int *)arg;

	for (int i = 0; i < 64; i++)
		if (send(fd, zeros, sizeof(zeros), MSG_NOSIGNAL) <= 0)
			break;
	return NULL;
}

START_TEST(the_sender_of_a_large_body_can_read_the_refusal)
{
	pthread_t t;
	int fd = dial();

	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n");
	ck_assert_int_eq(pthread_create(&t, NULL, upload, &fd), 0);
	ck_status(hear_until(fd, "allowed here"), "413");
	pthread_join(t, NULL);
	close(fd);
}
END_TEST

START_TEST(chunks_over_the_limit_are_413)
{
	int fd = dial();

	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 101; i++)
		if (send(fd, "a\r\n0123456789\r\n", 15, MSG_NOSIGNAL) < 0)
			break;
	ck_status(hear_all(fd), "413");
}
END_TEST

START_TEST(a_body_of_the_maximum_length_is_accepted)
{
	char body[LIMIT + 1];
	int fd = dial();

	memset(body, 'b', LIMIT);
	body[LIMIT] = '\0';
	say(fd,
	    "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n");
	say(fd, body);
	ck_has(hear_all(fd), body);
}
END_TEST

START_TEST(a_large_body_arrives_whole)
{
	size_t n = 5u << 20;
	char *body = xmalloc(n + 1);
	int fd = dial();

	for (size_t i = 0; i < n; i++)
		body[i] = (char)('a' + i % 26);
	body[n] = '\0';
	say(fd, "POST /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
		"5242880\r\n\r\n");
	say_n(fd, body, n);
	ck_assert_msg(strstr(hear_all(fd), body) != NULL, "the body came back changed");
	free(body);
}
END_TEST

static const char *with_headers(size_t bytes)
{
	struct strbuf b;
	int fd = dial();

	strbuf_init(&b, bytes);
	strbuf_add_str(&b, "GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
	while (b.len + 200 < bytes)
		strbuf_addf(&b, "X-%zu: %064d%064d\r\n", b.len, 1, 2);
	strbuf_add_str(&b, "X-End: ");
	while (b.len + 4 < bytes)
		strbuf_add_c(&b, 'e');
	strbuf_add_str(&b, "\r\n\r\n");
	say_n(fd, b.ptr, b.len);
	strbuf_release(&b);
	return hear_all(fd);
}

START_TEST(headers_over_the_maximum_are_431)
{
	ck_status(with_headers(4000), "200");
	ck_status(with_headers(16000), "200");
	ck_status(with_headers(17000), "431");
	ck_status(with_headers(20480), "431");
	ck_status(with_headers(40000), "431");
}
END_TEST

static const char *with_target(size_t bytes)
{
	struct strbuf b;
	int fd = dial();

	strbuf_init(&b, bytes + 64);
	strbuf_add_str(&b, "GET /");
	while (b.len < bytes)
		strbuf_add_c(&b, 'a');
	strbuf_add_str(&b, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	say_n(fd, b.ptr, b.len);
	strbuf_release(&b);
	return hear_all(fd);
}

START_TEST(a_target_over_the_maximum_is_414_or_431)
{
	ck_status(with_target(16000), "200");
	for (size_t n = 17000; n < 60000; n += 500)
		ck_assert_msg(strncmp(with_target(n), "HTTP/1.1 431 ", 13) == 0 ||
				      strncmp(rest, "HTTP/1.1 414 ", 13) == 0,
			      "%zu: %s", n, rest);
}
END_TEST

START_TEST(a_malformed_request_is_400)
{
	static const char *const bad[] = {
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
		("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
		 "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /now HTTP/1.1\r\nHost x\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int fd = dial();

		say(fd, bad[i]);
		ck_status(hear_all(fd), "400");
	}
}
END_TEST

START_TEST(garbage_closes_its_connection_only)
{
	static const char garbage[] = "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n\0\0\0\r\n\r\n";
	int fd = dial();

	say_n(fd, garbage, sizeof(garbage));
	hear_all(fd);
	fd = dial();
	say(fd, "GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	ck_status(hear_all(fd), "200");
}
END_TEST

/* A connection that the server accepts once an earlier one is closed. */
static int dial_when_there_is_room(const char *from)
{
	usec_t until = clock_mono() + PATIENCE_MS * USEC_PER_MSEC;
	int fd;

	while (dial_try(from, &fd)) {
		close(fd);
		ck_assert_msg(clock_mono() < until, "a closed connection is still counted");
		sched_yield();
	}
	return fd;
}

/* All n connections of the maximum are closed: n others are accepted. */
static void check_room(size_t n)
{
	int *fds = xcalloc(n, sizeof(*fds));

	for (size_t i = 0; i < n; i++)
		fds[i] = dial_when_there_is_room(NULL);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	free(fds);
}

static const char cut_request[] = "POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";

static void start_with_room_for_each_cut(void)
{
	start_with(sizeof(cut_request), 60000);
}

START_TEST(a_peer_may_close_at_any_byte)
{
	for (size_t cut = 0; cut < sizeof(cut_request); cut++) {
		struct linger now = { 1, 0 };
		int fd = dial();

		say_n(fd, cut_request, cut);
		if (cut % 2)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
	}
	check_room(sizeof(cut_request));
	while (atomic_load(&later_threads))
		sched_yield();
}
END_TEST

START_TEST(a_connection_over_the_maximum_is_503)
{
	int fds[3] = { dial(), dial() };

	fds[2] = dial_rc(-EMFILE);
	ck_status(hear_all(fds[2]), "503");
	ck_has(rest, "Retry-After: 1");
	close(fds[0]);
	fds[0] = dial_when_there_is_room(NULL);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(a_connection_over_the_maximum_of_its_address_is_429)
{
	int one = dial_from("192.0.2.1", 0), two = dial_from("192.0.2.2", 0), more;

	more = dial_from("192.0.2.1", -EDQUOT);
	ck_status(hear_all(more), "429");
	ck_has(rest, "max_connections_per_address");
	close(one);
	one = dial_when_there_is_room("192.0.2.1");
	close(one);
	close(two);
}
END_TEST

static void start_one_per_address(void)
{
	addresses = address_limits_new(1, 0, 0);
	start_with(0, 60000);
}

static void stop_one_per_address(void)
{
	stop();
	address_limits_free(addresses);
	addresses = NULL;
}

static void start_two(void)
{
	start_with(2, 60000);
}

static const char *const slow_parts[] = {
	"G",
	"GET /now HTTP/1.1\r\n",
	"GET /now HTTP/1.1\r\nHost: x\r\nX",
	"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc",
	"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
};

static void start_hasty(void)
{
	start_with(ARRAY_SIZE(slow_parts), 1000); /* what is sent at once has to be in time */
}

START_TEST(a_slow_request_is_408)
{
	int fds[ARRAY_SIZE(slow_parts)];

	for (size_t i = 0; i < ARRAY_SIZE(slow_parts); i++) {
		fds[i] = dial();
		say(fds[i], slow_parts[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(slow_parts); i++)
		ck_status(hear_all(fds[i]), "408");
	check_room(ARRAY_SIZE(slow_parts));
}
END_TEST

static struct request *wait_held(void)
{
	usec_t until = clock_mono() + PATIENCE_MS * USEC_PER_MSEC;
	struct request *r;

	while (!(r = atomic_exchange(&held, NULL))) {
		ck_assert_msg(clock_mono() < until, "the request did not arrive");
		sched_yield();
	}
	return r;
}

START_TEST(a_waiting_request_has_no_deadline)
{
	int fd = dial(), slow = dial();

	say(fd, "GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	say(slow, "G");
	ck_status(hear_all(slow), "408");
	request_reply(wait_held(), 200, SV("{\"held\":1}"));
	ck_has(hear_all(fd), "{\"held\":1}");
}
END_TEST

START_TEST(the_stop_answers_waiting_requests_with_503)
{
	int fd = dial();
	struct request *r;

	say(fd, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
	r = wait_held();
	http_server_stop(server, 50);
	ck_status(hear_all(fd), "503");
	ck_has(rest, "stopping");
	request_reply(r, 200, SV("{\"late\":1}"));
	start_with(0, 1000);
}
END_TEST

static void *stop_server(void *arg UNUSED)
{
	http_server_stop(server, PATIENCE_MS);
	return NULL;
}

START_TEST(the_stop_waits_for_responses)
{
	int fd = dial();
	pthread_t t;

	say(fd, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
	struct request *r = wait_held();

	ck_assert_int_eq(pthread_create(&t, NULL, stop_server, NULL), 0);
	request_reply(r, 200, SV("{\"held\":1}"));
	ck_has(hear_all(fd), "{\"held\":1}");
	pthread_join(t, NULL);
	start_with(0, 1000);
}
END_TEST

START_TEST(the_stop_refuses_new_requests)
{
	int fd = dial(), other = dial();
	pthread_t t;

	say(fd, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
	struct request *r = wait_held();

	ck_assert_int_eq(pthread_create(&t, NULL, stop_server, NULL), 0);
	do {
		say(other, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
		hear_either(other, "\r\n\r\n{}", "try again");
	} while (!strstr(rest, "Connection: close\r\n"));
	/* the stop can begin between a request and its response, which then is the last one */
	if (!strstr(rest, "200 OK"))
		ck_status(rest, "503");
	request_reply(r, 200, SV("{\"held\":1}"));
	ck_has(hear_all(fd), "{\"held\":1}");
	pthread_join(t, NULL);
	close(other);
	start_with(0, 1000);
}
END_TEST

static void add_case(Suite *suite, const char *name, void (*setup)(void), const TTest *const *tests)
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, stop);
	tcase_add_checked_fixture(t, NULL, drop_rest);
	for (; *tests; tests++)
		tcase_add_test(t, *tests);
	suite_add_tcase(suite, t);
}

int main(void)
{
	Suite *suite = suite_create("http/server");
	TCase *address_case;

	add_case(suite, "serving", start,
		 (const TTest *const[]){
			 a_connection_is_kept_after_each_response,
			 a_response_may_come_from_another_thread,
			 requests_of_a_crowd_are_answered_at_once,
			 requests_of_a_crowd_may_be_answered_later,
			 pipelined_requests_are_answered_in_order,
			 the_handler_receives_all_of_a_request, http_1_0_and_head_are_answered,
			 a_response_has_the_headers_of_its_reply, a_chunked_body_is_joined,
			 a_body_of_the_maximum_length_is_accepted, a_large_body_arrives_whole,
			 NULL });
	add_case(suite, "refusing", start,
		 (const TTest *const[]){
			 a_content_length_over_the_limit_is_413,
			 the_sender_of_a_large_body_can_read_the_refusal,
			 chunks_over_the_limit_are_413, headers_over_the_maximum_are_431,
			 a_target_over_the_maximum_is_414_or_431, a_malformed_request_is_400,
			 garbage_closes_its_connection_only, NULL });
	add_case(suite, "closing", start_with_room_for_each_cut,
		 (const TTest *const[]){ a_peer_may_close_at_any_byte, NULL });
	add_case(suite, "limit", start_two,
		 (const TTest *const[]){ a_connection_over_the_maximum_is_503, NULL });
	address_case = tcase_create("address");
	tcase_add_checked_fixture(address_case, start_one_per_address, stop_one_per_address);
	tcase_add_test(address_case, a_connection_over_the_maximum_of_its_address_is_429);
	suite_add_tcase(suite, address_case);
	add_case(suite, "haste", start_hasty,
		 (const TTest *const[]){ a_slow_request_is_408, a_waiting_request_has_no_deadline,
					 NULL });
	add_case(suite, "stopping", start,
		 (const TTest *const[]){ the_stop_answers_waiting_requests_with_503,
					 the_stop_waits_for_responses,
					 the_stop_refuses_new_requests, NULL });
	return unit_run(suite);
}
