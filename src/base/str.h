/* SPDX-License-Identifier: MIT */
#ifndef BASE_STR_H
#define BASE_STR_H
/*
 * str_view: bytes that are owned elsewhere (not NUL-terminated, may hold NUL).
 * strbuf: bytes that grow; always with a NUL after len, so ptr is a C string too.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/annotate.h"

struct str_view {
	const char *ptr;
	size_t len; /* bytes */
};

#define SV(literal) ((struct str_view){ (literal), sizeof(literal) - 1 })
/* For printf's "%.*s". */
#define SV_ARG(v) (int)(v).len, (v).ptr

struct str_view sv(const char *s); /* NULL gives the empty view */
struct str_view sv_n(const char *ptr, size_t len);
bool sv_eq(struct str_view a, struct str_view b);
bool sv_eq_c(struct str_view a, const char *b);
bool sv_starts_with(struct str_view s, struct str_view prefix);
bool sv_ends_with(struct str_view s, struct str_view suffix);
/* First byte c in s, or -1. */
ptrdiff_t sv_find(struct str_view s, char c);
struct str_view sv_skip(struct str_view s, size_t n);
/*
 * Takes the next part of a list from *rest: "a,b," has the parts "a" and "b", ",a" has "" and
 * "a".  False: *rest is empty.
 */
bool sv_split(struct str_view *rest, char separator, struct str_view *part);
/* Decimal digits only; false when empty, not a number, or over max. */
bool sv_to_u64(struct str_view s, uint64_t max, uint64_t *out) MUSTCHECK;
/* Valid UTF-8 as RFC 3629 has it (no overlong forms, no surrogates). */
bool sv_is_utf8(struct str_view s);
/* The first byte from p on that a JSON string has to escape; end if there is none. */
const char *str_plain_end(const char *p, const char *end);
/*
 * Is name probably what the writer of text meant, and nearer to it than *least (UINT_MAX at first)?
 * Then *least is its distance.
 */
bool str_is_nearer(struct str_view text, const char *name, unsigned *least);
/* Copies s to *at, which moves to the end of the copy.  Returns the copy. */
struct str_view sv_copy_to(char **at, struct str_view s);
/* Heap copy that ends with a NUL. */
char *sv_dup(struct str_view s) MUSTCHECK;
/* printf into heap text. */
char *textf(const char *fmt, ...) PRINTF_LIKE(1, 2) MUSTCHECK;
/* Wipes and frees; NULL is fine. */
void secret_free(char *text);
/* Overwrites the text.  NULL is fine.  Returns text. */
char *secret_wipe(char *text);
/* Copies what fits into size > 0 bytes, with a NUL after it. */
void str_copy(char *out, size_t size, struct str_view s);
#define STR_U64_SIZE 21
/* The decimal digits of v; returns out. */
char *str_u64(char out[STR_U64_SIZE], uint64_t v);
/* FNV-1a over the bytes, folded with seed. */
uint64_t sv_hash(struct str_view s, uint64_t seed);

struct strbuf {
	char *ptr;  /* owned; never NULL after strbuf_init */
	size_t len; /* bytes without the NUL */
	size_t cap; /* bytes allocated */
};

void strbuf_init(struct strbuf *b, size_t room);
void strbuf_release(struct strbuf *b);
void strbuf_reset(struct strbuf *b);
/* Room for n more bytes and a NUL; returns where they go. */
char *strbuf_reserve(struct strbuf *b, size_t n);
void strbuf_add(struct strbuf *b, const void *p, size_t n);
void strbuf_add_c(struct strbuf *b, char c);
void strbuf_add_sv(struct strbuf *b, struct str_view s);
void strbuf_add_str(struct strbuf *b, const char *s);
void strbuf_add_u64(struct strbuf *b, uint64_t v);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Appends s as a JSON string with its quotes (RFC 8259 section 7); s must be UTF-8. */
void strbuf_add_json(struct strbuf *b, struct str_view s);
struct str_view strbuf_view(const struct strbuf *b);
/* Gives the bytes away (free them); b is as after strbuf_release. */
char *strbuf_detach(struct strbuf *b) MUSTCHECK;
/* Moves the bytes without a copy; from is as after strbuf_release.  What is in to is not freed. */
void strbuf_move(struct strbuf *to, struct strbuf *from);
#endif
