/* SPDX-License-Identifier: MIT */
/* The acceptor on real sockets of the loopback. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "front/acceptor.h"
#include "front/first_bytes.h"
#include "unit.h"
#include "wait.h"

#define DEADLINE_MS 10000

#define HANDSHAKE                                                                                  \
	"GET /app/key HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"                      \
	"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"                                      \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

/* The connections that the acceptor passed on, for the test's thread. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum first_bytes what;
	int fd;
	char head[512]; /* of FIRST_WEBSOCKET */
} got = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .fd = -1 };

static struct acceptor *acceptor;

static void note(enum first_bytes what, int fd)
{
	pthread_mutex_lock(&got.lock);
	got.what = what;
	got.fd = fd;
	pthread_cond_signal(&got.changed);
	pthread_mutex_unlock(&got.lock);
}

static void take_websocket(void *ctx, int fd, struct str_view head)
{
	(void)ctx;
	ck_assert_uint_lt(head.len, sizeof(got.head));
	snprintf(got.head, sizeof(got.head), "%.*s", SV_ARG(head));
	note(FIRST_WEBSOCKET, fd);
}

static void take_tls(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	(void)ctx;
	(void)peer;
	(void)len;
	note(FIRST_TLS, fd);
}

static void take_http(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	(void)ctx;
	ck_assert_uint_ge(len, sizeof(struct sockaddr_in));
	ck_assert(peer->sa_family == AF_INET || peer->sa_family == AF_INET6);
	note(FIRST_HTTP, fd);
}

/* Waits for the next one and returns its socket. */
static int next_of(enum first_bytes want)
{
	struct timespec until;
	int fd;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_MS / 1000;
	pthread_mutex_lock(&got.lock);
	while (got.fd < 0)
		ck_assert_int_eq(pthread_cond_timedwait(&got.changed, &got.lock, &until), 0);
	ck_assert_int_eq(got.what, want);
	fd = got.fd;
	got.fd = -1;
	pthread_mutex_unlock(&got.lock);
	return fd;
}

static const struct acceptor_conf defaults = {
	.host = "127.0.0.1",
	.backlog = 16,
	.first_bytes_ms = DEADLINE_MS,
	.max_head_bytes = 4096,
	.congestion_control = "",
	.on_websocket = take_websocket,
	.on_tls = take_tls,
	.on_http = take_http,
};

static void start(struct acceptor_conf conf)
{
	char *why = NULL;

	ck_assert_msg(acceptor_new(&conf, &acceptor, &why) == 0, "%s", why);
	ck_assert_uint_ne(acceptor_port(acceptor), 0);
	ck_assert_int_eq(acceptor_start(acceptor), 0);
}

static void end(void)
{
	acceptor_stop(acceptor);
	acceptor = NULL;
}

static void dial_from(int fd)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)acceptor_port(acceptor)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
}

static int dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	dial_from(fd);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void check_bytes(int fd, const char *text)
{
	char bytes[256];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	ck_view_eq(sv_n(bytes, n > 0 ? (size_t)n : 0), text);
}

static void wait_end(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;

	ck_assert_int_eq(poll(&p, 1, DEADLINE_MS), 1);
	ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
}

static void check_sorted(const char *text, enum first_bytes want)
{
	int client = dial(), server;

	say(client, text);
	server = next_of(want);
	if (want == FIRST_WEBSOCKET)
		ck_assert_str_eq(got.head, text);
	else
		check_bytes(server, text); /* nothing was taken */
	close(server);
	close(client);
}

START_TEST(each_kind_goes_to_its_own)
{
	start(defaults);
	check_sorted(HANDSHAKE, FIRST_WEBSOCKET);
	check_sorted("POST /apps/1/events HTTP/1.1\r\n", FIRST_HTTP);
	check_sorted("\x16\x03\x01", FIRST_TLS);
}
END_TEST

START_TEST(a_handshake_may_arrive_byte_by_byte)
{
	static const char text[] = HANDSHAKE;
	int client, server;

	start(defaults);
	client = dial();
	for (const char *c = text; *c; c++)
		say(client, (char[]){ *c, '\0' });
	server = next_of(FIRST_WEBSOCKET);
	close(server);
	close(client);
}
END_TEST

START_TEST(frames_behind_a_handshake_stay_in_the_socket)
{
	int client, server;

	start(defaults);
	client = dial();
	say(client, HANDSHAKE "frames");
	server = next_of(FIRST_WEBSOCKET);
	ck_assert_str_eq(got.head, HANDSHAKE);
	check_bytes(server, "frames");
	close(server);
	close(client);
}
END_TEST

START_TEST(half_a_handshake_is_not_passed_on)
{
	struct acceptor_conf conf = defaults;
	int client;

	conf.first_bytes_ms = 50;
	start(conf);
	client = dial();
	say(client, "GET /app/key HTTP/1.1\r\n");
	wait_end(client);
	ck_assert_int_eq(got.fd, -1);
	close(client);
}
END_TEST

