/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONF_PRIVATE_H
#define CONF_CONF_PRIVATE_H
/*
 * What the sources share while a configuration is read: conf.c has the file and the applications,
 * conf_env.c the environment and .env files, conf_flags.c the command line.
 */
#include "conf/conf.h"

#define REVERB_APP_ID "REVERB_APP_ID"

struct option;

/* An app whose options are being gathered; names and values are owned. */
struct draft {
	char *id; /* NULL: not known yet */
	struct app_option *options;
	char **labels; /* where each came from */
	size_t n;
};

struct loader {
	struct conf *conf;
	char **environ_;
	char **why;
	const char *label;    /* of the file that is read */
	struct draft *drafts; /* of the file */
	size_t n_drafts;
	struct draft env;   /* of the environment and flags */
	bool env_is_reverb; /* REVERB_APP_ID named it */
	bool take_db;	    /* DB_* of the source that is read count */
	bool left_db;	    /* some did not */
	char *db_connection;
};

struct conf_modes {
	const char *config, *env_file;
	bool help, version;
};

void draft_add(struct draft *d, const char *name, const char *value, const char *label);
void conf_replace(char **at, const char *text);
/* A warning for conf->notes; takes it. */
void loader_note(struct conf *c, char *note);
int loader_set(struct loader *l, const struct option *o, const char *value, const char *label);
/* An option of the environment or the command line; those of the section app are of one app. */
int loader_set_named(struct loader *l, const char *section, const char *name, const char *value,
		     const char *label);
int loader_cannot_read(struct loader *l, const char *path, int error);
bool conf_is_section(const char *name);

int loader_read_env_file(struct loader *l, const char *path);
int loader_read_environment(struct loader *l);
/* Goes over all flags: first for the modes, later again to apply the options over the files. */
int loader_read_flags(struct loader *l, int argc, char **argv, struct conf_modes *m, bool apply);
#endif
