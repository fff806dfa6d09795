# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# More events than the daemon can deliver: 1,000 subscribers of 100 channels, beside the reference.

overload_kinds() {
	[ $with_daemon = 0 ] || echo none async commit sql
	echo reference
}

# overload_run KIND NAME OPTIONS...: NAME is the load: publishers, or x and the share of the closed
# loop's rate.
overload_run() {
	local kind=$1 name=$2 side=daemon field out=$tmp/overload-$1-$2 options=()
	shift 2
	case $kind in
	reference) side=reference ;;
	sql) options=(--channel-prefix sql- --sql "$(conninfo daemon)") ;;
	*) options=(--channel-prefix "$kind-") ;;
	esac
	load $side "$out.$side.1" --connections 1000 --channels 100 --window 0 --seconds "$seconds" \
		"${options[@]}" "$@"
	for field in events_per_sec delay_p50_ms delay_p99_ms delay_p999_ms answer_p99_ms; do
		row overload "$kind $name: $field" "$(value "overload-$kind-$name" $side $field)" - - - ''
	done
	row overload "$kind $name: RSS KiB" "$(value "overload-$kind-$name" $side rss_kib_after)" - - - ''
	field=$(value "overload-$kind-$name" $side turned_away)
	case $name in
	x*) row overload "$kind $name: refused" "$field" - - - '' ;;
	*) row overload "$kind $name: refused" "$field" - - "$field" '== 0' ;;
	esac
}

# overload_points FIELD: for bench/plot: the kind, the share, the field.
overload_points() {
	local kind share side
	for kind in $(overload_kinds); do
		side=daemon
		[ "$kind" != reference ] || side=reference
		for share in 0.5 0.9 1 1.5 3; do
			echo "$kind $share $(value "overload-$kind-x$share" $side "$1")"
		done
	done | grep -v -- '-$' || true
}

# Closed loop: each publisher sends when it is answered.  Open loop: at a multiple of what the
# closed loop reached, and the delay is counted from the time when the event was due, so that above 1
# it contains the delay of the publishers themselves.  By SQL it is counted from the sending.
case_overload() {
	local kind publishers share rate side
	for kind in $(overload_kinds); do
		side=daemon
		[ "$kind" != reference ] || side=reference
		fresh_servers
		for publishers in 8 64; do
			overload_run "$kind" $publishers --publishers $publishers
		done
		for share in 0.5 0.9 1 1.5 3; do
			rate=$(value "overload-$kind-64" $side events_per_sec)
			[ "$rate" != - ] || continue
			rate=$(awk -v n="$rate" -v share=$share 'BEGIN { print int(n * share) + 1 }')
			overload_run "$kind" x$share --publishers 64 --rate "$rate"
		done
	done
	overload_points delay_p99_ms | plot overload-delay 'Delay with growing load' \
		'load (1: the rate of a closed loop)' 'delay p99, ms' log
	overload_points events_per_sec | plot overload-rate 'Events that were answered' \
		'load (1: the rate of a closed loop)' 'events/s' linear
	overload_points rss_kib_after | plot overload-memory 'Memory of the server' \
		'load (1: the rate of a closed loop)' 'RSS, KiB' linear
}
