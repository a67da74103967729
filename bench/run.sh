#!/usr/bin/env bash
# Builds what the benchmark needs and runs it: make bench. Arguments go to bench.
set -euo pipefail
cd "$(dirname "$0")"
packages=()
need() { command -v "$1" >/dev/null || packages+=("${@:2}"); }
need nginx nginx-light
need haproxy haproxy
need wrk wrk
need gcc gcc libc6-dev
need h2load nghttp2-client
need nghttpd nghttp2-server
need taskset util-linux
need clang-22 clang-22
need wasm-ld-22 lld-22
need npm npm
need varnishd varnish
need traffic_server trafficserver
if [ ${#packages[@]} -gt 0 ]; then
	echo "installing what is missing: ${packages[*]}"
	[ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; }
	apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi
mkdir -p out
gcc -O2 -o out/origin origin/origin.c
(cd load && CGO_ENABLED=0 go build -o ../out/load .)
(cd coraza && CGO_ENABLED=0 go build -o ../out/coraza .)
(cd caddy && CGO_ENABLED=0 go build -o ../out/caddy github.com/caddyserver/caddy/v2/cmd/caddy)
guest() { # name, module
	../bin/penstock image pack --layout out/plugins --name "penstock.dev/bench/$1:1" --manifest guests/manifest.json "$2" >/dev/null
}
cc="clang-22 --target=wasm32-unknown-unknown -nostdlib -O2 -Wl,--no-entry -Wl,--strip-all"
for g in c/header http-wasm/header spin/spin compute/compute; do $cc -o "out/${g%/*}.wasm" "guests/$g.c"; done
(cd guests/go && GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags='-s -w' -o ../../out/go.wasm .)
(cd guests/assemblyscript && npm ci --silent --ignore-scripts --legacy-peer-deps --no-audit --no-fund &&
	npx asc assembly/index.ts -b ../../out/assemblyscript.wasm --use abort=abort_proc_exit --optimize)
# The same plugin as c/header.c on each of our SDKs, as authors build theirs.
sdk() { # language, source, its place in a new plugin
	rm -rf "out/sdk/$1" && mkdir -p out/sdk
	../bin/penstock plugin new --lang "$1" "out/sdk/$1" >/dev/null
	cp "guests/sdk/$1/$2" "out/sdk/$1/$3"
	../bin/penstock plugin build "out/sdk/$1" --output "out/sdk-$1.wasm"
}
sdk c plugin.c plugin.c
sdk rust lib.rs src/lib.rs
sdk go main.go main.go
sdk assemblyscript index.ts index.ts
rm -rf out/plugins
for g in c go assemblyscript http-wasm spin sdk-c sdk-rust sdk-go sdk-assemblyscript; do guest "$g" "out/$g.wasm"; done
go build -o out/bench .
exec out/bench "$@"
