/* SPDX-License-Identifier: MIT */
#ifndef BENCH_FRAME_H
#define BENCH_FRAME_H
/*
 * WebSocket frames and handshake (RFC 6455), as far as a bench needs them: whole
 * messages in one frame.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_CONT	  0
#define FRAME_TEXT	  1
#define FRAME_CLOSE	  8
#define FRAME_PING	  9
#define FRAME_PONG	  10
#define FRAME_HEAD_MAX	  14
#define FRAME_ACCEPT_SIZE 29 /* 28 characters and a NUL */

struct frame {
	uint8_t opcode;
	bool fin;
	bool reserved; /* a reserved bit was set */
	char *payload; /* in the caller's bytes, unmasked */
	size_t len;
	size_t whole; /* bytes with its head */
};

/* Reads the frame at p; false when more bytes are needed.  Unmasks in place. */
bool frame_parse(char *p, size_t len, struct frame *out);
/* Writes a final frame's head; returns its length.  mask may be NULL (a server's frame). */
size_t frame_head(char head[FRAME_HEAD_MAX], uint8_t opcode, size_t len, const uint8_t mask[4]);
void frame_mask(char *p, size_t len, const uint8_t mask[4]);
/* Sec-WebSocket-Accept for a 24-character Sec-WebSocket-Key. */
void frame_accept(const char key[24], char out[FRAME_ACCEPT_SIZE]);
#endif
