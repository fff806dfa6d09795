/* SPDX-License-Identifier: MIT */
#ifndef PG_MIGRATIONS_H
#define PG_MIGRATIONS_H
/* The migrations built into the binary, by number; sql/embed.sh writes the definitions. */

struct migration {
	unsigned version;
	const char *name;
	const char *sql; /* @SCHEMA@ stands for the quoted schema */
};

extern const struct migration migrations[];
extern const unsigned migrations_count;
#endif
