/* SPDX-License-Identifier: MIT */
#ifndef BASE_HEX_H
#define BASE_HEX_H
/* Hexadecimal digits.  Both cases are read; lower case is written. */
#include <stddef.h>

/* 0 to 15; -1 for a byte that is no hexadecimal digit. */
int hex_value(char digit);
/* Writes 2 * n digits and a NUL. */
void hex_encode(const void *bytes, size_t n, char *out);
#endif
