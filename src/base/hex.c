/* SPDX-License-Identifier: MIT */
/* Hexadecimal digits.  No state; any thread. */
#include "base/hex.h"

int hex_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit |= 0x20; /* lower case */
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

void hex_encode(const void *bytes, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = bytes;

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = '\0';
}
