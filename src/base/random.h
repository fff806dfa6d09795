/* SPDX-License-Identifier: MIT */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H
#include <stddef.h>

/* Bytes that a client cannot guess, from getrandom(2); one system call for many.  Any thread. */
void random_bytes(void *out, size_t n);
#endif
