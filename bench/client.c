/* SPDX-License-Identifier: MIT */
/* No state; the mask is always the same. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "client.h"
#include "frame.h"
#include "util.h"

#define HANDSHAKE_KEY "c2NvcGV3aXJlLWJlbmNoMQ=="

static void client_send_bytes(int fd, const char *bytes, size_t len)
{
	if (send(fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("cannot send: %s", strerror(errno));
}

void client_upgrade(int fd, const char *host, unsigned port, const char *key)
{
	char out[512];
	int n = snprintf(out, sizeof(out),
			 "GET /app/%s?protocol=7&client=bench HTTP/1.1\r\nHost: %s:%u\r\n"
			 "Upgrade: websocket\r\nConnection: Upgrade\r\n"
			 "Sec-WebSocket-Key: " HANDSHAKE_KEY "\r\n"
			 "Sec-WebSocket-Version: 13\r\n\r\n",
			 key, host, port);

	if (n < 0 || (size_t)n >= sizeof(out))
		die("the host or the key is too long");
	client_send_bytes(fd, out, (size_t)n);
}

void client_send(int fd, const char *text, size_t len)
{
	static const uint8_t mask[4] = { 0x5c, 0x17, 0x21, 0x42 };
	char out[FRAME_HEAD_MAX + 512];
	size_t n = frame_head(out, FRAME_TEXT, len, mask);

	if (len > sizeof(out) - n)
		die("a frame to send is too long");
	memcpy(out + n, text, len);
	frame_mask(out + n, len, mask);
	client_send_bytes(fd, out, n + len);
}
