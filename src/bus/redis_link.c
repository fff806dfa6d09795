/* SPDX-License-Identifier: MIT */
/*
 * A link goes through its states in their order, and ends in LINK_DEAD; link_fail() alone reports
 * that.  The callbacks may close the link, which the loop frees later, so a function looks at
 * the state after a callback.
 *
 * Bytes are read with recvfrom() and SSL_read_ex(): recv() and SSL_read() are those of
 * ws/frame_guard.c.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "bus/redis_link.h"
#include "bus/redis_resolver.h"
#include "bus/redis_tls.h"

#define WORDS_MAX   128 /* of a command */
#define READ_BYTES  65536
#define REPLY_BYTES ((size_t)16 << 20) /* of a reply that is not complete */
#define REPLY_PARTS (1 << 20)	       /* of its arrays, whose length its server states in front */
#define READS_MAX   16		       /* of one turn of the loop */
#define TICK_MS	    500
#define OPEN_US	    (5 * USEC_PER_SEC) /* until it has logged in */
#define IDLE_US	    USEC_PER_SEC       /* without a byte: a PING is sent */
#define SILENCE_US  (5 * USEC_PER_SEC) /* without a byte: it is down */
#define KEPT_BYTES  65536	       /* of an empty buffer */

struct thread_role on_bus = { "bus" };

/* The type that hiredis has for the length of an array. */
#if HIREDIS_MAJOR >= 1
typedef size_t link_length;
#else
typedef int link_length;
#endif

enum link_state { LINK_RESOLVES, LINK_CONNECTS, LINK_TLS, LINK_LOGS_IN, LINK_UP, LINK_DEAD };

struct redis_link {
	struct redis_link_conf conf;
	char *host;
	enum link_state state;
	bool is_closed;
	unsigned n_handles; /* that the loop has */
	uv_timer_t timer;
	uv_poll_t *poll;		 /* heap, of fd or the resolver; NULL: there is neither */
	int events;			 /* that poll waits for */
	struct redis_resolver *resolver; /* NULL: it is not working */
	struct addrinfo *addresses, *address; /* all, and the one that is tried */
	int fd;				      /* -1: none */
	SSL *ssl;
	bool wants_write; /* of ssl */
	redisReader *reader;
	redisReplyObjectFunctions functions; /* the reader's, with a createArray of ours */
	void *(*create_array)(const redisReadTask *task, link_length n); /* hiredis's own */
	size_t reply_bytes; /* received of the reply that is not complete */
	size_t reply_parts; /* of its arrays */
	struct strbuf out;
	size_t sent; /* bytes at the front of out */
	uint64_t n_commands, n_replies;
	uint64_t auth, select, login;  /* numbers of the commands of the login; 0: not sent */
	usec_t opened_at, received_at; /* mono */
	bool is_pinged;		       /* a PING has no answer yet */
	bool has_received;	       /* a byte, of Redis's protocol or not */
	bool is_reading;
};

static void link_free(struct redis_link *l)
{
	if (l->n_handles)
		return;
	if (l->addresses)
		freeaddrinfo(l->addresses);
	redisReaderFree(l->reader);
	explicit_bzero(l->out.ptr, l->out.cap);
	strbuf_release(&l->out);
	free(l->host);
	free(l);
}

static void on_link_closed(uv_handle_t *handle)
{
	struct redis_link *l = handle->data;

	l->n_handles--;
	link_free(l);
}

static void on_link_poll_closed(uv_handle_t *handle)
{
	on_link_closed(handle);
	free(handle);
}

