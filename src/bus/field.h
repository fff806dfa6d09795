/* SPDX-License-Identifier: MIT */
#ifndef BUS_FIELD_H
#define BUS_FIELD_H
/* A part of a message as LENGTH:BYTES.  The bytes are UTF-8 without NUL. */
#include "base/annotate.h"
#include "base/str.h"

/* Has no NUL, and can be sent. */
bool bus_field_is_text(struct str_view v);
void bus_field_add(struct strbuf *out, struct str_view v);
void bus_field_add_number(struct strbuf *out, uint64_t n);
/* Takes one from the front of text.  False: there is none, or it is malformed. */
bool bus_field_take(struct str_view *text, struct str_view *out) MUSTCHECK;
bool bus_field_take_number(struct str_view *text, uint64_t max, uint64_t *out) MUSTCHECK;
#endif
