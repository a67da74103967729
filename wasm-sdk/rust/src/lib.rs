//! The guest side of Proxy-Wasm 0.2.1 for plugins written in Rust and built for
//! `wasm32-unknown-unknown` as a `cdylib`.
//!
//! A plugin calls [`register!`] once, outside of any function. One instance serves many
//! streams, and many configurations if its image says so; it runs one callback at a time,
//! so that plugins share what they share by `Rc` and `RefCell`.
//!
//! Functions of the proxy fail with a [`Status`]. A panic ends the callback as a trap, with
//! its message in the proxy's log. What the proxy returns is [`Bytes`], in memory that is
//! used again once they are dropped: reading a field or a property allocates nothing.
//!
//! Elsewhere than in WebAssembly, as in a plugin's own tests, each function of the proxy
//! fails with [`Status::Unimplemented`].

#![deny(missing_docs)]
#![deny(unsafe_code)] // but for the edge to the ABI, host.rs and exports.rs, and the allocator

#[cfg(any(test, all(target_arch = "wasm32", feature = "allocator")))]
mod alloc;
mod buffer;
mod cache;
mod cachewire;
mod calls;
mod compress;
mod config;
mod consumer;
mod context;
mod crypto;
mod exports;
mod foreign;
mod grpc;
mod header;
mod host;
mod httpcall;
mod identity;
mod json;
mod kv;
mod log;
mod memory;
mod metric;
mod pairs;
mod plugin;
mod property;
mod queue;
mod ratelimit;
mod respond;
mod shared;
mod status;
mod table;
mod timer;
mod wire;

pub use buffer::{Buffer, DOWNSTREAM_DATA, REQUEST_BODY, RESPONSE_BODY, UPSTREAM_DATA};
pub use cache::{cache_delete, cache_get, cache_purge, cache_put, send_steering, steer_cache};
pub use cachewire::{
    CacheError, CacheObject, MAX_CACHE_KEY, MAX_CACHE_PART, MAX_CACHE_PARTS, MAX_CACHE_TAG,
    MAX_CACHE_TAGS, MAX_CACHE_VALUE, Steering,
};
pub use compress::{decode_body, encode_body};
pub use config::{ConfigError, Place, Setting, parse_config};
pub use consumer::{Consumer, only, set_consumer};
pub use context::{Context, done, effective_context, set_effective_context};
pub use crypto::{Key, KeyError, KeyFormat, check_password, hash};
pub use foreign::call_foreign;
pub use grpc::{Grpc, GrpcHandler, GrpcResponse, grpc_call, grpc_stream};
pub use header::{
    Header, REQUEST_HEADER, REQUEST_TRAILER, RESPONSE_HEADER, RESPONSE_TRAILER,
    set_response_headers,
};
pub use httpcall::{HttpResponse, http_call};
pub use identity::{
    Identity, MAX_CONSUMER_NAMESPACES, MAX_CREDENTIAL_LOOKUP, MAX_CREDENTIAL_TYPE,
    current_consumer, find_consumer, identify_consumer, set_claims, use_consumer,
};
pub use json::Json;
pub use kv::{KvValue, MAX_KV_KEY, MAX_KV_VALUE, kv_add, kv_delete, kv_get, kv_put};
pub use log::{Level, log, log_enabled, log_level};
pub use memory::Bytes;
pub use metric::{Counter, Gauge, Histogram, define_counter, define_gauge, define_histogram};
pub use pairs::{Pairs, PairsIter};
pub use plugin::{
    Action, Callbacks, ON_DONE, ON_REQUEST_BODY, ON_REQUEST_HEADERS, ON_REQUEST_TRAILERS,
    ON_RESPONSE_BODY, ON_RESPONSE_HEADERS, ON_RESPONSE_TRAILERS, Peer, Plugin,
    SET_RESPONSE_HEADERS, Stream, StreamType, register,
};
pub use property::{
    client_address, property, property_bool, property_duration, property_int, property_string,
    property_time, set_property,
};
pub use queue::{Queue, register_queue, resolve_queue};
pub use ratelimit::{Rate, RateAnswer, take_rate, take_shared_rate};
pub use respond::{reset, respond, respond_grpc, resume};
pub use shared::{set_shared_data, shared_data, update_shared_data};
pub use status::{CallError, GrpcStatus, Status};
pub use timer::{now, set_tick_period};
