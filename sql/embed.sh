#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints C with the migrations given as arguments, in their order, for pg/migrations.h.
set -eu
cat <<'C'
/* SPDX-License-Identifier: MIT */
/* Made by sql/embed.sh from sql/migrations; do not edit. */
#include "pg/migrations.h"

const struct migration migrations[] = {
C
for f in "$@"; do
	base=$(basename "$f" .sql)
	number=${base%%_*}
	printf '\t{ %s, "%s",\n' "$(expr "$number" + 0)" "${base#*_}"
	sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' -e 's/^.*$/\t  "&\\n"/' "$f"
	printf '\t},\n'
done
cat <<'C'
};
const unsigned migrations_count = sizeof(migrations) / sizeof(migrations[0]);
C
