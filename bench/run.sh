#!/usr/bin/env bash
# Builds what the benchmark needs and runs it: make bench. Arguments go to bench.
set -euo pipefail
cd "$(dirname "$0")"
missing=()
for tool in nginx haproxy wrk gcc taskset; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
	echo "installing what is missing: ${missing[*]}"
	[ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; }
	apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light haproxy wrk gcc libc6-dev util-linux
fi
mkdir -p out
gcc -O2 -o out/origin origin/origin.c
(cd caddy && CGO_ENABLED=0 go build -o ../out/caddy github.com/caddyserver/caddy/v2/cmd/caddy)
go build -o out/bench .
exec out/bench "$@"
