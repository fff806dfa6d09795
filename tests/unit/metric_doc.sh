#!/bin/sh
# SPDX-License-Identifier: MIT
# The table in docs/metrics.md is what the table of metrics gives.
set -eu
if ! ./metric_doc | diff -u - "${srcdir:-.}/docs/metrics.md" | grep '^[-+]| `scopewire_' >metric_doc.diff; then
	rm -f metric_doc.diff
	exit 0
fi
cat metric_doc.diff
rm -f metric_doc.diff
echo "docs/metrics.md is not what the program prints: ./metric_doc; replace the rows of its table"
exit 1
