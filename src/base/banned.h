/* SPDX-License-Identifier: MIT */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H
/*
 * Library calls that overflow, share hidden state or truncate in silence are
 * compile errors here.  Use strbuf, memcpy with a checked length, or the _r form.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok gets
#pragma GCC poison localtime gmtime ctime asctime strerror_l
#endif
