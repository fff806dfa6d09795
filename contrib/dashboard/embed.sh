#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints C with the files given as arguments, for admin/pages.h.
set -eu
cat <<'C'
/* SPDX-License-Identifier: MIT */
/* Made by contrib/dashboard/embed.sh from contrib/dashboard/dist; do not edit. */
#include "admin/pages.h"

C
for f in "$@"; do
	printf 'static const unsigned char %s[] = {\n' "$(basename "$f" | tr '.-' '__')"
	od -An -v -tu1 "$f" | sed -e 's/  */,/g' -e 's/^,//' -e 's/$/,/'
	printf '};\n'
done
printf '\nconst struct admin_file admin_files[] = {\n'
for f in "$@"; do
	name=$(basename "$f")
	array=$(printf '%s' "$name" | tr '.-' '__')
	tag=$(cksum <"$f" | tr ' ' '-')
	printf '\t{ "%s", "\\"%s\\"", %s, sizeof(%s) },\n' "$name" "$tag" "$array" "$array"
done
printf '};\nconst unsigned admin_files_count = sizeof(admin_files) / sizeof(admin_files[0]);\n'
