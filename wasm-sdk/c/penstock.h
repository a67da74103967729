// The guest side of Proxy-Wasm 0.2.1 for plugins in C, and in C++.
//
// A plugin is functions, and macros that say when they are called:
//
//   PS_PLUGIN(plugin, stream, configure, new_stream);
//   PS_ON_REQUEST_HEADERS(request_headers);
//
// One instance serves many streams, and many configurations if its image says so; it runs
// one callback at a time, so that no locks are needed.
//
// What can fail returns a ps_status, and hands its result over by a pointer; the result is
// empty where the function fails. Texts and bytes are a ps_str: they need not end with a
// NUL. What functions hand over is valid until the callback returns, if nothing else is
// said; what they are given is not kept. No pointer to a result may be NULL.
#ifndef PENSTOCK_H
#define PENSTOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define PS_C extern "C"
extern "C" {
#else
#define PS_C
#endif

#define PS_MUST_CHECK __attribute__((warn_unused_result))

// ---- Texts and lists ----

// ps_str is a text, or bytes.
typedef struct ps_str {
  const char *data; // may be NULL if len is 0
  size_t len;
} ps_str;

// ps_strs is a list of texts. PS_STRS(PS_STR("a"), b) makes one, PS_NO_STRS is empty.
typedef struct ps_strs {
  const ps_str *items;
  size_t len;
} ps_strs;

// ps_pair is a field of a header list.
typedef struct ps_pair {
  ps_str name, value;
} ps_pair;

// ps_pairs is a header list. PS_PAIRS(PS_PAIR("a", "1"), {name, value}) makes one;
// PS_NO_PAIRS is empty. Like PS_STRS, it lasts as long as the block in C, and as the
// expression in C++.
typedef struct ps_pairs {
  const ps_pair *items;
  size_t len;
} ps_pairs;

// PS_STR makes a ps_str of a literal; PS_PAIR makes a ps_pair of two.
#ifdef __cplusplus
#define PS_STR(literal) (ps_str{"" literal, sizeof(literal) - 1})
#else
#define PS_STR(literal) ((ps_str){"" literal, sizeof(literal) - 1})
#endif
#define PS_PAIR(name, value) {PS_STR(name), PS_STR(value)}

// ps_equal says whether two texts are the same.
bool ps_equal(ps_str a, ps_str b);
// ps_starts_with says whether a text begins with another one.
bool ps_starts_with(ps_str text, ps_str prefix);
// ps_cat puts texts together: PS_CAT(a, b, c). It traps if there is no memory.
ps_str ps_cat(ps_strs parts);
// ps_int writes a number in decimal. It traps if there is no memory.
ps_str ps_int(int64_t n);
// ps_parse_int reads a decimal number with or without a sign; false: it is none, or does
// not fit.
bool ps_parse_int(ps_str text, int64_t *n) PS_MUST_CHECK;

// ---- Statuses ----

// ps_status is PS_OK, or why a function failed.
typedef uint32_t ps_status;

// The statuses. Those from 1 on are the host's (proxy_status_t), as it gives them; from
// PS_ERR_MEMORY on they are the SDK's own.
enum {
  PS_OK = 0,
  PS_ERR_NOT_FOUND = 1,
  PS_ERR_BAD_ARGUMENT = 2,
  PS_ERR_SERIALIZATION = 3,
  PS_ERR_PARSE = 4,
  PS_ERR_BAD_EXPRESSION = 5,
  PS_ERR_INVALID_MEMORY = 6,
  PS_ERR_EMPTY = 7,
  PS_ERR_CAS_MISMATCH = 8,
  PS_ERR_RESULT_MISMATCH = 9, // also: what the host handed over is malformed, or of another type
  PS_ERR_INTERNAL = 10,       // also: the plugin lacks the capability
  PS_ERR_BROKEN_CONNECTION = 11,
  PS_ERR_UNIMPLEMENTED = 12,
  PS_ERR_MEMORY = 0x10000, // there is no room
  PS_ERR_CACHE_ARGUMENT,   // what is to be said to the cache, or stored in it, passes a bound
  PS_ERR_CONFIG            // see ps_parse_config, ps_json_parse and ps_refuse
};

// ps_err_host says whether the proxy refused.
bool ps_err_host(ps_status s);
// ps_status_text says a status in words, for the log; of PS_ERR_CONFIG what was wrong last.
ps_str ps_status_text(ps_status s);
// ps_panic logs why, and traps: onError decides what becomes of the exchange.
__attribute__((noreturn)) void ps_panic(ps_str why);
// ps_must traps if a status is not PS_OK, and logs its text: of PS_ERR_INTERNAL also that a
// capability may be missing.
void ps_must(ps_status s);

// ---- Memory ----

// ps_life is how long memory lives. Nothing has to be freed.
typedef enum ps_life {
  PS_FOR_CALLBACK, // until the callback returns
  PS_FOR_STREAM,   // as long as the effective context: a stream, or the plugin
  PS_FOR_PLUGIN    // as long as the plugin: for its configuration
} ps_life;

// ps_alloc returns zeroed memory that is fit for any type; NULL: there is no room, or the
// context has ended.
void *ps_alloc(ps_life life, size_t size) PS_MUST_CHECK;
// ps_free gives memory of PS_FOR_STREAM or PS_FOR_PLUGIN back before its time; NULL is
// nothing.
void ps_free(void *memory);
// ps_copy makes a text live longer. PS_ERR_MEMORY: there is no room.
ps_status ps_copy(ps_life life, ps_str text, ps_str *copy) PS_MUST_CHECK;

// ps_memory is what became of the SDK's heap, which reading and changing headers does not
// touch.
typedef struct ps_memory {
  uint32_t allocations; // since the start
  size_t used;          // bytes that are in use
  size_t size;          // bytes taken from the host, at most PS_HEAP_MAX (64 MiB)
} ps_memory;

// ps_memory_now returns it as it is.
ps_memory ps_memory_now(void);

// ---- The plugin and its streams ----

// ps_action is what a callback tells the proxy (proxy_action_t).
typedef enum ps_action {
  // PS_CONTINUE hands headers, the part of the body or trailers on.
  PS_CONTINUE = 0,
  // PS_PAUSE holds them back. Of a body, the next callback sees all of it so far. Of
  // headers and trailers, no callback of that direction follows until ps_resume or
  // ps_respond is called, by what a call calls, or by the function of PS_ON_TICK.
  PS_PAUSE = 1
} ps_action;

// ps_peer is who closed a connection (proxy_peer_type_t).
typedef enum ps_peer {
  PS_UNKNOWN_PEER = 0,
  PS_LOCAL_PEER = 1, // the proxy
  PS_REMOTE_PEER = 2
} ps_peer;

// ps_stream_type is a direction: of an exchange, of a raw connection (proxy_stream_type_t).
typedef enum ps_stream_type { PS_REQUEST = 0, PS_RESPONSE = 1, PS_DOWNSTREAM = 2, PS_UPSTREAM = 3 } ps_stream_type;

// ps_context is the number of a plugin or of a stream.
typedef uint32_t ps_context;

// ps_queue is a shared queue; see ps_register_queue.
typedef struct ps_queue {
  uint32_t id;
} ps_queue;

// ps_callbacks is a set of callbacks of a stream, for ps_only.
typedef uint32_t ps_callbacks;

// The callbacks of a stream, each of which has a macro of its name below.
enum {
  PS_ON_REQUEST_HEADERS = 1,
  PS_ON_REQUEST_BODY = 2,
  PS_ON_REQUEST_TRAILERS = 4,
  PS_ON_RESPONSE_HEADERS = 8,
  PS_ON_RESPONSE_BODY = 16,
  PS_ON_RESPONSE_TRAILERS = 32,
  PS_ON_DONE = 64, // also PS_ON_LOG
  PS_SET_RESPONSE_HEADERS = 256 // no callback: ps_set_response_headers is called
};

// ps_only says in configure that just these callbacks of a stream are of use with this
// configuration. The proxy then does not make the others, also if the plugin has them, and
// holds no body up for them: a bit that is forgotten here is a callback that never comes. Those
// of a plugin, of calls and of raw connections it makes all the same. Elsewhere than in
// Penstock all are made that the plugin has, as if nothing was said.
void ps_only(ps_callbacks c);

// ps_effective_context returns what functions are about: in its own callbacks the stream,
// or the plugin, in those of a call what made it.
ps_context ps_effective_context(void);
// ps_set_effective_context makes functions be about another stream of the instance, until
// the callback returns (proxy_set_effective_context): so that a tick resumes a stream which
// paused, and kept its ps_effective_context. PS_ERR_BAD_ARGUMENT: it has ended.
ps_status ps_set_effective_context(ps_context c) PS_MUST_CHECK;
// ps_done says that a plugin whose function of PS_ON_FINISH returned false may be ended now
// (proxy_done). PS_ERR_NOT_FOUND before that.
ps_status ps_done(void) PS_MUST_CHECK;
// ps_resume lets a direction go on that a callback paused (proxy_continue_stream). Within a
// callback of that direction it wins over PS_PAUSE. It is for the effective context;
// PS_ERR_BAD_ARGUMENT: that is no stream; PS_ERR_UNIMPLEMENTED: it has no such direction.
ps_status ps_resume(ps_stream_type t) PS_MUST_CHECK;
// ps_reset ends the effective context's stream without an answer (proxy_close_stream); of a
// raw connection, that side is closed. It fails as ps_resume does.
ps_status ps_reset(ps_stream_type t) PS_MUST_CHECK;
// ps_respond answers in the proxy's name (proxy_send_local_response); the callback's action
// no longer counts. details goes to the access log only. It can be called until the
// response's head has gone on, also for a paused stream from the callback of a call; later
// it fails with PS_ERR_BAD_ARGUMENT.
ps_status ps_respond(int status, ps_pairs headers, ps_str body, ps_str details) PS_MUST_CHECK;
// ps_respond_grpc is ps_respond for a gRPC client, which gets code as the grpc-status, and
// message as the grpc-message.
ps_status ps_respond_grpc(uint32_t code, ps_pairs headers, ps_str message, ps_str details) PS_MUST_CHECK;

// ---- Configuration ----

// ps_json_kind is what a JSON value is.
typedef enum ps_json_kind { PS_JSON_NULL, PS_JSON_BOOL, PS_JSON_NUMBER, PS_JSON_TEXT, PS_JSON_LIST, PS_JSON_OBJECT } ps_json_kind;

// ps_json is a JSON value.
typedef struct ps_json {
  ps_json_kind kind;
  bool truth;                  // of a PS_JSON_BOOL
  ps_str text;                 // of a PS_JSON_TEXT; of a PS_JSON_NUMBER as it was written
  size_t len;                  // elements of a list, fields of an object
  const struct ps_json *first; // of them
  const struct ps_json *next;  // in the same list or object
  ps_str name;                 // of a field
} ps_json;

// ps_json_parse reads JSON (RFC 8259), at most 64 lists and objects deep. It is strict:
// names that come twice in an object, text that is no UTF-8 and halves of surrogates are
// PS_ERR_CONFIG.
ps_status ps_json_parse(ps_str text, const ps_json **value) PS_MUST_CHECK;
// ps_json_get returns a field of an object; NULL: it has none of that name, or is none.
const ps_json *ps_json_get(const ps_json *object, ps_str name);
// ps_json_int reads a number, or the text of one; false: it is no integer, or does not fit.
bool ps_json_int(const ps_json *value, int64_t *n) PS_MUST_CHECK;

// ps_type is how a JSON value is read into a C type; PS_OBJECT, PS_LIST, PS_MAP and PS_OWN
// make one.
typedef struct ps_type ps_type;

// ps_field is a field of an object; PS_FIELD, PS_FIELD_OF and what is named like them make
// one.
typedef struct ps_field {
  const char *name; // in JSON
  size_t offset;    // in the struct
  const ps_type *type;
} ps_field;

typedef enum ps_type_kind { PS_TYPE_TEXT, PS_TYPE_BOOL, PS_TYPE_INT, PS_TYPE_UINT, PS_TYPE_FLOAT, PS_TYPE_OBJECT, PS_TYPE_LIST, PS_TYPE_MAP, PS_TYPE_OWN } ps_type_kind;

struct ps_type {
  ps_type_kind kind;
  const char *name; // for errors
  size_t size, align;
  const ps_type *element; // of a list, of a map
  const ps_field *fields; // of an object
  size_t fields_len;
  ps_str (*read)(const ps_json *value, void *to); // of PS_OWN
};

// The types of a ps_str, a bool and the numbers.
extern const ps_type ps_type_text, ps_type_bool, ps_type_i8, ps_type_i16, ps_type_i32, ps_type_i64, ps_type_u8, ps_type_u16, ps_type_u32, ps_type_u64, ps_type_f32, ps_type_f64;

// PS_LIST_OF is a member that is a list.
#define PS_LIST_OF(c_type) struct { c_type *items; size_t len; }
// PS_MAP_OF is a member that is an object whose fields have any names, and one type. They
// are sorted by their names. No type may need to be aligned to more than 8 bytes.
#define PS_MAP_OF(c_type) struct { struct { ps_str key; c_type value; } *items; size_t len; }

// PS_FIELD is a field of the same name in JSON and in a struct: a ps_str, a bool or a number.
// For a list, a map or an object there is PS_FIELD_OF.
#define PS_FIELD(c_type, member) PS_FIELD_AS(c_type, member, #member)
// PS_FIELD_OF is a field whose ps_type is said.
#define PS_FIELD_OF(c_type, member, type) PS_FIELD_AS_OF(c_type, member, #member, type)
// PS_FIELD_AS and PS_FIELD_AS_OF are fields that have another name in JSON, a literal: one
// that is a word of C, or has a dash, as PS_FIELD_AS(config, fallback, "default").
#define PS_FIELD_AS(c_type, member, key) {"" key, offsetof(c_type, member), PS_TYPE_FOR(c_type, member)}
#define PS_FIELD_AS_OF(c_type, member, key, type) {"" key, offsetof(c_type, member), &(type)}
// PS_OBJECT is the ps_type of a struct, by an array of ps_field.
#define PS_OBJECT(c_type, array) {PS_TYPE_OBJECT, #c_type, sizeof(c_type), PS_ALIGN(c_type), NULL, array, sizeof(array) / sizeof(*(array)), NULL}
// PS_LIST is the ps_type of a PS_LIST_OF, PS_MAP that of a PS_MAP_OF, by that of an element.
#define PS_LIST(type) {PS_TYPE_LIST, "list", sizeof(ps_strs), PS_ALIGN(ps_strs), &(type), NULL, 0, NULL}
#define PS_MAP(type) {PS_TYPE_MAP, "map", sizeof(ps_strs), PS_ALIGN(ps_strs), &(type), NULL, 0, NULL}
// PS_OWN is the ps_type of a C type that a function reads: ps_str FUNCTION(const ps_json
// *value, void *to). It returns why a value is refused, or an empty text.
#define PS_OWN(c_type, function) {PS_TYPE_OWN, #c_type, sizeof(c_type), PS_ALIGN(c_type), NULL, NULL, 0, function}

// ps_parse_config reads a configuration, a JSON value, into a C type. What the text does
// not say, or says is null, stays as it is in config; no text at all leaves all of it. It
// is strict: PS_ERR_CONFIG, whose text names each field that the type does not have, or
// whose type is another one, by its path, as "config.keys[0].consumer", and never a value,
// which may be a secret; config is untouched then. Texts and lists are PS_FOR_PLUGIN.
ps_status ps_parse_config(ps_str text, const ps_type *type, void *config) PS_MUST_CHECK;
// ps_refuse returns PS_ERR_CONFIG with a text of the plugin's own, for configure to return.
// It is logged, so that it must hold no secret.
ps_status ps_refuse(ps_str why) PS_MUST_CHECK;

// ---- Headers and trailers ----

// ps_header is a header list, or one of trailers or metadata (proxy_map_type_t). Names are
// found in upper and lower case alike. Pseudo header fields (":path", ":method",
// ":authority", ":scheme", ":status") are part of them. A list can be changed until it has
// gone on: headers while their callback runs or pauses them, trailers from the last callback
// of the body on, which may add some where there were none. Changes come too late, or too
// early, with PS_ERR_BAD_ARGUMENT.
typedef enum ps_header {
  PS_REQUEST_HEADER = 0,
  PS_REQUEST_TRAILER = 1,
  PS_RESPONSE_HEADER = 2,
  PS_RESPONSE_TRAILER = 3,
  // Those of calls can be read in the callbacks that are handed them.
  PS_GRPC_INITIAL_METADATA = 4,
  PS_GRPC_TRAILING_METADATA = 5,
  PS_HTTP_CALL_HEADER = 6,
  PS_HTTP_CALL_TRAILER = 7
} ps_header;

// ps_header_get hands over the first value of a name (proxy_get_header_map_value);
// PS_ERR_NOT_FOUND: there is none.
ps_status ps_header_get(ps_header h, ps_str name, ps_str *value);
// ps_header_all hands over the whole list (proxy_get_header_map_pairs).
ps_status ps_header_all(ps_header h, ps_pairs *pairs) PS_MUST_CHECK;
// ps_header_size hands over how many bytes ps_header_all would read
// (proxy_get_header_map_size).
ps_status ps_header_size(ps_header h, size_t *bytes) PS_MUST_CHECK;
// ps_header_add appends a field (proxy_add_header_map_value).
ps_status ps_header_add(ps_header h, ps_str name, ps_str value) PS_MUST_CHECK;
// ps_header_set replaces all fields of a name by one (proxy_replace_header_map_value).
ps_status ps_header_set(ps_header h, ps_str name, ps_str value) PS_MUST_CHECK;
// ps_header_del removes all fields of a name (proxy_remove_header_map_value).
ps_status ps_header_del(ps_header h, ps_str name) PS_MUST_CHECK;
// ps_header_set_all replaces the whole list (proxy_set_header_map_pairs). Other proxies
// replace pseudo header fields too, so that they are to be among pairs, as ps_header_all
// has them.
ps_status ps_header_set_all(ps_header h, ps_pairs pairs) PS_MUST_CHECK;
// ps_set_response_headers has the response's head get these fields when it passes the
// plugin, each in place of those of its name: no callback is needed for what is known at the
// request. Only in the function of PS_ON_REQUEST_HEADERS, or in what a call of it calls while
// the request waits; later, and for fields that no response may have, it fails with
// PS_ERR_BAD_ARGUMENT. The plugin says PS_SET_RESPONSE_HEADERS by ps_only, unless it has a
// function of PS_ON_RESPONSE_HEADERS; else it fails so too. Elsewhere than in Penstock it fails
// with PS_ERR_NOT_FOUND.
ps_status ps_set_response_headers(ps_pairs pairs) PS_MUST_CHECK;

// ---- Bodies ----

// ps_buffer is a body, or what came of a raw connection or a call (proxy_buffer_type_t).
//
// A body's callback sees one part after another. With PS_CONTINUE the part goes on as it
// was left, and the next one begins at 0. With PS_PAUSE it is held back, and the next
// callback sees all that is held: so a plugin pauses until end for a whole body. Bytes that
// are held count against the filter's limit: beyond it the request is answered with 413,
// the response with 500. What changes a body's length has to take the field content-length
// away in the callback of the headers.
typedef enum ps_buffer {
  PS_REQUEST_BODY = 0,
  PS_RESPONSE_BODY = 1,
  PS_DOWNSTREAM_DATA = 2,
  PS_UPSTREAM_DATA = 3,
  PS_HTTP_CALL_BODY = 4, // in the callback of the call
} ps_buffer;

// ps_buffer_get hands over size bytes from start on (proxy_get_buffer_bytes), fewer if there
// are no more; PS_ERR_NOT_FOUND: the buffer is not there now.
ps_status ps_buffer_get(ps_buffer b, size_t start, size_t size, ps_str *data);
// ps_buffer_all hands over the whole buffer, as ps_buffer_get.
ps_status ps_buffer_all(ps_buffer b, ps_str *data);
// ps_buffer_size hands over how many bytes there are (proxy_get_buffer_status).
ps_status ps_buffer_size(ps_buffer b, size_t *bytes) PS_MUST_CHECK;
// ps_buffer_set replaces the whole buffer (proxy_set_buffer_bytes).
ps_status ps_buffer_set(ps_buffer b, ps_str data) PS_MUST_CHECK;
// ps_buffer_append puts data behind the buffer.
ps_status ps_buffer_append(ps_buffer b, ps_str data) PS_MUST_CHECK;
// ps_buffer_prepend puts data before the buffer.
ps_status ps_buffer_prepend(ps_buffer b, ps_str data) PS_MUST_CHECK;
// ps_buffer_replace puts data in the place of size bytes from start on. Envoy refuses, with
// PS_ERR_BAD_ARGUMENT, what none of the three above could do.
ps_status ps_buffer_replace(ps_buffer b, size_t start, size_t size, ps_str data) PS_MUST_CHECK;

// ---- HTTP calls ----

// ps_http_response is what came of an HTTP call. Its lists and its body can be read in the
// callback, and only there.
typedef struct ps_http_response {
  // error is why there is no response: no connection, no answer in time; message is the
  // proxy's text, for the log. A response with a status of 400 and above is no error.
  ps_status error;
  ps_str message;
  ps_header header; // with ":status"
  ps_buffer body;
  ps_header trailer;
} ps_http_response;

// ps_http_status returns the response's status; 0: there is none.
int ps_http_status(const ps_http_response *r);

// ps_http_answered is called with the data that ps_http_call was given.
typedef void ps_http_answered(void *data, const ps_http_response *r);

// ps_http_call sends a request to an upstream (proxy_http_call): "NAME" or "NAME:PORT", where
// NAME is a Service of the plugin's namespace, or a hostname that the policy's egress lists.
// Envoy's name of a Service, "outbound|80||NAME.NAMESPACE.svc.cluster.local", is known too;
// other proxies have names of their own. headers has ":method", ":path" and ":authority". timeout_ms is for all of it;
// 0: none.
//
// answered is called once, with the context that made the call as the effective one, and
// not at all if that has ended meanwhile: so data may be of the stream. A callback that
// waits for it returns PS_PAUSE; answered then calls ps_resume, or ps_respond. It needs the
// capability http-call: without it ps_http_call fails with PS_ERR_INTERNAL, for an upstream
// that is not known, or a negative time, with PS_ERR_BAD_ARGUMENT.
ps_status ps_http_call(ps_str upstream, ps_pairs headers, ps_str body, ps_pairs trailers, int64_t timeout_ms, ps_http_answered *answered, void *data) PS_MUST_CHECK;

// ---- gRPC ----

// ps_grpc is a gRPC call, or stream, under way.
typedef struct ps_grpc {
  uint32_t id;
} ps_grpc;

// ps_grpc_status is how a gRPC call ended: the code is 0 if it went well.
typedef struct ps_grpc_status {
  uint32_t code;
  ps_str message;
} ps_grpc_status;

// ps_grpc_response is what came of a unary call.
typedef struct ps_grpc_response {
  ps_grpc_status status;
  bool has_message;
  ps_str message;
  ps_pairs initial_metadata, trailing_metadata;
} ps_grpc_response;

// ps_grpc_answered is called with the data that ps_grpc_call was given.
typedef void ps_grpc_answered(void *data, const ps_grpc_response *r);

// ps_grpc_handler is what a gRPC stream calls, with the data that ps_grpc_stream was given
// and the context that opened it as the effective one; what is NULL is not called.
typedef struct ps_grpc_handler {
  void (*initial_metadata)(void *data, ps_header h); // to be read within the callback only
  void (*message)(void *data, ps_str message);
  void (*trailing_metadata)(void *data, ps_header h); // as initial_metadata
  void (*close)(void *data, ps_grpc_status status);
} ps_grpc_handler;

// ps_grpc_call sends one message to a method, as "EmptyCall" of the service
// "grpc.testing.TestService", and gets one (proxy_grpc_call). For upstream, timeout_ms,
// answered and errors see ps_http_call.
ps_status ps_grpc_call(ps_str upstream, ps_str service, ps_str method, ps_pairs metadata, ps_str message, int64_t timeout_ms, ps_grpc_answered *answered, void *data, ps_grpc *call) PS_MUST_CHECK;
// ps_grpc_stream opens a stream to a method (proxy_grpc_stream), as ps_grpc_call. One that
// a stream of the plugin opened is cancelled when that ends: what is to last is opened in
// configure or by a tick.
ps_status ps_grpc_stream(ps_str upstream, ps_str service, ps_str method, ps_pairs metadata, ps_grpc_handler handler, void *data, ps_grpc *call) PS_MUST_CHECK;
// ps_grpc_send sends a message on a stream (proxy_grpc_send); end says that it is the last.
// PS_ERR_NOT_FOUND once the stream has ended, PS_ERR_BAD_ARGUMENT for a unary call.
ps_status ps_grpc_send(ps_grpc call, ps_str message, bool end) PS_MUST_CHECK;
// ps_grpc_end says that no more messages are sent on a stream (proxy_grpc_close); those of
// the other side still come. A unary call is cancelled.
ps_status ps_grpc_end(ps_grpc call) PS_MUST_CHECK;
// ps_grpc_cancel gives the call up (proxy_grpc_cancel): no callback follows.
ps_status ps_grpc_cancel(ps_grpc call) PS_MUST_CHECK;

// ---- Properties ----

// PS_PATH is a property's path, of 1 to 6 literals: PS_PATH("source", "address").
#define PS_PATH(...) PS_STR(PS_PATH_OF(__VA_ARGS__, PS_PATH_6, PS_PATH_5, PS_PATH_4, PS_PATH_3, PS_PATH_2, PS_PATH_1, 0)(__VA_ARGS__))
// ps_path is a property's path of any texts. It traps if there is no memory.
ps_str ps_path(ps_strs segments);

// ps_property hands over a property as the proxy has it (proxy_get_property);
// PS_ERR_NOT_FOUND: there is none.
ps_status ps_property(ps_str path, ps_str *value);
// ps_property_string is ps_property, for one that is a text: PS_PATH("request", "protocol").
ps_status ps_property_string(ps_str path, ps_str *value);
// ps_property_int hands over a property that is a number, such as PS_PATH("source", "port");
// PS_ERR_RESULT_MISMATCH: it is none.
ps_status ps_property_int(ps_str path, int64_t *value);
// ps_property_bool hands over a property that is true or false, such as
// PS_PATH("connection", "mtls"); PS_ERR_RESULT_MISMATCH: it is neither.
ps_status ps_property_bool(ps_str path, bool *value);
// ps_property_time hands over a property that is a time, such as PS_PATH("request", "time"),
// in nanoseconds since 1970, as ps_now. It fails as ps_property_int does.
ps_status ps_property_time(ps_str path, int64_t *ns);
// ps_property_duration hands over a property that is a time span, such as PS_PATH("request",
// "duration"), in nanoseconds. It fails as ps_property_int does.
ps_status ps_property_duration(ps_str path, int64_t *ns);

// ps_address is an address in network order, of 4 bytes (IPv4) or of 16 (IPv6).
typedef struct ps_address {
  uint8_t bytes[16];
  size_t len; // of bytes
} ps_address;

// ps_client_address hands over the client's address, as the proxy knows it: IPv4 also where it
// came as IPv6 ("::ffff:192.0.2.7"). Penstock has a property of it, PS_PATH("penstock",
// "client_address"); of a proxy that has none it is the address in PS_PATH("source",
// "address"). PS_ERR_NOT_FOUND, PS_ERR_RESULT_MISMATCH: the proxy does not know it.
ps_status ps_client_address(ps_address *address) PS_MUST_CHECK;

// ps_set_property keeps a value for the rest of the exchange (proxy_set_property): this
// plugin and the others of the exchange read it by ps_property with the same path.
// PS_ERR_NOT_FOUND: there is no exchange.
ps_status ps_set_property(ps_str path, ps_str value) PS_MUST_CHECK;

// ---- Shared data and queues ----

// ps_shared_data hands over what is kept under a key (proxy_get_shared_data), and the number
// of that state for ps_set_shared_data; PS_ERR_NOT_FOUND: there is nothing. All instances of
// the plugin with the same vmId share the data.
ps_status ps_shared_data(ps_str key, ps_str *value, uint32_t *cas);
// ps_set_shared_data keeps a value under a key (proxy_set_shared_data). With a cas other than
// 0 it fails with PS_ERR_CAS_MISMATCH if the value there is not the one that had this number.
ps_status ps_set_shared_data(ps_str key, ps_str value, uint32_t cas) PS_MUST_CHECK;
// ps_update_shared_data replaces the value under a key by what change makes of it, empty if
// there is none, so that no instance's change is lost: change is called again if another one
// came between. PS_ERR_CAS_MISMATCH: others came between too often.
ps_status ps_update_shared_data(ps_str key, ps_str (*change)(void *data, ps_str old), void *data) PS_MUST_CHECK;

// ps_register_queue hands over the shared queue of a name, which it makes if there is none
// (proxy_register_shared_queue). Of the plugin that registered it last the function of
// PS_ON_QUEUE_READY is called.
ps_status ps_register_queue(ps_str name, ps_queue *q) PS_MUST_CHECK;
// ps_resolve_queue hands over a shared queue that another plugin registered, with that vmId,
// empty for the plugin's own (proxy_resolve_shared_queue); PS_ERR_NOT_FOUND: there is none.
ps_status ps_resolve_queue(ps_str vm_id, ps_str name, ps_queue *q) PS_MUST_CHECK;
// ps_queue_enqueue puts a value at the end (proxy_enqueue_shared_queue); PS_ERR_INTERNAL: it
// is full.
ps_status ps_queue_enqueue(ps_queue q, ps_str value) PS_MUST_CHECK;
// ps_queue_dequeue takes the oldest value (proxy_dequeue_shared_queue); PS_ERR_EMPTY: there
// is none.
ps_status ps_queue_dequeue(ps_queue q, ps_str *value) PS_MUST_CHECK;

// ---- Metrics ----

// ps_counter is a metric that only grows. The functions of metrics do not fail: what the ABI
// does not permit changes nothing.
typedef struct ps_counter {
  uint32_t id;
} ps_counter;
// ps_gauge is a metric that goes up and down.
typedef struct ps_gauge {
  uint32_t id;
} ps_gauge;
// ps_histogram is a metric that counts samples by their size.
typedef struct ps_histogram {
  uint32_t id;
} ps_histogram;

// ps_define_counter hands over the counter of a name (proxy_define_metric); all instances
// have the same one. Define metrics once, in configure.
ps_status ps_define_counter(ps_str name, ps_counter *c) PS_MUST_CHECK;
// ps_define_gauge hands over the gauge of a name, as ps_define_counter.
ps_status ps_define_gauge(ps_str name, ps_gauge *g) PS_MUST_CHECK;
// ps_define_histogram hands over the histogram of a name, as ps_define_counter.
ps_status ps_define_histogram(ps_str name, ps_histogram *h) PS_MUST_CHECK;
// ps_counter_increment adds delta, which is above 0 (proxy_increment_metric).
void ps_counter_increment(ps_counter c, int64_t delta);
// ps_counter_value returns how much it is (proxy_get_metric).
int64_t ps_counter_value(ps_counter c);
// ps_gauge_increment adds delta, which may be negative (proxy_increment_metric).
void ps_gauge_increment(ps_gauge g, int64_t delta);
// ps_gauge_record sets it (proxy_record_metric).
void ps_gauge_record(ps_gauge g, int64_t value);
// ps_gauge_value returns how much it is (proxy_get_metric).
int64_t ps_gauge_value(ps_gauge g);
// ps_histogram_record adds a sample (proxy_record_metric).
void ps_histogram_record(ps_histogram h, uint64_t value);

// ---- The log, timers, foreign functions ----

// ps_level says how much a line of the log matters (proxy_log_level_t).
typedef enum ps_level { PS_TRACE, PS_DEBUG, PS_INFO, PS_WARN, PS_ERROR, PS_CRITICAL } ps_level;

// ps_log writes a line to the proxy's log (proxy_log).
void ps_log(ps_level level, ps_str text);
// ps_log_level returns the lowest level that the proxy writes (proxy_get_log_level), PS_TRACE
// if it does not say.
ps_level ps_log_level(void);
// ps_log_enabled says whether lines of a level are written: to be asked before one is made
// that costs something to make.
bool ps_log_enabled(ps_level level);

// ps_now returns the time by the proxy's clock, in nanoseconds since 1970
// (proxy_get_current_time_nanoseconds); 0: the proxy does not say.
int64_t ps_now(void);
// ps_set_tick_period has the function of PS_ON_TICK called each time so many milliseconds
// have passed (proxy_set_tick_period_milliseconds), at most 2^31-1; 0 ends it. Usually called
// in configure. Each instance of the plugin ticks on its own.
ps_status ps_set_tick_period(int64_t ms) PS_MUST_CHECK;

// ps_call_foreign calls a function that is not part of the ABI (proxy_call_foreign_function).
// PS_ERR_NOT_FOUND: the proxy has none of that name.
ps_status ps_call_foreign(ps_str name, ps_str arguments, ps_str *result) PS_MUST_CHECK;

// ---- What only Penstock has ----

// ps_consumer is who sent a request, ready to be handed to the proxy.
typedef struct ps_consumer {
  ps_str json;
} ps_consumer;

// ps_new_consumer prepares a consumer, PS_FOR_PLUGIN; make it once, in configure.
// PS_ERR_BAD_ARGUMENT: the name or a group is no UTF-8.
ps_status ps_new_consumer(ps_str name, ps_strs groups, ps_consumer *consumer) PS_MUST_CHECK;
// ps_set_consumer says who sent the request. It needs the capability consumer; elsewhere
// than in Penstock it fails, with PS_ERR_NOT_FOUND, and the plugin may set a header.
ps_status ps_set_consumer(ps_consumer consumer) PS_MUST_CHECK;

// Bounds of what a consumer is looked up by, in bytes; each text has one at least.
enum {
  PS_MAX_CREDENTIAL_TYPE = 64,
  PS_MAX_CREDENTIAL_LOOKUP = 4 << 10,
  PS_MAX_CONSUMER_NAMESPACES = 16 // beside the plugin's own
};

// ps_identity is who sent a request. It is PS_FOR_CALLBACK.
typedef struct ps_identity {
  ps_str username; // unique in its namespace
  ps_strs groups;
  // data is what the request is to be checked by, if it was found: what that is, a NUL, and
  // the bytes; nothing for key-auth. It is secret.
  ps_str data;
} ps_identity;

// ps_find_consumer hands over the consumer that has a credential: one of a kind, as
// "key-auth", that is looked up by a text, as the key itself. It is looked for in the
// plugin's own namespace, then in namespaces, whose ReferenceGrants have to permit it.
// PS_ERR_NOT_FOUND: there is none. It needs the capability consumer: PS_ERR_INTERNAL without
// it; elsewhere than in Penstock PS_ERR_UNIMPLEMENTED, and the plugin has to know who there
// is by itself.
ps_status ps_find_consumer(ps_str kind, ps_str lookup, ps_strs namespaces, ps_identity *who) PS_MUST_CHECK;
// ps_use_consumer makes the consumer that ps_find_consumer handed over last in this exchange
// the one who sent the request: for the filters that come later, the log and the headers
// that the Service gets. To be called once the request has shown what it has to, before its
// headers go on: later it is PS_ERR_BAD_ARGUMENT. It fails as ps_find_consumer does.
ps_status ps_use_consumer(void) PS_MUST_CHECK;
// ps_identify_consumer is both at once, for a credential that nothing is left to be checked
// of. If it fails nobody is known to have sent the request.
ps_status ps_identify_consumer(ps_str kind, ps_str lookup, ps_strs namespaces) PS_MUST_CHECK;
// ps_current_consumer hands over who sent the request, as plugins before this one have found
// out. PS_ERR_NOT_FOUND: nobody has; PS_ERR_UNIMPLEMENTED elsewhere than in Penstock. It
// needs no capability.
ps_status ps_current_consumer(ps_identity *who) PS_MUST_CHECK;
// ps_set_claims says what a token holds of who sent the request, a JSON object of at most
// 16 KiB, once it has been checked: later plugins read it as PS_PATH("penstock", "claims"),
// and expressions as claims. Otherwise it is as ps_use_consumer; a request of which there
// are claims counts as one of somebody for the cache too.
ps_status ps_set_claims(ps_str json) PS_MUST_CHECK;

// Bounds of the cache's functions.
enum {
  PS_MAX_CACHE_PARTS = 16, // each of at most PS_MAX_CACHE_PART bytes
  PS_MAX_CACHE_PART = 1 << 10,
  PS_MAX_CACHE_TAGS = 32, // each of 1 to PS_MAX_CACHE_TAG bytes of text without control characters
  PS_MAX_CACHE_TAG = 256,
  PS_MAX_CACHE_KEY = 1 << 10, // bytes, at least 1
  PS_MAX_CACHE_VALUE = 1 << 20
};

// ps_steering is what a plugin says to the response cache that comes after it.
typedef struct ps_steering {
  // bypass: the request is neither answered from the cache, nor is its response stored.
  bool bypass;
  // key are parts that the key gets beside its own, in this order: responses to requests
  // that differ in them are stored apart.
  ps_strs key;
  // ttl_s is how many seconds the response is fresh if it does not say itself, to a year; 0:
  // as the cache's configuration says. force: also if it does say. Neither permits storing
  // what may not be stored.
  int64_t ttl_s;
  bool force;
  // tags are added to the response's own, for purges.
  ps_strs tags;
} ps_steering;

// ps_steer_cache says to a response cache that comes after the plugin what it is to do with
// this exchange, in place of what the plugin said before. What several plugins say adds up:
// key parts and tags in the order of the plugins, the last ttl_s holds, one bypass is
// enough. To be called in the callback of the request's headers, or until they go on. It
// needs the capability cache: without it it fails with PS_ERR_INTERNAL, elsewhere than in
// Penstock with PS_ERR_NOT_FOUND. A plugin whose key parts must not get lost does not let
// the request go on then.
ps_status ps_steer_cache(const ps_steering *s) PS_MUST_CHECK;
// ps_steering_encode makes, in configure, what ps_send_steering sends for many exchanges.
ps_status ps_steering_encode(const ps_steering *s, ps_life life, ps_str *encoded) PS_MUST_CHECK;
// ps_send_steering is ps_steer_cache with what ps_steering_encode has made.
ps_status ps_send_steering(ps_str encoded) PS_MUST_CHECK;

// ps_cache_object is what ps_cache_get finds.
typedef struct ps_cache_object {
  ps_str value;
  uint64_t left_ms; // how long it lives on
  bool stale;       // a soft purge has met it
} ps_cache_object;

// ps_cache_get hands over the object that was put under key by plugins of this namespace
// with the same vmId, without one by this filter. PS_ERR_NOT_FOUND: there is none; without
// the capability cache it fails with PS_ERR_INTERNAL.
ps_status ps_cache_get(ps_str key, ps_cache_object *object);
// ps_cache_put stores an object for ttl_s seconds, from 1 to 30 days; it may be gone
// earlier. What was under the key is replaced. Each plugin has a quota: once that is full,
// or the cache has no room, without the capability cache, and elsewhere than in Penstock, it
// fails with a status of the host, and what was there is untouched.
ps_status ps_cache_put(ps_str key, ps_str value, int64_t ttl_s, ps_strs tags) PS_MUST_CHECK;
// ps_cache_delete removes an object, if it is there. It fails as ps_cache_put does.
ps_status ps_cache_delete(ps_str key) PS_MUST_CHECK;
// ps_cache_purge removes what has any of the tags in the plugin's namespace, responses and
// objects of all its plugins; soft makes it stale instead: a stale response may still serve
// while a fresh one is fetched. removed is how much that was, -1 if the purge goes on in the
// background. Only this proxy's cache is purged: all proxies' is by a CachePurge object. It
// fails as ps_cache_put does.
ps_status ps_cache_purge(bool soft, ps_strs tags, int64_t *removed) PS_MUST_CHECK;

// ps_rate is a limit on how often something may happen.
typedef struct ps_rate {
  uint32_t limit;    // how many events a window allows, at least 1
  int64_t window_ms; // to 31 days
  // burst is how many may come at once, where limit ones are gained evenly over each window
  // (a token bucket); 0: limit. Not with sliding.
  uint32_t burst;
  bool sliding; // counts the events of the last window, those of the one before by share
} ps_rate;

// ps_rate_answer says whether events are within a ps_rate.
typedef struct ps_rate_answer {
  bool allowed;
  uint32_t remaining; // that would be allowed now
  uint64_t reset_ms;  // until all of the limit is there again
  uint64_t retry_ms;  // until the same would be allowed, if it is not
} ps_rate_answer;

// ps_take_rate counts cost events of a key if they are within a rate, on this proxy alone.
// Filters of a namespace with the same vmId share keys. With cost 0 it only asks. It needs
// the capability ratelimit: without it it fails with PS_ERR_INTERNAL, elsewhere than in
// Penstock with PS_ERR_NOT_FOUND.
ps_status ps_take_rate(const ps_rate *rate, ps_str key, uint32_t cost, ps_rate_answer *answer) PS_MUST_CHECK;
// ps_rate_answered is told what became of ps_take_shared_rate, with an error if Redis did
// not answer.
typedef void ps_rate_answered(void *data, ps_status error, const ps_rate_answer *answer);
// ps_take_shared_rate is ps_take_rate by what all proxies count together, in the Redis of the
// Gateway's parameters. now: the answer is there. Else answered is called once, as that of
// ps_http_call is. Without a Redis it fails with PS_ERR_UNIMPLEMENTED.
ps_status ps_take_shared_rate(const ps_rate *rate, ps_str key, uint32_t cost, ps_rate_answered *answered, void *data, bool *now, ps_rate_answer *answer) PS_MUST_CHECK;

// Bounds of the key-value store, in bytes.
enum {
  PS_MAX_KV_KEY = 1 << 10, // at least 1
  PS_MAX_KV_VALUE = 64 << 10
};

// ps_kv_value is what ps_kv_get finds. It is PS_FOR_CALLBACK.
typedef struct ps_kv_value {
  ps_str value;
  uint64_t left_ms; // how long it lives on
} ps_kv_value;

// ps_kv_get hands over the value that was put under key on this proxy by filters of this
// namespace with the same vmId, without one by this filter. PS_ERR_NOT_FOUND: there is none;
// without the capability kv it fails with PS_ERR_INTERNAL.
ps_status ps_kv_get(ps_str key, ps_kv_value *value);
// ps_kv_put stores a value for ttl_s seconds, from 1 to 31 days; absent: only where there is
// none, PS_ERR_CAS_MISMATCH else. Nothing else takes its place before: it fails with
// PS_ERR_INTERNAL when the namespace's room is full, and what was there is untouched. It
// needs the capability kv.
ps_status ps_kv_put(ps_str key, ps_str value, int64_t ttl_s, bool absent) PS_MUST_CHECK;
// ps_kv_delete removes a value, if it is there. It needs the capability kv.
ps_status ps_kv_delete(ps_str key) PS_MUST_CHECK;
// ps_kv_add adds to a number, which is 0 where there is none and lives for ttl_s from then
// on. Its value is 8 bytes, little endian: PS_ERR_PARSE for another one, and for a sum beyond
// 64 bits. Else it is as ps_kv_put.
ps_status ps_kv_add(ps_str key, int64_t delta, int64_t ttl_s, int64_t *sum) PS_MUST_CHECK;

// ps_encode_body has PS_REQUEST_BODY or PS_RESPONSE_BODY encoded by the proxy, in its header
// callback or while that pauses: with gzip, br or zstd, at a level from 1, which is fast, to
// 9, or 0 for the coding's default. The proxy changes the fields that speak of the content
// once the headers go on, and makes no callbacks of the stream for that body and its
// trailers. It fails with PS_ERR_NOT_FOUND for another coding, with PS_ERR_EMPTY where there
// is no body, with PS_ERR_INTERNAL when encoders take as much memory as they may, and without
// the capability compress; with PS_ERR_BAD_ARGUMENT at another time, for a part (206) and for
// what was encoded or decoded by this plugin before.
ps_status ps_encode_body(ps_buffer body, ps_str coding, int level) PS_MUST_CHECK;
// ps_decode_body has a body decoded, as ps_encode_body: by what Content-Encoding says, or by
// codings, the outermost first and with commas between them, of gzip, deflate, br and zstd. A
// request whose body becomes longer than limit bytes is answered with 413, and with 400 if it
// is not what its coding makes; a response with 502, or cut short. PS_ERR_EMPTY also says
// that nothing is encoded.
ps_status ps_decode_body(ps_buffer body, int64_t limit, ps_str codings) PS_MUST_CHECK;

// ps_key_format is how a key is written: a secret's bytes; RFC 7517, a key and no set; a
// public key, a certificate or a private key.
typedef enum ps_key_format { PS_KEY_RAW = 0, PS_KEY_JWK = 1, PS_KEY_PEM = 2 } ps_key_format;

// ps_key is a key that the proxy holds, for one algorithm alone.
typedef struct ps_key {
  uint32_t id;
} ps_key;

// ps_new_key has the proxy read a key for an algorithm: RS256, RS384, RS512, PS256, PS384,
// PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512, A128GCM or A256GCM (RFC 7518, RFC
// 8037). PS_ERR_CONFIG, with the proxy's word on why: it is not for that; what a token says
// of its algorithm cannot change it. A filter may hold 512 keys on an instance. It needs the
// capability crypto: without it it fails with PS_ERR_INTERNAL, elsewhere than in Penstock with
// PS_ERR_NOT_FOUND.
ps_status ps_new_key(ps_str algorithm, ps_key_format format, ps_str key, ps_key *k) PS_MUST_CHECK;
// ps_key_delete has the proxy forget a key.
void ps_key_delete(ps_key k);
// ps_key_verify says whether a signature, in the form of JWS (RFC 7515), is that of message.
ps_status ps_key_verify(ps_key k, ps_str signature, ps_str message, bool *right) PS_MUST_CHECK;
// ps_key_sign hands over the signature of message in the form of JWS, PS_FOR_CALLBACK.
ps_status ps_key_sign(ps_key k, ps_str message, ps_str *signature) PS_MUST_CHECK;
// ps_key_seal encrypts text so that ps_key_open alone can read it and nobody can change it;
// with, which may be empty, is not in the result and has to be the same there. The key is for
// A128GCM or A256GCM. The result is PS_FOR_CALLBACK.
ps_status ps_key_seal(ps_key k, ps_str text, ps_str with, ps_str *sealed) PS_MUST_CHECK;
// ps_key_open hands over the text that ps_key_seal was given, PS_FOR_CALLBACK; right is false
// if the key is another one or anything was changed.
ps_status ps_key_open(ps_key k, ps_str sealed, ps_str with, bool *right, ps_str *text) PS_MUST_CHECK;
// ps_hash hands over a digest, PS_FOR_CALLBACK: sha1, sha256, sha384 or sha512. It needs the
// capability crypto.
ps_status ps_hash(ps_str name, ps_str data, ps_str *digest) PS_MUST_CHECK;
// ps_password_answered is told what became of ps_check_password.
typedef void ps_password_answered(void *data, ps_status error, bool right);
// ps_check_password compares a password with its hash: bcrypt, or argon2id in the PHC string
// format. now: the answer is in right. Else answered is called once, as that of ps_http_call
// is. It needs the capability crypto. It fails with PS_ERR_PARSE for a hash that cannot be
// read, and with PS_ERR_INTERNAL if too many passwords wait.
ps_status ps_check_password(ps_str hash, ps_str password, ps_password_answered *answered, void *data, bool *now, bool *right) PS_MUST_CHECK;

// ---- Callbacks ----
//
// The macros stand at the end of one file of the plugin, each at most once, and end with a
// semicolon. plugin and stream are types of the plugin's own: the SDK makes them zeroed, and
// hands each function its own.

// PS_PLUGIN says what the plugin is. A plugin has to have it.
//
//   ps_status configure(plugin *p, ps_str config): called once for each configuration,
//     before any stream. What is not PS_OK refuses it, and is logged.
//   void new_stream(plugin *p, stream *s): begins the plugin's part in one exchange.
#define PS_PLUGIN(plugin, stream, configure, new_stream) \
  static ps_status ps_typed_configure(void *p, ps_str config) { return configure(PS_AS(p), config); } \
  static void ps_typed_new_stream(void *p, void *s) { new_stream(PS_AS(p), PS_AS(s)); } \
  PS_C const struct ps_definition ps_definition = {sizeof(plugin), sizeof(stream), ps_typed_configure, ps_typed_new_stream}

// ps_action FUNCTION(stream *s, bool end): the request's head; end says that no body follows.
#define PS_ON_REQUEST_HEADERS(function) \
  PS_ACTION(proxy_on_request_headers, (uint32_t id, uint32_t n, uint32_t end), ((void)n, function(PS_AS(ps_enter_stream(id)), end != 0))); \
  PS_ACTION(penstock_on_request_headers, (uint32_t root, uint32_t id, uint32_t n, uint32_t end, uint32_t ended), ((void)n, function(PS_AS(ps_open_stream(root, id, ended)), end != 0)))
// ps_action FUNCTION(stream *s, size_t size, bool end): size bytes, all that were held back
// so far; end says that they are the last.
#define PS_ON_REQUEST_BODY(function) PS_ACTION(proxy_on_request_body, (uint32_t id, uint32_t size, uint32_t end), function(PS_AS(ps_enter_stream(id)), size, end != 0))
// ps_action FUNCTION(stream *s).
#define PS_ON_REQUEST_TRAILERS(function) PS_ACTION(proxy_on_request_trailers, (uint32_t id, uint32_t n), ((void)n, function(PS_AS(ps_enter_stream(id)))))
// As those of the request.
#define PS_ON_RESPONSE_HEADERS(function) PS_ACTION(proxy_on_response_headers, (uint32_t id, uint32_t n, uint32_t end), ((void)n, function(PS_AS(ps_enter_stream(id)), end != 0)))
#define PS_ON_RESPONSE_BODY(function) PS_ACTION(proxy_on_response_body, (uint32_t id, uint32_t size, uint32_t end), function(PS_AS(ps_enter_stream(id)), size, end != 0))
#define PS_ON_RESPONSE_TRAILERS(function) PS_ACTION(proxy_on_response_trailers, (uint32_t id, uint32_t n), ((void)n, function(PS_AS(ps_enter_stream(id)))))
// void FUNCTION(stream *s): the last call; the exchange can be read, not changed.
#define PS_ON_DONE(function) PS_HOOK(void ps_hook_done(void *s), function(PS_AS(s)))
// void FUNCTION(stream *s): proxies write their access logs. It comes after PS_ON_DONE's in
// Penstock, and before it in others.
#define PS_ON_LOG(function) PS_EVENT(proxy_on_log, (uint32_t id), void *s = ps_find_stream(id), s, function(PS_AS(s)))

// void FUNCTION(plugin *p): as ps_set_tick_period says.
#define PS_ON_TICK(function) PS_EVENT(proxy_on_tick, (uint32_t id), void *p = ps_find_plugin(id), p, function(PS_AS(p)))
// void FUNCTION(plugin *p, ps_queue q): something was put into a queue that it registered. It
// is told once each time; another instance may have taken it by then.
#define PS_ON_QUEUE_READY(function) PS_EVENT(proxy_on_queue_ready, (uint32_t id, uint32_t queue), void *p = ps_find_plugin(id); ps_queue q = {queue}, p, function(PS_AS(p), q))
// ps_status FUNCTION(plugin *p, ps_str config): the VM's configuration, before the plugin's
// own. Where several configurations share an instance, only the first one's plugin is told.
#define PS_ON_VM_START(function) PS_HOOK(ps_status ps_hook_vm_start(void *p, ps_str config), return function(PS_AS(p), config))
// bool FUNCTION(plugin *p): it is to end. If it returns false the plugin goes on, with its
// ticks and calls, until it calls ps_done, or the proxy waits no longer.
#define PS_ON_FINISH(function) PS_HOOK(bool ps_hook_finish(void *p), return function(PS_AS(p)))
// void FUNCTION(plugin *p, uint32_t function, ps_str arguments): a function that
// ps_call_foreign called calls back.
#define PS_ON_FOREIGN_FUNCTION(function) PS_EVENT(proxy_on_foreign_function, (uint32_t id, uint32_t called, uint32_t size), void *p = ps_find_plugin(id), p, function(PS_AS(p), called, ps_foreign_arguments(size)))

// A stream with these is also there for raw connections: TCP, or what TLS carries. In
// Penstock the image's manifest has to say "connections": true.
//
// ps_action FUNCTION(stream *s): a client has connected.
#define PS_ON_NEW_CONNECTION(function) PS_ACTION(proxy_on_new_connection, (uint32_t id), function(PS_AS(ps_enter_stream(id))))
// ps_action FUNCTION(stream *s, size_t size, bool end): what the client sent, size bytes, all
// that were held back so far, in PS_DOWNSTREAM_DATA; end says that this side sends no more.
#define PS_ON_DOWNSTREAM_DATA(function) PS_ACTION(proxy_on_downstream_data, (uint32_t id, uint32_t size, uint32_t end), function(PS_AS(ps_enter_stream(id)), size, end != 0))
// As PS_ON_DOWNSTREAM_DATA, of what the client gets, in PS_UPSTREAM_DATA.
#define PS_ON_UPSTREAM_DATA(function) PS_ACTION(proxy_on_upstream_data, (uint32_t id, uint32_t size, uint32_t end), function(PS_AS(ps_enter_stream(id)), size, end != 0))
// void FUNCTION(stream *s, ps_peer by).
#define PS_ON_DOWNSTREAM_CLOSE(function) PS_EVENT(proxy_on_downstream_connection_close, (uint32_t id, uint32_t by), void *s = ps_find_stream(id), s, function(PS_AS(s), (ps_peer)by))
#define PS_ON_UPSTREAM_CLOSE(function) PS_EVENT(proxy_on_upstream_connection_close, (uint32_t id, uint32_t by), void *s = ps_find_stream(id), s, function(PS_AS(s), (ps_peer)by))

// ---- What the macros are made of ----

struct ps_definition {
  size_t plugin_size, stream_size;
  ps_status (*configure)(void *plugin, ps_str config);
  void (*new_stream)(void *plugin, void *stream);
};
extern const struct ps_definition ps_definition;

// They begin a callback: that of a stream traps if there is none, the others return NULL.
void *ps_enter_stream(uint32_t id);
void *ps_open_stream(uint32_t root, uint32_t id, uint32_t ended);
void *ps_find_stream(uint32_t id);
void *ps_find_plugin(uint32_t id);
ps_str ps_foreign_arguments(uint32_t size);

#ifdef __wasm__
#define PS_EXPORT(name) __attribute__((export_name(#name)))
#else
#define PS_EXPORT(name)
#endif

#define PS_ACTION(name, parameters, call) \
  PS_C uint32_t name parameters PS_EXPORT(name); \
  PS_C uint32_t name parameters { return (uint32_t)(call); } \
  PS_C uint32_t name parameters
#define PS_EVENT(name, parameters, state, there, call) \
  PS_C void name parameters PS_EXPORT(name); \
  PS_C void name parameters { state; if (there) call; } \
  PS_C void name parameters
#define PS_HOOK(declaration, call) \
  PS_C declaration; \
  PS_C declaration { call; } \
  PS_C declaration

#define PS_PATH_OF(a, b, c, d, e, f, chosen, ...) chosen
#define PS_PATH_1(a) a
#define PS_PATH_2(a, b) a "\0" b
#define PS_PATH_3(a, b, c) a "\0" b "\0" c
#define PS_PATH_4(a, b, c, d) a "\0" b "\0" c "\0" d
#define PS_PATH_5(a, b, c, d, e) a "\0" b "\0" c "\0" d "\0" e
#define PS_PATH_6(a, b, c, d, e, f) a "\0" b "\0" c "\0" d "\0" e "\0" f

#define PS_LONG(sign) (sizeof(long) == 8 ? &ps_type_##sign##64 : &ps_type_##sign##32)

#ifndef __cplusplus

#define PS_AS(p) (p)
#define PS_ALIGN(c_type) _Alignof(c_type)
#define PS_STRS(...) ((ps_strs){(const ps_str[]){__VA_ARGS__}, sizeof((const ps_str[]){__VA_ARGS__}) / sizeof(ps_str)})
#define PS_PAIRS(...) ((ps_pairs){(const ps_pair[]){__VA_ARGS__}, sizeof((const ps_pair[]){__VA_ARGS__}) / sizeof(ps_pair)})
#define PS_NO_STRS ((ps_strs){NULL, 0})
#define PS_NO_PAIRS ((ps_pairs){NULL, 0})
#define PS_CAT(...) ps_cat(PS_STRS(__VA_ARGS__))
#define PS_TYPE_FOR(c_type, member) \
  _Generic(((c_type *)0)->member, ps_str: &ps_type_text, bool: &ps_type_bool, float: &ps_type_f32, double: &ps_type_f64, \
    signed char: &ps_type_i8, short: &ps_type_i16, int: &ps_type_i32, long: PS_LONG(i), long long: &ps_type_i64, \
    unsigned char: &ps_type_u8, unsigned short: &ps_type_u16, unsigned: &ps_type_u32, unsigned long: PS_LONG(u), unsigned long long: &ps_type_u64)

#else

} // extern "C"

