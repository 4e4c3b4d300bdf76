#!/usr/bin/env bash
# Runs a command beside a PostgreSQL and a Redis of its own, on free ports and in a temporary folder, and ends them with it.
# Without a command they run until they are interrupted. Both are installed from the distribution where they are missing, and
# nginx, which some tests start themselves.
#
# With PEERS=on nginx gets the module nchan, which measurements compare with.
#
# The command finds them in COLLOQUY_TEST_DATABASE_URL and COLLOQUY_TEST_REDIS_URL. Where both are set already, the command
# runs on those servers.
set -euo pipefail

# Where Debian keeps nginx, also for those who are not root.
PATH=$PATH:/usr/sbin

postgres_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }

missing=()
[ -n "$(postgres_bin)" ] || missing+=(postgresql)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v nginx >/dev/null || missing+=(nginx-light)
[ -z "${PEERS:-}" ] || [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || missing+=(libnginx-mod-nchan)
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "install what Debian calls ${missing[*]}, then come back" >&2
		exit 1
	fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Servers that run already will do.
if [ $# -gt 0 ] && [ -n "${COLLOQUY_TEST_DATABASE_URL:-}" ] && [ -n "${COLLOQUY_TEST_REDIS_URL:-}" ]; then
	exec "$@"
fi

bin=$(postgres_bin)
folder=$(mktemp -d)
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# PostgreSQL refuses to run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then
	as_user=(setpriv --reuid postgres --regid postgres --clear-groups)
	chown postgres "$folder"
fi

end() {
	trap - EXIT
	[ -z "${redis:-}" ] || kill "$redis" 2>/dev/null || true
	[ -z "${postgres:-}" ] || kill -INT "$postgres" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "$folder"
}
trap end EXIT

echo colloquy >"$folder/password"
"${as_user[@]}" "$bin/initdb" -D "$folder/postgres" -U colloquy --pwfile "$folder/password" --auth scram-sha-256 --encoding UTF8 --locale C.UTF-8 >/dev/null
# What is lost with the machine may be lost here: nothing of it is kept. Measurements want FSYNC=on.
postgres_port=$(free_port)
"${as_user[@]}" "$bin/postgres" -D "$folder/postgres" -p "$postgres_port" -h 127.0.0.1 -k "$folder" -c fsync="${FSYNC:-off}" \
	-c max_connections=1000 -c log_min_messages=fatal -c log_statement=none >"$folder/postgres.log" 2>&1 &
postgres=$!
redis_port=$(free_port)
# One server with all slots of a cluster: it refuses what would not work on many, such as a script with keys of two slots.
redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --dir "$folder" \
	--cluster-enabled yes --cluster-port "$(free_port)" >/dev/null &
redis=$!

for _ in $(seq 100); do
	if "$bin/pg_isready" -q -h 127.0.0.1 -p "$postgres_port" && redis-cli -p "$redis_port" cluster info 2>/dev/null | grep -q cluster_state; then
		break
	fi
	sleep 0.1
done
"$bin/pg_isready" -q -h 127.0.0.1 -p "$postgres_port" || { cat "$folder/postgres.log" >&2; exit 1; }

redis-cli -p "$redis_port" cluster addslotsrange 0 16383 >/dev/null
for _ in $(seq 100); do
	if redis-cli -p "$redis_port" cluster info | grep -q cluster_state:ok; then break; fi
	sleep 0.1
done

export COLLOQUY_TEST_DATABASE_URL="postgres://colloquy:colloquy@127.0.0.1:$postgres_port/postgres"
export COLLOQUY_TEST_REDIS_URL="redis://127.0.0.1:$redis_port/"
if [ $# -gt 0 ]; then
	"$@"
else
	echo "PostgreSQL: $COLLOQUY_TEST_DATABASE_URL"
	echo "Redis:      $COLLOQUY_TEST_REDIS_URL"
	wait
fi