static void link_close_socket(struct redis_link *l)
{
	if (l->poll)
		uv_close((uv_handle_t *)l->poll, on_link_poll_closed);
	l->poll = NULL;
	redis_resolver_drop(l->resolver);
	l->resolver = NULL;
	SSL_free(l->ssl);
	l->ssl = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

/* Takes why. */
static void link_fail(struct redis_link *l, char *why)
{
	if (l->state != LINK_DEAD) {
		l->state = LINK_DEAD;
		uv_timer_stop(&l->timer);
		link_close_socket(l);
		l->conf.on_down(l->conf.ctx, l, why);
	}
	free(why);
}

static void on_link_event(uv_poll_t *poll, int status, int events);

/* -- what is wrong, for the log -- */

/* What names the server. */
static const char *link_address_options(const struct redis_link *l)
{
	if (!l->conf.is_configured)
		return "the addresses that CLUSTER SLOTS of the Redis Cluster has";
	if (*l->conf.conf->redis_url)
		return "cluster.redis_url (REDIS_URL)";
	if (*l->host == '/')
		return "cluster.redis_host (REDIS_HOST)";
	return "cluster.redis_host and cluster.redis_port (REDIS_HOST, REDIS_PORT)";
}

static char *link_cannot_connect(const struct redis_link *l, const char *reason)
{
	return textf("cannot connect: %s; check %s", reason, link_address_options(l));
}

static char *link_cannot_resolve(const struct redis_link *l, const char *reason)
{
	return textf("its name cannot be resolved: %s; check %s", reason, link_address_options(l));
}

/*
 * The connection has ended, for this reason.  Before its first answer a server closes it without a
 * message when it expects TLS, or, with TLS, a certificate or fewer clients.
 */
static char *link_lost(const struct redis_link *l, const char *reason)
{
	if (l->state == LINK_UP || l->has_received)
		return textf("the connection is lost: %s", reason);
	if (!l->ssl)
		return textf("the connection ended before an answer: %s; set cluster.redis_tls = "
			     "yes if this port is one for TLS",
			     reason);
	if (l->state == LINK_TLS)
		return textf("TLS: the connection ended before it was established: %s; check "
			     "cluster.redis_tls, and whether this port is one for TLS and the "
			     "server's maxclients is reached",
			     reason);
	return textf("TLS: the connection ended before an answer: %s; check "
		     "cluster.redis_tls_certificate and cluster.redis_tls_key if the server "
		     "requires a certificate, and whether its maxclients is reached",
		     reason);
}

/* It has not logged in in time. */
static char *link_late(const struct redis_link *l)
{
	switch (l->state) {
	case LINK_RESOLVES:
		return link_cannot_resolve(l, "there is no answer in time");
	case LINK_CONNECTS:
		return link_cannot_connect(l, "there is no answer in time");
	case LINK_TLS:
		return textf("it does not answer to TLS; check cluster.redis_tls, and whether "
			     "this port is one for TLS");
	default:
		return textf("it does not answer; check %s, and cluster.redis_tls",
			     link_address_options(l));
	}
}

/* The first byte of a record of TLS that has an alert. */
#define TLS_ALERT 0x15

static char *link_no_protocol(const struct redis_link *l, char first)
{
	if (l->reply_parts > REPLY_PARTS)
		return textf("it sends a reply of more than %d parts", REPLY_PARTS);
	if (!l->ssl && first == TLS_ALERT)
		return textf("this port is one for TLS; set cluster.redis_tls = yes");
	return textf("it does not speak Redis's protocol; check cluster.redis_port and "
		     "cluster.redis_tls");
}

/* -- sending -- */

static void link_watch(struct redis_link *l)
{
	int events = UV_READABLE;

	if (l->state == LINK_CONNECTS || l->wants_write || l->out.len > l->sent)
		events |= UV_WRITABLE;
	if (events != l->events && l->poll) {
		l->events = events;
		uv_poll_start(l->poll, events, on_link_event);
	}
}

static ssize_t link_send(struct redis_link *l, const char *from, size_t n)
{
	size_t sent;
	int rc;

	if (!l->ssl)
		return send(l->fd, from, n, MSG_NOSIGNAL);
	ERR_clear_error();
	rc = SSL_write_ex(l->ssl, from, n, &sent);
	if (rc == 1)
		return (ssize_t)sent;
	rc = SSL_get_error(l->ssl, rc);
	errno = rc == SSL_ERROR_WANT_WRITE || rc == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
	ERR_clear_error();
	return -1;
}

static void link_read(struct redis_link *l);

/*
 * The socket is of no use any more.  What the server has sent before has the reason, if it gave
 * one: an error of Redis, an alert of TLS.
 */
static void link_fail_socket(struct redis_link *l, int error)
{
	if (l->is_reading)
		return; /* its caller reads on */
	link_read(l);
	if (l->state != LINK_DEAD)
		link_fail(l, link_lost(l, strerror(error)));
}

void redis_link_flush(struct redis_link *l)
{
	if (l->state != LINK_LOGS_IN && l->state != LINK_UP)
		return;
	while (l->sent < l->out.len) {
		ssize_t n = link_send(l, l->out.ptr + l->sent, l->out.len - l->sent);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			link_fail_socket(l, errno);
			return;
		}
		l->sent += (size_t)n;
	}
	if (l->sent == l->out.len) {
		strbuf_reset(&l->out);
		l->sent = 0;
		if (l->out.cap > KEPT_BYTES) {
			strbuf_release(&l->out);
			strbuf_init(&l->out, 0);
		}
	}
	link_watch(l);
}

