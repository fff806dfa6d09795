/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONF_PRIVATE_H
#define CONF_CONF_PRIVATE_H
/*
 * A configuration while it is read: conf.c reads the sources in their order, and the file itself.
 * All of them use conf_loader.c.
 */
#include "base/map.h"
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

/* Where the application of the environment comes from: its limits begin with those of that server.
 */
enum app_origin { APP_OWN, APP_FROM_REVERB, APP_FROM_SOKETI };

struct loader {
	struct conf *conf;
	char **environ_;
	char **why;	      /* all problems so far, a line each */
	int rc;		      /* of the first one */
	const char *label;    /* of the file that is read */
	struct map places;    /* of the INI file's options: struct ini_place */
	struct draft *drafts; /* of the file */
	size_t n_drafts;
	struct draft env; /* of the environment and flags */
	enum app_origin env_origin;
	bool has_secret;       /* the source that is read set one */
	bool is_db_read;       /* DB_* of the source that is read count */
	bool has_left_db;      /* some did not */
	bool has_pusher;       /* PUSHER_APP_* is set */
	struct strbuf unknown; /* names of REVERB_* and SOKETI_* without an option */
	char *db_connection;
	char *db_url, *db_url_label; /* of the source that is read; or NULL */
};

struct conf_modes {
	const char *config, *env_file;
	bool wants_help, wants_version;
};

/* What a source set. */
struct option_value {
	const struct option *option;
	const char *value; /* as it was written */
	unsigned scale;	   /* of the name that was used: 1, or 1024 for one in KiB */
	const char *label; /* where it is, for messages */
};

/* conf_settings.c */
/* Remembers that this source set the option, of an application or (app_id NULL) of the daemon. */
void conf_setting_put(struct conf *c, const char *app_id, const struct option_value *v);
void conf_settings_release(struct conf *c);
/* Where the option was set, or "[section] name" if no source has set it; heap. */
char *conf_setting_label(struct conf *c, const char *section, const char *name);

/* conf_loader.c */
void conf_replace(char **at, const char *text);
/* A warning for conf->notes; takes it. */
void loader_note(struct conf *c, char *note);
/* A problem, which makes the configuration invalid; takes it. */
void loader_complain(struct loader *l, char *sentence);
/* The same of an option that was set: complaint (taken) follows its place, and often its value. */
void loader_complain_of(struct loader *l, const char *section, const char *name, char *complaint);
/* Of two options that are of use together only. */
void loader_check_pair(struct loader *l, const char *section, const char *const names[2],
		       const char *const values[2]);
void loader_cannot_read(struct loader *l, const char *path, int error);
/* Warns when others can read a file that set a secret. */
void loader_check_mode(struct loader *l, const char *path, int fd);
void draft_add(struct draft *d, const char *name, const char *value, const char *label);
void draft_release(struct draft *d);
/* The application of the file with this id, made if need be. */
struct draft *draft_of(struct loader *l, const char *id);
void loader_set(struct loader *l, const struct option *o, const char *value, unsigned scale,
		const char *label);
bool conf_is_section(const char *name);
/* An option of the environment or the command line; those of the section app are of one app. */
void loader_set_named(struct loader *l, const char *section, const char *name, const char *value,
		      const char *label);

/* conf_env.c */
void loader_read_env_file(struct loader *l, const char *path);
void loader_read_environment(struct loader *l);

/* conf_flags.c */
/* Goes over all flags: first for the modes, later again to apply the options over the files. */
int loader_read_flags(struct loader *l, int argc, char **argv, struct conf_modes *m, bool apply);

/* conf_app.c */
/* Builds conf->apps from the drafts and the environment's application. */
void loader_build_apps(struct loader *l);

/* conf_cluster.c */
void loader_check_cluster(struct loader *l); /* of the section [cluster] */

/* conf_admin.c */
void loader_check_admin(struct loader *l); /* of the section [admin] */
#endif
