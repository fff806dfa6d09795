#!/bin/sh
# SPDX-License-Identifier: MIT
# etc/scopewire.conf is what the option table gives.
set -eu
if ! ./conf_doc --example | diff -u "${srcdir:-.}/etc/scopewire.conf" -; then
	echo "etc/scopewire.conf is not what the program prints: ./conf_doc --example > etc/scopewire.conf"
	exit 1
fi