uint64_t redis_link_command(struct redis_link *l, const struct str_view *words, unsigned n)
{
	const char *values[WORDS_MAX];
	size_t lengths[WORDS_MAX];
	char *text;
	int len;

	if (n > WORDS_MAX)
		abort();
	for (unsigned i = 0; i < n; i++) {
		values[i] = words[i].ptr;
		lengths[i] = words[i].len;
	}
	len = redisFormatCommandArgv(&text, (int)n, values, lengths);
	if (len < 0)
		abort(); /* no memory */
	if (l->sent > l->out.len / 2) {
		memmove(l->out.ptr, l->out.ptr + l->sent, l->out.len - l->sent);
		l->out.len -= l->sent;
		l->sent = 0;
	}
	strbuf_add(&l->out, text, (size_t)len);
	redisFreeCommand(text);
	return ++l->n_commands;
}

size_t redis_link_waiting(const struct redis_link *l)
{
	return l->out.len - l->sent;
}

bool redis_link_is_up(const struct redis_link *l)
{
	return l && l->state == LINK_UP;
}

/* -- the login -- */

static void link_begin_login(struct redis_link *l)
{
	const struct conf_cluster *c = l->conf.conf;
	char db[STR_U64_SIZE];

	l->state = LINK_LOGS_IN;
	if (*c->redis_username)
		l->auth = redis_link_command(l,
					     (struct str_view[]){ SV("AUTH"), sv(c->redis_username),
								  sv(c->redis_password) },
					     3);
	else if (*c->redis_password)
		l->auth = redis_link_command(
			l, (struct str_view[]){ SV("AUTH"), sv(c->redis_password) }, 2);
	str_u64(db, c->redis_db);
	if (c->redis_db)
		l->select = redis_link_command(l, (struct str_view[]){ SV("SELECT"), sv(db) }, 2);
	l->login = redis_link_command(l, &SV("PING"), 1);
	redis_link_flush(l);
}

