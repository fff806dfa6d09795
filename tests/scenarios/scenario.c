/* SPDX-License-Identifier: MIT */
/*
 * Plays scenarios (see README.md in this folder) against the real hub, sessions and directory.
 *
 * usage: scenario FILE
 */
#include "play.h"

/* NAME* STEP */
static void run_group(struct str_view prefix, struct str_view step) RUNS_ON(on_worker)
{
	unsigned n = 0;

	for (unsigned i = 0; i < play.n_peers && !play.is_failed; i++) {
		if (!sv_starts_with(sv(play.peers[i].name), prefix))
			continue;
		step_run(&play.peers[i], step);
		play_settle();
		n++;
	}
	if (!n)
		play_fail("no client's name begins with \"%.*s\"", SV_ARG(prefix));
}

static void run_line(struct str_view line) RUNS_ON(on_worker)
{
	struct str_view rest = line, name = words_next(&rest);
	struct peer *p = words_peer(name);

	if (play.is_failed && !sv_eq_c(name, "scenario"))
		return;
	if (name.len > 1 && sv_ends_with(name, SV("*"))) {
		run_group(sv_n(name.ptr, name.len - 1), rest);
		return;
	}
	if (p) {
		step_run(p, rest);
		play_settle();
		return;
	}
	if (!command_run(name, rest))
		play_fail("\"%.*s\" is no command and no client", SV_ARG(name));
	else if (play.directory)
		play_settle();
}

static void run_file(FILE *f) RUNS_ON(on_worker)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	while ((n = getline(&line, &room, f)) >= 0) {
		play.line++;
		while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == ' '))
			n--;
		if (n > 0 && line[0] != '#')
			run_line(sv_n(line, (size_t)n));
	}
	free(line);
	play_end_scenario();
}

int main(int argc, char **argv)
{
	FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;

	if (!f) {
		fprintf(stderr, "usage: scenario FILE\n");
		return 64;
	}
	thread_take_role(&on_worker);
	ASSERT_ON(on_worker);
	play.file = argv[1];
	play.now = 1000 * USEC_PER_SEC;
	clock_set_source(play_clock);
	run_file(f);
	fclose(f);
	/* The line by which test runs count, as Check writes it. */
	printf("%u%%: Checks: %u, Failures: %u, Errors: 0\n",
	       play.n_scenarios ? (play.n_scenarios - play.n_failed) * 100 / play.n_scenarios : 0,
	       play.n_scenarios, play.n_failed);
	return play.n_failed || !play.n_scenarios ? EXIT_FAILURE : EXIT_SUCCESS;
}
