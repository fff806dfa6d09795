/* SPDX-License-Identifier: MIT */
/* The private cluster: made once, found again, alone in its folder, gone with its daemon. */
#include "unit.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "pg_fixture.h"
#include "daemon/embedded_pg.h"

#define WAIT_US (60 * USEC_PER_SEC)

static char parent[32], dir[128];

static void set_up(void)
{
	thread_take_role(&on_main);
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(parent, sizeof(parent), "/tmp/scopewire-emb-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(parent));
	ck_assert_int_eq(chmod(parent, 0755), 0);
	snprintf(dir, sizeof(dir), "%s/state", parent);
}

static void tear_down(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", parent);
	ck_assert_int_eq(system(command), 0);
}

/* A path in the cluster's folder; good until the next call. */
static const char *under(const char *name)
{
	static char path[192];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static bool pauses(void *ctx UNUSED, int ms)
{
	poll(NULL, 0, ms);
	return false;
}

static const struct embedded_pg_conf conf = { dir, pauses, NULL };

static int try_start(struct embedded_pg **pg, char **conninfo, char **why)
{
	ASSERT_ON(on_main);
	return embedded_pg_start(&conf, pg, conninfo, why);
}

static void tend(struct embedded_pg *pg)
{
	ASSERT_ON(on_main);
	embedded_pg_tend(pg);
}

static void stop(struct embedded_pg *pg)
{
	ASSERT_ON(on_main);
	embedded_pg_stop(pg);
}

static struct embedded_pg *start(char **conninfo)
{
	struct embedded_pg *pg = NULL;
	char *why = NULL;
	int rc = try_start(&pg, conninfo, &why);

	ck_assert_msg(rc == 0, "%d: %s", rc, why);
	return pg;
}

static long server_pid(void)
{
	FILE *f = fopen(under("data/postmaster.pid"), "r");
	long pid = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%ld", &pid) != 1)
		pid = 0;
	fclose(f);
	return pid;
}

START_TEST(a_second_start_finds_the_data)
{
	char *conninfo;
	struct embedded_pg *pg = start(&conninfo);
	PGconn *c = pg_fixture_connect(conninfo);
	char *text = pg_fixture_value(c, "SELECT current_user || ' ' || current_database() || ' ' "
					 "|| current_setting('server_encoding') || "
					 "current_setting('listen_addresses')");
	struct stat st;

	ck_assert_str_eq(text, "scopewire scopewire UTF8");
	free(text);
	free(pg_fixture_value(c, "CREATE TABLE public.kept AS SELECT 42 AS a"));
	PQfinish(c);
	free(conninfo);
	stop(pg);
	ck_assert_int_eq(server_pid(), 0);

	pg = start(&conninfo);
	c = pg_fixture_connect(conninfo);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT a FROM public.kept"), 42);
	PQfinish(c);
	free(conninfo);
	ck_assert_int_eq(stat(under("run"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	ck_assert_uint_ne(st.st_uid, 0);
	stop(pg);
}
END_TEST

START_TEST(a_server_that_dies_is_started_again)
{
	char *conninfo;
	struct embedded_pg *pg = start(&conninfo);
	long first = server_pid();
	usec_t until = clock_mono() + WAIT_US;

	ck_assert_int_eq(kill((pid_t)first, SIGKILL), 0);
	while (server_pid() == first || PQping(conninfo) != PQPING_OK) {
		ck_assert_int_lt(clock_mono(), until);
		tend(pg);
		poll(NULL, 0, 5);
	}
	free(conninfo);
	stop(pg);
}
END_TEST

START_TEST(the_server_ends_with_its_daemon)
{
	usec_t until = clock_mono() + WAIT_US;
	char *conninfo;
	pid_t daemon = fork();
	long server;

	if (daemon == 0) {
		start(&conninfo);
		for (;;)
			pause();
	}
	while (!(server = server_pid()) || access(dir, F_OK)) {
		ck_assert_int_lt(clock_mono(), until);
		poll(NULL, 0, 5);
	}
	kill(daemon, SIGKILL);
	waitpid(daemon, NULL, 0);
	while (kill((pid_t)server, 0) == 0) {
		ck_assert_int_lt(clock_mono(), until);
		poll(NULL, 0, 5);
	}
	stop(start(&conninfo)); /* and nothing is in the way of the next */
	free(conninfo);
}
END_TEST

START_TEST(half_a_cluster_is_made_anew)
{
	char *conninfo, command[320];

	/* As an initdb leaves it that was killed. */
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	ck_assert_int_eq(mkdir(under("data.new"), 0700), 0);
	write_file(under("data.new/PG_VERSION"), "15\n");
	if (geteuid() == 0) {
		snprintf(command, sizeof(command), "chown -R postgres '%s' || chown -R nobody '%s'",
			 dir, dir);
		ck_assert_int_eq(system(command), 0);
	}
	stop(start(&conninfo));
	free(conninfo);
}
END_TEST

START_TEST(a_cluster_of_another_version_is_refused)
{
	struct embedded_pg *pg = NULL;
	char *conninfo = NULL, *why = NULL;

	ck_assert_int_eq(mkdir(dir, 0755), 0);
	ck_assert_int_eq(mkdir(under("data"), 0755), 0);
	write_file(under("data/PG_VERSION"), "99\n");
	ck_assert_int_lt(try_start(&pg, &conninfo, &why), 0);
	ck_assert_msg(strstr(why, "PostgreSQL 99, which is not installed"), "%s", why);
	free(why);
}
END_TEST

START_TEST(a_long_path_has_its_socket_in_tmp)
{
	char *conninfo;

	snprintf(dir, sizeof(dir), "%s/%070d", parent, 0);
	stop(start(&conninfo));
	ck_assert_ptr_nonnull(strstr(conninfo, "host='/tmp/scopewire-"));
	ck_assert_ptr_null(strstr(conninfo, parent));
	free(conninfo);
}
END_TEST

START_TEST(a_socket_folder_of_another_user_is_refused)
{
	struct embedded_pg *pg = NULL;
	char *conninfo = NULL, *why = NULL, *run;

	snprintf(dir, sizeof(dir), "%s/%070d", parent, 1);
	stop(start(&conninfo));
	run = strstr(conninfo, "/tmp/scopewire-");
	ck_assert_ptr_nonnull(run);
	*strchr(run, '\'') = '\0';
	/* A link there leads to a folder of our own: it is refused all the same. */
	ck_assert_int_eq(symlink(parent, run), 0);
	ck_assert_int_lt(try_start(&pg, &conninfo, &why), 0);
	ck_assert_msg(strstr(why, "belongs to another user"), "%s", why);
	free(why);
	ck_assert_int_eq(unlink(run), 0);
	if (getuid() == 0) {
		ck_assert_int_eq(mkdir(run, 0777), 0);
		ck_assert_int_eq(chown(run, 12345, 12345), 0);
		ck_assert_int_lt(try_start(&pg, &conninfo, &why), 0);
		ck_assert_msg(strstr(why, "belongs to another user"), "%s", why);
		free(why);
		ck_assert_int_eq(rmdir(run), 0);
	}
	free(conninfo);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("daemon/embedded_pg");
	TCase *t = tcase_create("embedded_pg");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_second_start_finds_the_data);
	tcase_add_test(t, a_server_that_dies_is_started_again);
	tcase_add_test(t, the_server_ends_with_its_daemon);
	tcase_add_test(t, half_a_cluster_is_made_anew);
	tcase_add_test(t, a_cluster_of_another_version_is_refused);
	tcase_add_test(t, a_long_path_has_its_socket_in_tmp);
	tcase_add_test(t, a_socket_folder_of_another_user_is_refused);
	suite_add_tcase(s, t);
	return unit_run(s);
}