/* The text of an error that follows AUTH can have the password: only its first word is repeated. */
static char *link_login_error(const struct redis_link *l, const redisReply *r)
{
	struct str_view text = sv_n(r->str, r->len), word = SV("");

	/* It sends these without reading a command, and closes the connection. */
	if (sv_starts_with(text, SV("ERR max number of clients")))
		return textf("its max number of clients is reached; raise maxclients there");
	if (sv_starts_with(text, SV("DENIED")))
		return textf("it is in protected mode, which refuses clients of other machines; "
			     "give it a password");
	if (l->n_replies == l->auth && strstr(r->str, "without any password configured"))
		return textf("it refused the login, because it has no password; leave "
			     "cluster.redis_password (REDIS_PASSWORD) empty");
	if (l->n_replies == l->auth) {
		sv_split(&text, ' ', &word);
		return textf("it refused the login (%.*s); check cluster.redis_username and "
			     "cluster.redis_password (REDIS_USERNAME, REDIS_PASSWORD)",
			     SV_ARG(word));
	}
	if (sv_starts_with(text, SV("NOAUTH")))
		return textf("it requires a password; set cluster.redis_password (REDIS_PASSWORD)");
	if (l->n_replies == l->select)
		return textf("it refused cluster.redis_db = %u: %s", l->conf.conf->redis_db,
			     r->str);
	if (sv_starts_with(text, SV("NOPERM")))
		return textf("%s; its user needs the commands publish, subscribe, unsubscribe, "
			     "ping",
			     r->str);
	return textf("it is not ready: %s", r->str);
}

static void link_take_reply(struct redis_link *l, const redisReply *r)
{
	l->n_replies++;
	if (l->state == LINK_UP) {
		l->conf.on_reply(l->conf.ctx, l, r, l->n_replies);
	} else if (r->type == REDIS_REPLY_ERROR) {
		link_fail(l, link_login_error(l, r));
	} else if (l->n_replies == l->login) {
		l->state = LINK_UP;
		l->conf.on_up(l->conf.ctx, l);
	}
}

/* -- receiving -- */

/* The call for l->ssl failed with rc of SSL_get_error(). */
static char *link_tls_error(const struct redis_link *l, int rc, int error)
{
	char *why = rc == SSL_ERROR_ZERO_RETURN ? NULL : redis_tls_error(l->ssl);

	if (why)
		return why;
	return link_lost(l, rc == SSL_ERROR_SYSCALL && error ? strerror(error)
							     : "the server closed it");
}

/* Bytes; 0: there are none now; -1: the connection has ended, for the reason *why (heap). */
static ssize_t link_receive(struct redis_link *l, char *into, char **why)
{
	ssize_t n;
	size_t got;
	int rc;

	if (!l->ssl) {
		n = recvfrom(l->fd, into, READ_BYTES, 0, NULL, NULL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0)
			*why = link_lost(l, n ? strerror(errno) : "the server closed it");
		return n > 0 ? n : -1;
	}
	ERR_clear_error();
	errno = 0;
	rc = SSL_read_ex(l->ssl, into, READ_BYTES, &got);
	if (rc == 1)
		return (ssize_t)got;
	rc = SSL_get_error(l->ssl, rc);
	if (rc == SSL_ERROR_WANT_READ || rc == SSL_ERROR_WANT_WRITE)
		return 0;
	*why = link_tls_error(l, rc, errno);
	return -1;
}

/* Allocates no more than there are parts that a reply may have. */
static void *link_create_array(const redisReadTask *task, link_length n)
{
	struct redis_link *l = task->privdata;

	l->reply_parts += n > 0 ? (size_t)n : 0;
	return l->reply_parts > REPLY_PARTS ? NULL : l->create_array(task, n);
}

/* first: the first byte of what was received last. */
static void link_take_replies(struct redis_link *l, char first)
{
	void *reply;

	while (l->state == LINK_LOGS_IN || l->state == LINK_UP) {
		if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
			link_fail(l, link_no_protocol(l, first));
			return;
		}
		if (!reply)
			return;
		l->reply_bytes = l->reader->len - l->reader->pos;
		l->reply_parts = 0;
		link_take_reply(l, reply);
		freeReplyObject(reply);
	}
}

