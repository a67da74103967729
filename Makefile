# make help lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export GOFLAGS ?= -buildvcs=false

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PLUGINS  := $(notdir $(patsubst %/,%,$(wildcard plugins-src/*/)))
MODULES  := . wasm-sdk/go conformance conformance/readme conformance/kubernetes conformance/routes $(patsubst %/go.mod,%,$(wildcard plugins-src/*/go.mod))
# Modules whose tests need namespaces of the kernel.
NETNS    := conformance/kubernetes conformance/routes
FUZZTIME ?= 10s
# Build tags of a module that needs some are in its file "tags".
TAGS     := $$(sed 's/^/-tags=/' tags 2>/dev/null)
# The race detector has nothing to find in these, and takes five times as long: they start no
# goroutine and lock nothing, which make check looks at.
SERIAL   := core/sandbox/meter k8s/translate
# Nor in a guest, which has one thread.
RACE      = $$(case $$m in plugins-src/*) ;; *) echo -race;; esac)
# Clusters come one after the other: each has the machine for itself.
ALONE     = $$(test $$m = conformance/kubernetes && echo -p 1)

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: sdks ## Build bin/penstock
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/penstock ./cmd/penstock

# The same files give the same bytes. Tests and their corpora stay here.
.PHONY: sdks
sdks: # of penstock plugin new
	@(cd wasm-sdk && find . -type f ! -path '*/test/*' ! -path '*/tests/*' ! -path '*/node_modules/*' ! -path '*/target/*' ! -name '*_test.go' ! -name Cargo.lock -print | sed 's,^\./,,' | LC_ALL=C sort | \
		tar --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=644 -cf - -T -) | gzip -9n >author/scaffold/sdk/sdks.tar.gz

# Each in its language, by the tool that authors have. What has not changed is left alone.
.PHONY: plugins
plugins: build toolchains assemblyscript rust ## Build the bundled plugins into the OCI layout build/plugins
	@mkdir -p build/plugins && for p in $(PLUGINS); do \
		dir=plugins-src/$$p; \
		test -e build/$$p.made && test -z "$$(find -L $$dir/ wasm-sdk author/toolchain core/oci Makefile "$$(go env GOROOT)/VERSION" -name node_modules -prune -o -type f ! -name '*.md' -newer build/$$p.made -print -quit)" && continue; \
		echo "plugin $$p"; \
		touch build/$$p.making; \
		if test -e $$dir/asconfig.json; then \
			mkdir -p $$dir/node_modules/@penstock && ln -sfn ../../../build/assemblyscript/node_modules/assemblyscript $$dir/node_modules/assemblyscript && \
			ln -sfn ../../../../wasm-sdk/assemblyscript $$dir/node_modules/@penstock/sdk || exit 1; \
		fi; \
		said=$$(CARGO_TARGET_DIR=$(CURDIR)/build/rust bin/penstock plugin build $$dir --output build/$$p.wasm 2>&1) || \
			case "$$PENSTOCK_SKIP_TOOLCHAINS $$said" in \
				[!\ ]*"not installed"*) echo "LEFT OUT: plugin $$p: $$said"; continue;; \
				*) echo "plugin $$p: $$said"; exit 1;; \
			esac; \
		bin/penstock image pack --layout build/plugins --name penstock.dev/plugins/$$p:1 \
			--manifest $$dir/plugin.json --schema $$dir/schema.json --cases $$dir/cases.yaml $$(test ! -e $$dir/cost.json || echo --cost $$dir/cost.json) build/$$p.wasm || exit 1; \
		mv build/$$p.making build/$$p.made; \
	done

.PHONY: catalogue
catalogue: ## Write docs/catalogue.md, docs/tasks and the tables of plugins' READMEs
	go test -count=1 -run 'UpToDate$$' ./author/catalogue -update

.PHONY: run
run: plugins ## Serve examples/quickstart on 127.0.0.1:8080 until Ctrl-C
	go build -o bin/quickstart-upstream ./examples/quickstart/upstream
	go build -o bin/quickstart ./examples/quickstart/start
	@exec bin/quickstart

.PHONY: test
test: cc redis toolchains assemblyscript rust cachesuite plugins testbed-build check ## All checks, tests with the race detector, and short conformance runs
	@for m in $(MODULES); do case " $(NETNS) " in *" $$m "*) unshare -Urnm true || \
		{ echo "LEFT OUT: $$m: this machine does not allow user, network and mount namespaces"; continue; };; esac; \
		echo "test $$m"; (cd $$m && PENSTOCK=$(CURDIR)/bin/penstock PENSTOCK_GATEWAYAPI=1 go test $(TAGS) $(ALONE) $(RACE) -shuffle=on -timeout 20m $$(go list $(TAGS) ./... | grep -vxF $(SERIAL:%=-e penstock.dev/penstock/%))) || exit 1; done
	go test -shuffle=on $(SERIAL:%=./%)

.PHONY: check
check: ## Format, tidy, vet and lint
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt -w $$unformatted"; exit 1; }
	@for m in $(MODULES); do echo "check $$m"; (cd $$m && go mod tidy -diff && go vet $(TAGS) ./...) || exit 1; done
	@! grep -nE '^\s*go |"sync"|\bchan ' $(SERIAL:%=%/*.go) || { echo "see SERIAL in the Makefile"; exit 1; }
	go tool -modfile=tools/go.mod golangci-lint run ./...
	@made=$$(mktemp -d) && go tool -modfile=tools/generate/go.mod controller-gen object paths=./k8s/api output:object:dir=$$made crd output:crd:dir=$$made/crds && \
		diff -r $$made/crds k8s/api/crds && diff $$made/zz_generated.deepcopy.go k8s/api/zz_generated.deepcopy.go && rm -r $$made || { echo "k8s/api changed: make generate"; exit 1; }

.PHONY: generate
generate: ## Make what is generated: deepcopies and CustomResourceDefinitions of k8s/api
	go tool -modfile=tools/generate/go.mod controller-gen object crd paths=./k8s/api output:crd:dir=k8s/api/crds

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME each
	@for m in $(MODULES); do (cd $$m && for p in $$(go list $(TAGS) ./...); do \
		for f in $$(go test $(TAGS) -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "fuzz $$p $$f"; go test $(TAGS) -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
		done; done) || exit 1; done

.PHONY: bench
bench: plugins ## Measure against nginx, HAProxy and Caddy; writes bench/results.md
	bench/run.sh

.PHONY: soak
soak: plugins ## Ten minutes of load each: the YAML rewritten each second; a new digest each 5 s; a thousand swaps; then half an hour over every protocol; an hour of the cache; then 20 minutes of faults in a cluster
	cd conformance && PENSTOCK_SOAK=$${PENSTOCK_SOAK:-10m} go test -count=1 -timeout 60m -run '^Test(Soak|Swap|ThousandSwaps)$$' -v ./soak
	cd conformance && PENSTOCK_SOAK=$${PENSTOCK_SOAK:-30m} go test -count=1 -timeout 60m -run '^TestMixed$$' -v ./soak
	cd conformance && PENSTOCK_SOAK=$${PENSTOCK_SOAK:-1h} go test -count=1 -timeout 90m -run '^TestCache$$' -v ./soak
	$(MAKE) faults PENSTOCK_LONG=1

.PHONY: faults
faults: plugins testbed-build ## Faults in a cluster with traffic: a minute, or with PENSTOCK_LONG=1 20; PENSTOCK_SEED repeats a run, PENSTOCK_FAULT=TEXT does one
	cd conformance/kubernetes && PENSTOCK_LONG=$(PENSTOCK_LONG) go test -count=1 -timeout 60m -v ./faults

.PHONY: conformance
conformance: redis toolchains assemblyscript rust cachesuite clients plugins ## The full public suites
	cd conformance && PENSTOCK_LONG=1 go test -count=1 -timeout 60m -v ./...
	$(MAKE) gatewayapi PENSTOCK_LONG=1

# One setting of cgo, or Kubernetes is compiled twice. The version is what the API server says of itself.
.PHONY: testbed-build
testbed-build: nft ## Build the Kubernetes testbed into bin/testbed: 5 minutes the first time, then seconds
	@mkdir -p bin/testbed/crds && cd conformance/kubernetes && \
	v=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes) && minor=$${v#v1.} && x="-X k8s.io/component-base/version" && \
	CGO_ENABLED=0 go build -ldflags "-s -w $$x.gitVersion=$$v $$x.gitMajor=1 $$x.gitMinor=$${minor%%.*}" -o ../../bin/testbed/ \
		./cmd/... sigs.k8s.io/gateway-api/conformance/echo-basic && \
	install -m 644 $$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/experimental/*.yaml ../../bin/testbed/crds/
	cd conformance && CGO_ENABLED=0 go build -o ../bin/testbed/registry github.com/distribution/distribution/v3/cmd/registry

.PHONY: testbed
testbed: plugins testbed-build ## Run a Kubernetes cluster on this machine until Ctrl-C
	@exec bin/testbed/testbed $(TESTBED)

.PHONY: gatewayapi
gatewayapi: plugins testbed-build ## Gateway API's suite: a few tests, TEST=NAME one, PENSTOCK_LONG=1 all
	cd conformance/kubernetes && PENSTOCK_LONG=$(PENSTOCK_LONG) PENSTOCK_GATEWAYAPI=$(or $(TEST),1) go test -count=1 -timeout 60m -v ./gatewayapi

.PHONY: scale
scale: plugins testbed-build ## How soon changes are live, and memory, with 10,000 routes; writes conformance/reports/scale.md
	cd conformance/kubernetes && PENSTOCK_SCALE=$${PENSTOCK_SCALE:-10000} go test -count=1 -timeout 40m -v ./scale

.PHONY: nft
nft: # kube-proxy needs it
	@command -v nft >/dev/null || { command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends nftables; } || \
		{ echo "the Kubernetes testbed needs nft: install nftables"; exit 1; }

.PHONY: cc
cc: # the race detector needs a C compiler
	@command -v gcc >/dev/null || command -v clang >/dev/null || \
		{ command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev; } || \
		{ echo "make test needs a C compiler (gcc or clang) for the race detector: install one"; exit 1; }

.PHONY: redis
redis: # conformance/redis runs one; the package must not start it
	@command -v redis-server >/dev/null || { command -v apt-get >/dev/null && { \
		policy=/usr/sbin/policy-rc.d; test -e $$policy || { printf '#!/bin/sh\nexit 101\n' >$$policy && chmod 755 $$policy && made=1; }; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server; status=$$?; \
		test -z "$$made" || rm -f $$policy; exit $$status; }; } || \
		{ echo "make test needs redis-server: install it"; exit 1; }

.PHONY: clients
clients: # programs of others that are clients in conformance/clients
	@{ command -v curl && command -v nghttp && command -v chromium && command -v slowhttptest && command -v testssl && command -v tinyproxy; } >/dev/null || \
		{ command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends curl nghttp2-client chromium slowhttptest testssl.sh tinyproxy-bin; } || \
		{ echo "make conformance needs curl, nghttp, chromium, slowhttptest, testssl and tinyproxy: install them"; exit 1; }

.PHONY: cachesuite
cachesuite: toolchains # http-cache-tests, at the versions of its lockfile, for conformance/cache
	@cmp -s conformance/cache/suite/package-lock.json build/http-cache-tests/package-lock.json || ! command -v npm >/dev/null || { \
		rm -rf build/http-cache-tests build/http-cache-tests.new && mkdir -p build/http-cache-tests.new && \
		cp conformance/cache/suite/package.json conformance/cache/suite/package-lock.json build/http-cache-tests.new && \
		(cd build/http-cache-tests.new && npm ci --ignore-scripts --no-audit --no-fund) && mv build/http-cache-tests.new build/http-cache-tests; }

.PHONY: assemblyscript
assemblyscript: toolchains # its compiler, at the version of the lockfile, for conformance/sdks
	@cmp -s wasm-sdk/assemblyscript/package-lock.json build/assemblyscript/package-lock.json || ! command -v npm >/dev/null || { \
		rm -rf build/assemblyscript build/assemblyscript.new && mkdir -p build/assemblyscript.new && \
		cp wasm-sdk/assemblyscript/package.json wasm-sdk/assemblyscript/package-lock.json build/assemblyscript.new && \
		(cd build/assemblyscript.new && npm ci --ignore-scripts --no-audit --no-fund) && mv build/assemblyscript.new build/assemblyscript; }

.PHONY: toolchains
toolchains: # of guests and SDKs that are not in Go; clang's own libraries are for the sanitizers; an npm that is there may be no package of the system's
	@missing=$$(command -v clang-22 >/dev/null && command -v wasm-ld-22 >/dev/null && ls $$(clang-22 -print-runtime-dir)/libclang_rt.fuzzer-* >/dev/null 2>&1 || echo clang-22 lld-22 libclang-rt-22-dev; command -v npm >/dev/null || echo npm); \
		test -z "$$missing" || { command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } || \
		test -n "$$PENSTOCK_SKIP_TOOLCHAINS" || \
		{ echo "make test needs clang-22, lld-22, libclang-rt-22-dev and npm for guests and SDKs in C and AssemblyScript: install them, or set PENSTOCK_SKIP_TOOLCHAINS=1"; exit 1; }

# Its standard library for WebAssembly is built once, into build/rust: a minute and more.
.PHONY: rust
rust: # of the guests in Rust; /usr/bin/cargo, whatever else there is
	@{ test -x /usr/bin/cargo && test -d /usr/lib/rustlib/src/rust/library/vendor && command -v wasm-ld-22; } >/dev/null || \
		{ command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends rustc-web cargo-web rust-web-src lld-22; } || \
		test -n "$$PENSTOCK_SKIP_TOOLCHAINS" || \
		{ echo "make test needs rustc-web, cargo-web, rust-web-src and lld-22 for guests in Rust: install them, or set PENSTOCK_SKIP_TOOLCHAINS=1"; exit 1; }
