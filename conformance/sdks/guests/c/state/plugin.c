// A plugin that shows what the SDK has beside a message: configuration, properties, shared
// data, queues, metrics, the log and the clock.
#include "penstock.h"

typedef struct {
  ps_str name;
  int64_t most;
} limit;

typedef struct {
  ps_str greeting;
  PS_LIST_OF(limit) limits;
} config;

static const ps_field limit_fields[] = {PS_FIELD(limit, name), PS_FIELD(limit, most)};
static const ps_type limit_type = PS_OBJECT(limit, limit_fields);
static const ps_type limits_type = PS_LIST(limit_type);
static const ps_field config_fields[] = {PS_FIELD(config, greeting), PS_FIELD_OF(config, limits, limits_type)};
static const ps_type config_type = PS_OBJECT(config, config_fields);

typedef struct {
  config config;
  ps_str vm;
  ps_queue queue;
  ps_counter seen;
  ps_gauge level;
  ps_histogram sizes;
  int64_t started;
  bool ending;
} plugin;

typedef struct {
  plugin *plugin;
} stream;

static ps_status vm_start(plugin *p, ps_str text) { return ps_copy(PS_FOR_PLUGIN, PS_CAT(PS_STR("started "), ps_int((int64_t)text.len)), &p->vm); }

static ps_status refuse(ps_str what, ps_status status) { return ps_refuse(PS_CAT(what, PS_STR(": "), ps_status_text(status))); }

static ps_status configure(plugin *p, ps_str text) {
  ps_queue same;
  ps_str value;
  ps_status status;
  p->config.greeting = PS_STR("good day");
  if ((status = ps_parse_config(text, &config_type, &p->config)) != PS_OK) return status;
  if ((status = ps_resolve_queue(PS_STR(""), PS_STR("nobody's"), &same)) != PS_ERR_NOT_FOUND) return refuse(PS_STR("a queue that nobody registered"), status);
  if ((status = ps_register_queue(PS_STR("paths"), &p->queue)) != PS_OK) return status;
  if ((status = ps_resolve_queue(PS_STR(""), PS_STR("paths"), &same)) != PS_OK || same.id != p->queue.id) return refuse(PS_STR("a queue is another one"), status);
  if ((status = ps_queue_dequeue(p->queue, &value)) != PS_ERR_EMPTY) return refuse(PS_STR("an empty queue"), status);
  if ((status = ps_define_counter(PS_STR("requests_seen"), &p->seen)) != PS_OK) return status;
  if ((status = ps_define_gauge(PS_STR("level"), &p->level)) != PS_OK) return status;
  if ((status = ps_define_histogram(PS_STR("path_bytes"), &p->sizes)) != PS_OK) return status;
  if ((status = ps_done()) != PS_ERR_NOT_FOUND) return refuse(PS_STR("done before it is to end"), status);
  p->started = ps_now();
  return PS_OK;
}

static void new_stream(plugin *p, stream *s) { s->plugin = p; }

static void queue_ready(plugin *p, ps_queue q) {
  ps_str path;
  (void)p;
  if (ps_queue_dequeue(q, &path) == PS_OK) ps_must(ps_set_shared_data(PS_STR("last"), path, 0)); // or another instance was first
}

// finish: the plugin wants a tick more.
static bool finish(plugin *p) {
  p->ending = true;
  ps_must(ps_set_tick_period(20));
  return false;
}

static void tick(plugin *p) {
  if (!p->ending) return;
  p->ending = false;
  ps_must(ps_done());
  ps_log(PS_WARN, PS_STR("the plugin has finished"));
}

static ps_str truth(bool b) { return b ? PS_STR("true") : PS_STR("false"); }

static void set(ps_str name, ps_str value) { ps_must(ps_header_set(PS_REQUEST_HEADER, name, value)); }

static ps_str one_more(void *data, ps_str old) {
  int64_t n;
  (void)data;
  if (!ps_parse_int(old, &n)) n = 0;
  return ps_int(n + 1);
}

// within says that two times are less than a minute apart.
static bool within(int64_t a, int64_t b) {
  const int64_t minute = INT64_C(60000000000);
  return a - b < minute && b - a < minute;
}

