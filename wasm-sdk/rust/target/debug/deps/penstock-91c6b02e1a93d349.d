/work/wt/capabilities/wasm-sdk/rust/target/debug/deps/penstock-91c6b02e1a93d349.d: src/lib.rs src/buffer.rs src/cache.rs src/cachewire.rs src/calls.rs src/config.rs src/consumer.rs src/context.rs src/crypto.rs src/exports.rs src/foreign.rs src/grpc.rs src/header.rs src/host.rs src/httpcall.rs src/json.rs src/kv.rs src/log.rs src/memory.rs src/metric.rs src/pairs.rs src/plugin.rs src/property.rs src/queue.rs src/ratelimit.rs src/respond.rs src/shared.rs src/status.rs src/timer.rs src/wire.rs

/work/wt/capabilities/wasm-sdk/rust/target/debug/deps/penstock-91c6b02e1a93d349: src/lib.rs src/buffer.rs src/cache.rs src/cachewire.rs src/calls.rs src/config.rs src/consumer.rs src/context.rs src/crypto.rs src/exports.rs src/foreign.rs src/grpc.rs src/header.rs src/host.rs src/httpcall.rs src/json.rs src/kv.rs src/log.rs src/memory.rs src/metric.rs src/pairs.rs src/plugin.rs src/property.rs src/queue.rs src/ratelimit.rs src/respond.rs src/shared.rs src/status.rs src/timer.rs src/wire.rs

src/lib.rs:
src/buffer.rs:
src/cache.rs:
src/cachewire.rs:
src/calls.rs:
src/config.rs:
src/consumer.rs:
src/context.rs:
src/crypto.rs:
src/exports.rs:
src/foreign.rs:
src/grpc.rs:
src/header.rs:
src/host.rs:
src/httpcall.rs:
src/json.rs:
src/kv.rs:
src/log.rs:
src/memory.rs:
src/metric.rs:
src/pairs.rs:
src/plugin.rs:
src/property.rs:
src/queue.rs:
src/ratelimit.rs:
src/respond.rs:
src/shared.rs:
src/status.rs:
src/timer.rs:
src/wire.rs:
