/* SPDX-License-Identifier: MIT */
#ifndef TESTS_CONF_CASE_H
#define TESTS_CONF_CASE_H
/*
 * Loads a configuration from texts.  Files are memfds, so that cases leave nothing behind and run
 * side by side.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "unit.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "conf/conf_table.h"

#define MAX_ARGS 12
#define APP	 "[app a]\nkey = k\nsecret = s\n"

/* What a case gives to conf_load; env ends with NULL. */
struct sources {
	const char *file, *env_file;
	const char *env[8], *flags[8];
};

static struct conf *conf;
static char *why;

/* Path of a file that holds text. */
static inline char *file_of(const char *text)
{
	int fd = memfd_create("conf", 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, 0600), 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return textf("/proc/self/fd/%d", fd);
}

static inline void add_file(char **argv, int *argc, const char *flag, const char *text)
{
	char *path = file_of(text);

	argv[(*argc)++] = textf("%s=%s", flag, path);
	free(path);
}

static inline int load(const struct sources *s)
{
	char *argv[MAX_ARGS + 1] = { xstrdup("scopewired") };
	int argc = 1, rc;

	add_file(argv, &argc, "--config", s->file ? s->file : "");
	if (s->env_file)
		add_file(argv, &argc, "--env-file", s->env_file);
	for (size_t i = 0; s->flags[i]; i++)
		argv[argc++] = xstrdup(s->flags[i]);
	conf_free(conf);
	free(why);
	conf = NULL;
	why = NULL;
	rc = conf_load(argc, argv, (char **)(uintptr_t)s->env, &conf, &why);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	ck_assert_msg(rc >= 0 ? !why : why != NULL, "a sentence comes with failure only");
	return rc;
}

static inline void teardown(void)
{
	conf_free(conf);
	free(why);
	conf = NULL;
	why = NULL;
}

#define ck_load(...)                                                                               \
	do {                                                                                       \
		const struct sources sources_ = { __VA_ARGS__ };                                   \
		int rc_ = load(&sources_);                                                         \
		ck_assert_msg(rc_ == 0, "%d %s", rc_, why ? why : "");                             \
	} while (0)

/* The sentence must end with want; what is before it is the file's name. */
#define ck_refused(rc, want, ...)                                                                  \
	do {                                                                                       \
		const struct sources sources_ = { __VA_ARGS__ };                                   \
		ck_assert_int_eq(load(&sources_), (rc));                                           \
		ck_assert_msg(sv_ends_with(sv(why), sv(want)), "got \"%s\"", why);                 \
	} while (0)

static inline struct app *app_of(const char *id)
{
	struct app *a = app_set_by_id(conf->apps, sv(id));

	ck_assert_msg(a != NULL, "no app %s", id);
	return a;
}
#endif