static void link_read_all(struct redis_link *l)
{
	char bytes[READ_BYTES], *why = NULL;

	for (unsigned i = 0; i < READS_MAX || (l->ssl && SSL_pending(l->ssl)); i++) {
		ssize_t n = link_receive(l, bytes, &why);

		if (n == 0)
			return;
		if (n < 0) {
			link_fail(l, why);
			return;
		}
		l->received_at = clock_mono();
		l->is_pinged = false;
		l->has_received = true;
		redisReaderFeed(l->reader, bytes, (size_t)n);
		l->reply_bytes += (size_t)n;
		link_take_replies(l, *bytes);
		if (l->reply_bytes > REPLY_BYTES)
			link_fail(l,
				  textf("it sends a reply of more than %zu MB", REPLY_BYTES >> 20));
		if (l->state == LINK_DEAD || l->is_closed)
			return;
	}
}

static void link_read(struct redis_link *l)
{
	l->is_reading = true;
	link_read_all(l);
	l->is_reading = false;
}

/* -- opening -- */

static void link_handshake(struct redis_link *l)
{
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_do_handshake(l->ssl);
	if (rc == 1) {
		l->wants_write = false;
		link_begin_login(l);
		return;
	}
	rc = SSL_get_error(l->ssl, rc);
	l->wants_write = rc == SSL_ERROR_WANT_WRITE;
	if (rc != SSL_ERROR_WANT_READ && rc != SSL_ERROR_WANT_WRITE)
		link_fail(l, link_tls_error(l, rc, errno));
	else
		link_watch(l);
}

static void link_connect_next(struct redis_link *l);

static void link_on_connected(struct redis_link *l)
{
	int error = 0, on = 1;
	socklen_t len = sizeof(error);

	getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		link_close_socket(l);
		l->address = l->address ? l->address->ai_next : NULL;
		if (l->address)
			link_connect_next(l);
		else
			link_fail(l, link_cannot_connect(l, strerror(error)));
		return;
	}
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!l->conf.tls) {
		link_begin_login(l);
		return;
	}
	l->state = LINK_TLS;
	l->ssl = redis_tls_connect(l->conf.tls, l->fd, l->host);
	if (l->ssl)
		link_handshake(l);
	else
		link_fail(l, xstrdup("TLS: the connection cannot be prepared"));
}

/* Waits for the socket, or the resolver's pipe, in the link's new state.  False: the link failed.
 */
static bool link_begin_watch(struct redis_link *l, int fd, enum link_state state)
{
	l->state = state;
	l->events = 0;
	l->poll = xcalloc(1, sizeof(*l->poll));
	if (uv_poll_init(l->conf.loop, l->poll, fd)) {
		free(l->poll);
		l->poll = NULL;
		link_fail(l, xstrdup("the loop refuses its socket"));
		return false;
	}
	l->poll->data = l;
	l->n_handles++;
	link_watch(l);
	return true;
}

/* A connection is being made on fd, or was made. */
static void link_use_socket(struct redis_link *l, int fd)
{
	l->fd = fd;
	(void)link_begin_watch(l, fd, LINK_CONNECTS);
}

/* Tries l->address and those after it. */
static void link_connect_next(struct redis_link *l)
{
	int error = 0;

	for (; l->address; l->address = l->address->ai_next) {
		const struct addrinfo *a = l->address;
		int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		if (fd >= 0 &&
		    (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS)) {
			link_use_socket(l, fd);
			return;
		}
		error = errno;
		if (fd >= 0)
			close(fd);
	}
	link_fail(l, link_cannot_connect(l, strerror(error)));
}

static void link_connect_path(struct redis_link *l)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(l->host) >= sizeof(a.sun_path)) {
		link_fail(l, link_cannot_connect(l, "the path of its socket is too long"));
		return;
	}
	str_copy(a.sun_path, sizeof(a.sun_path), sv(l->host));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
		link_use_socket(l, fd);
		return;
	}
	link_fail(l, link_cannot_connect(l, strerror(errno)));
	if (fd >= 0)
		close(fd);
}

static void link_on_resolved(struct redis_link *l)
{
	int error = redis_resolver_take(l->resolver, &l->addresses);

	link_close_socket(l);
	l->address = l->addresses;
	if (error)
		link_fail(l, link_cannot_resolve(l, gai_strerror(error)));
	else
		link_connect_next(l);
}