// ps_any is a pointer that becomes what is wanted, as in C.
struct ps_any {
  void *p;
  template <class T> operator T *() const { return static_cast<T *>(p); }
};

#define PS_AS(p) (ps_any{p})
#define PS_ALIGN(c_type) alignof(c_type)
template <size_t n> inline ps_strs ps_strs_of(const ps_str (&list)[n]) { return {list, n}; }
template <size_t n> inline ps_pairs ps_pairs_of(const ps_pair (&list)[n]) { return {list, n}; }
#define PS_STRS(...) ps_strs_of({__VA_ARGS__})
#define PS_PAIRS(...) ps_pairs_of({__VA_ARGS__})
#define PS_NO_STRS (ps_strs{nullptr, 0})
#define PS_NO_PAIRS (ps_pairs{nullptr, 0})
#define PS_CAT(...) ps_cat(PS_STRS(__VA_ARGS__))

template <class T> struct ps_type_of;
template <> struct ps_type_of<ps_str> { static constexpr const ps_type *type = &ps_type_text; };
template <> struct ps_type_of<bool> { static constexpr const ps_type *type = &ps_type_bool; };
template <> struct ps_type_of<float> { static constexpr const ps_type *type = &ps_type_f32; };
template <> struct ps_type_of<double> { static constexpr const ps_type *type = &ps_type_f64; };
template <> struct ps_type_of<signed char> { static constexpr const ps_type *type = &ps_type_i8; };
template <> struct ps_type_of<short> { static constexpr const ps_type *type = &ps_type_i16; };
template <> struct ps_type_of<int> { static constexpr const ps_type *type = &ps_type_i32; };
template <> struct ps_type_of<long> { static constexpr const ps_type *type = PS_LONG(i); };
template <> struct ps_type_of<long long> { static constexpr const ps_type *type = &ps_type_i64; };
template <> struct ps_type_of<unsigned char> { static constexpr const ps_type *type = &ps_type_u8; };
template <> struct ps_type_of<unsigned short> { static constexpr const ps_type *type = &ps_type_u16; };
template <> struct ps_type_of<unsigned> { static constexpr const ps_type *type = &ps_type_u32; };
template <> struct ps_type_of<unsigned long> { static constexpr const ps_type *type = PS_LONG(u); };
template <> struct ps_type_of<unsigned long long> { static constexpr const ps_type *type = &ps_type_u64; };
#define PS_TYPE_FOR(c_type, member) ps_type_of<decltype(c_type::member)>::type

#endif
#endif
