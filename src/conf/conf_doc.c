/* SPDX-License-Identifier: MIT */
/* Prints what is made from the option table; used at build time only. */
#include "conf/conf.h"

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--roff") == 0)
		conf_print_roff(stdout);
	else if (argc == 2 && strcmp(argv[1], "--example") == 0)
		conf_print_example(stdout);
	else if (argc == 2 && strcmp(argv[1], "--help") == 0)
		conf_print_help(stdout);
	else
		return 64;
	return ferror(stdout) || fclose(stdout) ? 74 : 0;
}
