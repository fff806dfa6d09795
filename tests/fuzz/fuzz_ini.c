/* SPDX-License-Identifier: MIT */
/* scopewire.conf, from the file to the apps that come of it. */
#include <sys/mman.h>
#include <unistd.h>
#include "fuzz.h"
#include "conf/conf.h"
#include "conf/conninfo.h"

static void load(const char *path)
{
	char program[] = "scopewired", flag[64], *argv[] = { program, flag, NULL };
	char *environment[] = { NULL }, *why = NULL;
	struct conf *c = NULL;

	snprintf(flag, sizeof(flag), "--config=%s", path);
	if (conf_load(2, argv, environment, &c, &why) == 0) {
		free(conf_conninfo(c));
		for (size_t i = 0; i < app_set_count(c->apps); i++)
			(void)app_allows_origin(app_set_at(c->apps, i), SV("https://a.example:1"));
		conf_free(c);
	} else {
		MUST(why && *why);
	}
	free(why);
}

static void fuzz(struct str_view input)
{
	int fd = memfd_create("conf", 0);
	char path[32];

	MUST(fd >= 0 && write(fd, input.ptr, input.len) == (ssize_t)input.len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	load(path);
	close(fd);
}