/* Numeric addresses at once, names by a thread that nothing waits for. */
static void link_resolve(struct redis_link *l)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC,
					.ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST };
	char port[STR_U64_SIZE];

	str_u64(port, l->conf.port);
	if (*l->host == '/') {
		link_connect_path(l);
	} else if (getaddrinfo(l->host, port, &hints, &l->addresses) == 0) {
		l->address = l->addresses;
		link_connect_next(l);
	} else {
		l->resolver = redis_resolver_start(l->host, port);
		if (l->resolver)
			(void)link_begin_watch(l, redis_resolver_fd(l->resolver), LINK_RESOLVES);
		else
			link_fail(l, link_cannot_resolve(l, "no thread can be started"));
	}
}

/* libuv reports each error of a socket as EBADF, and polls it no more. */
static int link_socket_error(const struct redis_link *l)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error ? error : ECONNRESET;
}

static void link_on_socket(struct redis_link *l, int status, int events)
{
	if (l->state == LINK_TLS)
		link_handshake(l);
	else if (!status && events & UV_READABLE)
		link_read(l);
	if (status && l->state != LINK_DEAD)
		link_fail_socket(l, link_socket_error(l));
}

static void on_link_event(uv_poll_t *poll, int status, int events)
{
	struct redis_link *l = poll->data;

	ASSERT_ON(on_bus);
	if (l->state == LINK_RESOLVES)
		link_on_resolved(l);
	else if (l->state == LINK_CONNECTS)
		link_on_connected(l);
	else
		link_on_socket(l, status, events);
	if (!l->is_closed && (events & UV_WRITABLE || redis_link_waiting(l)))
		redis_link_flush(l);
}

static void on_link_tick(uv_timer_t *timer)
{
	struct redis_link *l = timer->data;
	usec_t now = clock_mono();

	ASSERT_ON(on_bus);
	if (l->is_closed || l->state == LINK_DEAD)
		return;
	if (l->state == LINK_RESOLVES && !l->resolver) {
		uv_timer_start(timer, on_link_tick, TICK_MS, TICK_MS);
		link_resolve(l);
	} else if (l->state != LINK_UP && now - l->opened_at > OPEN_US) {
		link_fail(l, link_late(l));
	} else if (l->state == LINK_UP && now - l->received_at > SILENCE_US) {
		link_fail(l, xstrdup("it does not answer any more"));
	} else if (l->state == LINK_UP && now - l->received_at > IDLE_US && !l->is_pinged) {
		l->is_pinged = true;
		redis_link_command(l, &SV("PING"), 1);
		redis_link_flush(l);
	}
}

/* The loop opens it in its next turn, so that no callback is called from here. */
struct redis_link *redis_link_open(const struct redis_link_conf *conf)
{
	struct redis_link *l = xcalloc(1, sizeof(*l));

	l->conf = *conf;
	l->host = xstrdup(conf->host);
	l->fd = -1;
	l->reader = redisReaderCreate();
	if (!l->reader)
		abort(); /* no memory */
	l->functions = *l->reader->fn;
	l->create_array = l->functions.createArray;
	l->functions.createArray = link_create_array;
	l->reader->fn = &l->functions;
	l->reader->privdata = l;
	strbuf_init(&l->out, 0);
	l->opened_at = l->received_at = clock_mono();
	uv_timer_init(conf->loop, &l->timer);
	l->timer.data = l;
	l->n_handles = 1;
	uv_timer_start(&l->timer, on_link_tick, 0, 0);
	return l;
}

void redis_link_close(struct redis_link *l)
{
	if (!l)
		return;
	l->is_closed = true;
	l->state = LINK_DEAD;
	link_close_socket(l);
	uv_close((uv_handle_t *)&l->timer, on_link_closed);
}
