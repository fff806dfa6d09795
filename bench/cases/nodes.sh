# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Clusters of nodes on one machine.  Their CPU is that of the nodes, without PostgreSQL and Redis.

# start_redis: a Redis of the bench's own; redis_port is its port.
start_redis() {
	local i
	[ -z "${pid[redis]:-}" ] || return 0
	for ((i = 0; i < 20; i++)); do
		redis_port=$((20000 + RANDOM % 10000))
		redis-server --bind 127.0.0.1 --port $redis_port --save '' --appendonly no --dir "$tmp" \
			>"$tmp/redis.log" 2>&1 &
		pid[redis]=$!
		sleep 0.5
		if kill -0 "${pid[redis]}" 2>/dev/null && redis-cli -p $redis_port ping >/dev/null 2>&1; then
			return 0
		fi
		end_process "${pid[redis]}"
	done
	die 'redis-server did not start'
}

# start_node SIDE NODE DRIVER [DATABASE]: without a database it starts one, in $tmp/SIDE.
start_node() {
	local node=$2 cluster=$3 database=${4:-} args=()
	[ "$3" != local ] || node=''
	[ "$3" != redis ] || start_redis
	write_config "$tmp/$1.conf" "$workers" "$congestion"
	[ -n "$database" ] || args=(--embedded-postgres "$tmp/$1")
	start "$1" "$build/scopewired" --config "$tmp/$1.conf" "${args[@]}"
}

# start_nodes N DRIVER: sides node1 to nodeN, with one database.
start_nodes() {
	local n file=$tmp/node1/data/postmaster.pid
	start_node node1 node1 "$2"
	for ((n = 2; n <= $1; n++)); do
		start_node node$n node$n "$2" "$(sed -n 5p "$file") $(sed -n 4p "$file")"
	done
}

# load_nodes NAME N OPTIONS...: the same load on all nodes at once.  What a node's subscribers receive is published
# on the next node, so with more than one each event crosses.
load_nodes() {
	local name=$1 n=$2 i loads=() rc=0
	shift 2
	for ((i = 1; i <= n; i++)); do
		load node$i "$tmp/$name.node$i.1" --connections 10 --channels 10 --channel-prefix "commit-$i-" \
			--publish-port "${port[node$((i % n + 1))]}" --publishers 4 "$@" &
		loads+=($!)
	done
	for i in "${loads[@]}"; do
		wait "$i" || rc=$?
	done
	[ $rc = 0 ] || complain "the loads of $name ended with $rc"
	for ((i = 1; i <= n; i++)); do
		[ "$(awk '/^(lost|repeated|out_of_order|strange|wrong_answers) / { n += $2 } END { print n + 0 }' \
			"$tmp/$name.node$i.1")" = 0 ] || complain "$name: node $i lost or repeated events"
	done
}

# of_nodes NAME N EXPRESSION: over the results of all nodes: sum["FIELD"], most["FIELD"] and n.
of_nodes() {
	awk -v n="$2" '{ sum[$1] += $2; if ($2 > most[$1]) most[$1] = $2 } END { printf "%.1f", '"$3"' }' \
		"$tmp/$1".node*.1
}

# cluster_of N DRIVER
cluster_of() {
	local name=nodes-$2-$1 cpu
	stop_servers
	rm -rf "$tmp"/node*
	start_nodes "$1" "$2"
	load_nodes "$name-most" "$1" --seconds "$seconds"
	row nodes "$2, $1: committed events/s" "$(of_nodes "$name-most" "$1" 'sum["events_per_sec"]')" - - - ''
	load_nodes "$name" "$1" --seconds "$seconds" --rate $((150 / $1))
	row nodes "$2, $1: delay p50, p99 ms at 150/s" \
		"$(of_nodes "$name" "$1" 'most["delay_p50_ms"]'),$(of_nodes "$name" "$1" 'most["delay_p99_ms"]')" - - - ''
	cpu=$(of_nodes "$name" "$1" 'sum["server_cpu_us"] / sum["events"] / n')
	row nodes "$2, $1: CPU us of an event and node" "$cpu" "${alone_cpu:--}" \
		"$(calc "$cpu / ${alone_cpu:-0}" "$cpu" "${alone_cpu:--}")" - ''
	[ "$1" != 1 ] || alone_cpu=$cpu
}

# A lone node with each driver: the same load in turn; the column of the reference is the daemon that is alone.
lone_nodes() {
	local side round durability d r rate
	stop_servers
	for side in local postgres redis; do
		start_node $side $side $side
	done
	for ((round = 1; round <= 2 * rounds; round++)); do
		for durability in none commit; do
			rate=300
			[ $durability = commit ] || rate=2000
			for side in local postgres redis; do
				load $side "$tmp/lone-$durability.$side.$round" --connections 10 --publishers 4 \
					--channel-prefix $durability- --seconds "$seconds" --rate $rate
			done
		done
	done
	for durability in none commit; do
		for side in postgres redis; do
			d=$(value lone-$durability $side cpu_us_per_event) r=$(value lone-$durability local cpu_us_per_event)
			row nodes "a lone node, $side, $durability: CPU us" "$d" "$r" "$(calc "$d / $r" "$d" "$r")" - ''
		done
	done
}

# Committed events of clusters, and what a driver costs a node that is alone.
case_nodes() {
	local driver n alone_cpu redis_port
	[ $with_daemon = 1 ] || return 0
	command -v redis-server >/dev/null || die 'the case nodes needs redis-server'
	lone_nodes
	for driver in postgres redis; do
		alone_cpu=''
		for n in 1 2 3; do
			cluster_of $n $driver
		done
	done
	stop_servers
}
