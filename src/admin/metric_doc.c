/* SPDX-License-Identifier: MIT */
/* Prints the part of docs/metrics.md that is made from the table of metrics; at build time only. */
#include "admin/exposition.h"

int main(void)
{
	struct strbuf text;

	strbuf_init(&text, 4096);
	exposition_write_doc(&text);
	fwrite(text.ptr, 1, text.len, stdout);
	strbuf_release(&text);
	return ferror(stdout) || fclose(stdout) ? 74 : 0;
}