START_TEST(silence_ends_at_the_deadline)
{
	struct acceptor_conf conf = defaults;
	int quiet, half;

	conf.first_bytes_ms = 1000; /* a handshake that is sent at once has to be in time */
	start(conf);
	quiet = dial();
	half = dial();
	say(half, "GET /ap");
	wait_end(quiet);
	wait_end(half);
	close(quiet);
	close(half);
	check_sorted(HANDSHAKE, FIRST_WEBSOCKET);
}
END_TEST

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* The kernel watches a descriptor that was closed here for as long as a child has it. */
START_TEST(a_connection_that_was_dropped_while_a_child_is_forked_is_forgotten)
{
	struct acceptor_conf conf = defaults;
	unsigned before;
	int client;
	pid_t child;

	conf.first_bytes_ms = 1000;
	start(conf);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	before = open_descriptors();
	dial_from(client);
	WAIT_UNTIL(open_descriptors() == before + 1); /* the acceptor's end */
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	WAIT_UNTIL(open_descriptors() == before);
	say(client, "late");
	check_sorted(HANDSHAKE, FIRST_WEBSOCKET);
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	close(client);
}
END_TEST

START_TEST(tls_without_a_certificate_is_dropped)
{
	struct acceptor_conf conf = defaults;
	int client;

	conf.on_tls = NULL;
	start(conf);
	client = dial();
	say(client, "\x16");
	wait_end(client);
	close(client);
}
END_TEST

START_TEST(a_peer_that_leaves_early_does_not_stop_the_acceptor)
{
	start(defaults);
	for (int i = 0; i < 50; i++) {
		int client = dial();

		if (i % 2)
			say(client, "GET /");
		close(client);
	}
	check_sorted(HANDSHAKE, FIRST_WEBSOCKET);
}
END_TEST

START_TEST(both_address_families_are_served_on_one_port)
{
	struct acceptor_conf conf = defaults;

	conf.host = "127.0.0.1, ::1";
	start(conf);
	check_sorted(HANDSHAKE, FIRST_WEBSOCKET);
}
END_TEST

/* The kernel knows that a port is free on IPv4 when it chooses one, and nothing of IPv6. */
START_TEST(port_0_is_one_port_that_is_free_on_every_address)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct acceptor_conf conf = defaults;
	struct rlimit limit;
	rlim_t n;
	int client;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (n = 100; n < limit.rlim_cur && n < 10000; n++) {
		int fd = socket(AF_INET6, SOCK_STREAM, 0);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	}
	conf.host = "127.0.0.1, ::1";
	for (unsigned i = 0; i < 50; i++) {
		char *why = NULL;

		ck_assert_msg(acceptor_new(&conf, &acceptor, &why) == 0, "%s", why);
		close(dial());
		client = socket(AF_INET6, SOCK_STREAM, 0);
		at.sin6_port = htons((uint16_t)acceptor_port(acceptor));
		ck_assert_int_eq(connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
		close(client);
		end();
	}
}
END_TEST

START_TEST(a_taken_port_is_named)
{
	struct acceptor_conf conf = defaults;
	struct acceptor *second = NULL;
	char *why = NULL, port[16];

	start(defaults);
	conf.port = acceptor_port(acceptor);
	snprintf(port, sizeof(port), "%u", conf.port);
	ck_assert_int_eq(acceptor_new(&conf, &second, &why), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(why, port));
	ck_assert_ptr_nonnull(strstr(why, "127.0.0.1"));
	free(why);
}
END_TEST

START_TEST(an_unknown_host_is_named)
{
	struct acceptor_conf conf = defaults;
	char *why = NULL;

	conf.host = "no.such.host.invalid";
	ck_assert_int_lt(acceptor_new(&conf, &acceptor, &why), 0);
	ck_assert_ptr_nonnull(strstr(why, "no.such.host.invalid"));
	free(why);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("front/acceptor");
	TCase *t = tcase_create("sockets");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, NULL, end);
	tcase_add_test(t, each_kind_goes_to_its_own);
	tcase_add_test(t, a_handshake_may_arrive_byte_by_byte);
	tcase_add_test(t, frames_behind_a_handshake_stay_in_the_socket);
	tcase_add_test(t, half_a_handshake_is_not_passed_on);
	tcase_add_test(t, silence_ends_at_the_deadline);
	tcase_add_test(t, a_connection_that_was_dropped_while_a_child_is_forked_is_forgotten);
	tcase_add_test(t, tls_without_a_certificate_is_dropped);
	tcase_add_test(t, a_peer_that_leaves_early_does_not_stop_the_acceptor);
	tcase_add_test(t, both_address_families_are_served_on_one_port);
	tcase_add_test(t, port_0_is_one_port_that_is_free_on_every_address);
	tcase_add_test(t, a_taken_port_is_named);
	tcase_add_test(t, an_unknown_host_is_named);
	suite_add_tcase(s, t);
	return unit_run(s);
}
