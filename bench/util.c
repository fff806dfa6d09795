/* SPDX-License-Identifier: MIT */
/* The clock, growing bytes, sockets, and die(). */
#include "util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		die("out of memory");
	return p;
}

void *xrealloc(void *p, size_t size)
{
	p = realloc(p, size);
	if (!p)
		die("out of memory");
	return p;
}

static void bytes_room(struct bytes *b, size_t n)
{
	size_t cap = b->cap ? b->cap : 64;

	while (n > cap - b->len)
		cap *= 2;
	if (cap == b->cap)
		return;
	b->ptr = xrealloc(b->ptr, cap);
	b->cap = cap;
}

void bytes_add(struct bytes *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	bytes_room(b, n);
	memcpy(b->ptr + b->len, p, n);
	b->len += n;
}

void bytes_addf(struct bytes *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		die("bad format");
	bytes_room(b, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void bytes_drop(struct bytes *b, size_t n)
{
	if (n < b->len)
		memmove(b->ptr, b->ptr + n, b->len - n);
	b->len -= n;
}

void bytes_release(struct bytes *b)
{
	free(b->ptr);
	memset(b, 0, sizeof(*b));
}

unsigned long files_raise(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		die("getrlimit: %s", strerror(errno));
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl))
		die("setrlimit: %s", strerror(errno));
	return rl.rlim_cur;
}

static int bind_source(int fd, unsigned source)
{
	struct sockaddr_in from = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK + source) };
	int on = 1;

	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)))
		return -1;
	return bind(fd, (struct sockaddr *)&from, sizeof(from));
}

int tcp_connect(const struct sockaddr_in *addr, unsigned source)
{
	bool loopback = ntohl(addr->sin_addr.s_addr) >> 24 == 127;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;
	int err;

	if (fd < 0)
		return -errno;
	if (loopback && bind_source(fd, source))
		goto fail;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) && errno != EINPROGRESS)
		goto fail;
	return fd;
fail:
	err = errno;
	close(fd);
	return -err;
}

int tcp_listen(const struct sockaddr_in *addr, const char *congestion)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		die("socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (congestion &&
	    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)))
		die("congestion control %s: %s", congestion, strerror(errno));
	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) || listen(fd, 4096))
		die("listen on port %u: %s", ntohs(addr->sin_port), strerror(errno));
	return fd;
}

void tcp_abort(int fd)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

struct sockaddr_in tcp_address(const char *host, unsigned port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	if (inet_pton(AF_INET, host, &addr.sin_addr) != 1)
		die("--host: '%s' is not an IPv4 address", host);
	return addr;
}

uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || v < min || v > max)
		die("--%s: '%s' is not a number from %llu to %llu", option, text,
		    (unsigned long long)min, (unsigned long long)max);
	return v;
}
