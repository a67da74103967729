/**
 * The guest side of Proxy-Wasm 0.2.1 for plugins written in AssemblyScript.
 *
 * A plugin calls register where its module begins, and exports the callbacks. One instance
 * serves many streams, and many configurations if its image says so.
 *
 * Functions of the proxy return an error, or null if they went well, or a Result. Bytes
 * and texts that they return are copies, which stay; what they are given is not kept.
 */
import "./abort";

export { Buffer, DownstreamData, RequestBody, ResponseBody, UpstreamData } from "./buffer";
export {
  CacheObject, ErrCacheArgument, MaxCacheKey, MaxCachePart, MaxCacheParts, MaxCacheTag, MaxCacheTags, MaxCacheValue, Steering,
  cacheDelete, cacheGet, cachePurge, cachePut, sendSteering, steerCache,
} from "./cache";
export { decodeBody, encodeBody } from "./compress";
export { Config, parseConfig } from "./config";
export { Consumer, newConsumer, only, setConsumer } from "./consumer";
export { Context, done, effectiveContext, setEffectiveContext } from "./context";
export { Checked, Key, KeyFormat, Opened, checkPassword, hash, newKey } from "./crypto";
export { GRPC, GRPCHandler, GRPCResponse, grpcCall, grpcStream } from "./grpc";
export { Header, RequestHeader, RequestTrailer, ResponseHeader, ResponseTrailer, setResponseHeaders } from "./header";
export { callForeign, reset, respond, respondGRPC, resume } from "./host";
export { HTTPResponse, httpCall } from "./httpcall";
export {
  Identity, MaxConsumerNamespaces, MaxCredentialLookup, MaxCredentialType, currentConsumer, findConsumer, identifyConsumer, setClaims, useConsumer,
} from "./identity";
export { KVValue, MaxKVKey, MaxKVValue, kvAdd, kvDelete, kvGet, kvPut } from "./kv";
export { Level, log, logEnabled, logLevel } from "./log";
export { Counter, Gauge, Histogram, defineCounter, defineGauge, defineHistogram } from "./metric";
export { Action, Callbacks, Connection, Peer, Plugin, Stream, StreamType, register } from "./plugin";
export { clientAddress, property, propertyBool, propertyDuration, propertyInt, propertyString, propertyTime, setProperty } from "./property";
export { Queue, registerQueue, resolveQueue } from "./queue";
export { Rate, RateAnswer, takeRate, takeSharedRate } from "./ratelimit";
export { Shared, setSharedData, sharedData, updateSharedData } from "./shared";
export {
  CallError, ErrBadArgument, ErrBadExpression, ErrBrokenConnection, ErrCASMismatch, ErrEmpty, ErrHost, ErrInternal, ErrInvalidMemory,
  ErrNotFound, ErrParse, ErrResultMismatch, ErrSerialization, ErrUnimplemented, GRPCStatus, Result, Status,
} from "./status";
export { Duration, Hour, Microsecond, Millisecond, Minute, Nanosecond, Second, Time } from "./time";
export { now, setTickPeriod } from "./timer";
export { bytes, text } from "./wire";
