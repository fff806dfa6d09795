/* SPDX-License-Identifier: MIT */
/* WebSocket frames as a client writes and reads them. */
#include "frame.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include "util.h"

void frame_mask(char *p, size_t len, const uint8_t mask[4])
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (char)((uint8_t)p[i] ^ mask[i & 3]);
}

static uint64_t big_endian(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

bool frame_parse(char *p, size_t len, struct frame *out)
{
	const uint8_t *head = (const uint8_t *)p;
	size_t extended, head_len;
	uint64_t body;
	bool masked;

	if (len < 2)
		return false;
	masked = head[1] & 0x80;
	body = head[1] & 0x7f;
	extended = body == 126 ? 2 : body == 127 ? 8 : 0;
	head_len = 2 + extended + (masked ? 4 : 0);
	if (len < head_len)
		return false;
	if (extended)
		body = big_endian(head + 2, extended);
	if (body > len - head_len)
		return false;
	out->opcode = head[0] & 0x0f;
	out->fin = head[0] & 0x80;
	out->reserved = head[0] & 0x70;
	out->payload = p + head_len;
	out->len = body;
	out->whole = head_len + body;
	if (masked)
		frame_mask(out->payload, out->len, head + head_len - 4);
	return true;
}

size_t frame_head(char head[FRAME_HEAD_MAX], uint8_t opcode, size_t len, const uint8_t mask[4])
{
	size_t extended = len < 126 ? 0 : len < 65536 ? 2 : 8;
	size_t n = 2;
	size_t i;

	head[0] = (char)(0x80 | opcode);
	head[1] = (char)((mask ? 0x80 : 0) | (extended == 0 ? len : extended == 2 ? 126 : 127));
	for (i = extended; i > 0; i--)
		head[n++] = (char)(len >> (8 * (i - 1)));
	if (mask) {
		memcpy(head + n, mask, 4);
		n += 4;
	}
	return n;
}

void frame_accept(const char key[24], char out[FRAME_ACCEPT_SIZE])
{
	static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char text[24 + sizeof(magic) - 1];
	unsigned char digest[SHA_DIGEST_LENGTH];

	memcpy(text, key, 24);
	memcpy(text + 24, magic, sizeof(magic) - 1);
	SHA1(text, sizeof(text), digest);
	EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
}