// swaps tries what compare and swap does with a key of the request's own.
static ps_str swaps(void) {
  ps_str value, key = PS_CAT(PS_STR("key "), ps_int(ps_now()));
  uint32_t cas;
  ps_status missing = ps_shared_data(key, &value, &cas);
  ps_must(ps_set_shared_data(key, PS_STR("a"), 0));
  ps_must(ps_shared_data(key, &value, &cas));
  ps_must(ps_set_shared_data(key, PS_STR("b"), cas));
  ps_status late = ps_set_shared_data(key, PS_STR("c"), cas);
  ps_must(ps_shared_data(key, &value, &cas));
  return PS_CAT(truth(missing == PS_ERR_NOT_FOUND), PS_STR(" "), truth(late == PS_ERR_CAS_MISMATCH), PS_STR(" "), value);
}

static ps_str properties(void) {
  ps_str method, none, space = PS_STR(" ");
  int64_t port, at, wrong;
  bool tls;
  (void)ps_property_string(PS_PATH("request", "method"), &method);
  bool has_port = ps_property_int(PS_PATH("source", "port"), &port) == PS_OK;
  bool has_tls = ps_property_bool(PS_PATH("connection", "mtls"), &tls) == PS_OK;
  bool has_time = ps_property_time(PS_PATH("request", "time"), &at) == PS_OK;
  bool has_none = ps_property_string(PS_PATH("request", "none"), &none) != PS_ERR_NOT_FOUND;
  bool is_int = ps_property_int(PS_PATH("request", "method"), &wrong) != PS_ERR_RESULT_MISMATCH;
  return PS_CAT(method, space, truth(has_port && port > 0 && port < 65536), space, truth(has_tls), space, truth(tls), space, truth(has_time && within(ps_now(), at)), space, truth(has_none), space, truth(is_int));
}

static ps_action request_headers(stream *s, bool end) {
  plugin *p = s->plugin;
  ps_str path, total;
  uint32_t cas;
  (void)end;
  (void)ps_header_get(PS_REQUEST_HEADER, PS_STR(":path"), &path);
  ps_must(ps_queue_enqueue(p->queue, path));
  ps_counter_increment(p->seen, 1);
  ps_counter_increment(p->seen, -5); // not permitted: nothing happens
  ps_gauge_record(p->level, 10);
  ps_gauge_increment(p->level, -3);
  ps_histogram_record(p->sizes, path.len);
  ps_must(ps_update_shared_data(PS_STR("total"), one_more, NULL));
  ps_must(ps_set_property(PS_PATH("state", "mark"), PS_CAT(PS_STR("of "), path)));
  ps_log(PS_INFO, PS_STR("an info line"));
  if (ps_log_enabled(PS_DEBUG)) ps_log(PS_ERROR, PS_STR("debug is on"));
  ps_must(ps_shared_data(PS_STR("total"), &total, &cas));
  set(PS_STR("x-total"), total);
  set(PS_STR("x-cas"), swaps());
  set(PS_STR("x-vm"), p->vm);
  set(PS_STR("x-greeting"), PS_CAT(p->config.greeting, PS_STR(" "), ps_int((int64_t)p->config.limits.len)));
  set(PS_STR("x-properties"), properties());
  set(PS_STR("x-metrics"), PS_CAT(truth(ps_counter_value(p->seen) > 0), PS_STR(" "), ps_int(ps_gauge_value(p->level))));
  int64_t then = ps_now();
  set(PS_STR("x-time"), PS_CAT(truth(then >= p->started), PS_STR(" "), truth(then > INT64_C(1700000000000000000) && within(ps_now(), then))));
  return PS_CONTINUE;
}

static ps_action response_headers(stream *s, bool end) {
  ps_str mark, last;
  uint32_t cas;
  (void)s, (void)end;
  (void)ps_property_string(PS_PATH("state", "mark"), &mark);
  ps_must(ps_header_set(PS_RESPONSE_HEADER, PS_STR("x-mark"), mark));
  if (ps_shared_data(PS_STR("last"), &last, &cas) == PS_OK) ps_must(ps_header_set(PS_RESPONSE_HEADER, PS_STR("x-last"), last));
  return PS_CONTINUE;
}

static void log_stream(stream *s) {
  int64_t status, took;
  (void)s;
  (void)ps_property_int(PS_PATH("response", "code"), &status);
  bool known = ps_property_duration(PS_PATH("request", "duration"), &took) == PS_OK;
  ps_log(PS_WARN, PS_CAT(PS_STR("logged "), ps_int(status), PS_STR(" "), truth(known && took > 0)));
}

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_VM_START(vm_start);
PS_ON_QUEUE_READY(queue_ready);
PS_ON_FINISH(finish);
PS_ON_TICK(tick);
PS_ON_REQUEST_HEADERS(request_headers);
PS_ON_RESPONSE_HEADERS(response_headers);
PS_ON_LOG(log_stream);
