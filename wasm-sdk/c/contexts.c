// Contexts: the plugins, one for each configuration, and their streams; the callbacks that
// each module has.
#include "abi.h"

// ---- Tables ----

static uint32_t bucket(const struct ps_table *t, uint32_t id) { return (id * 0x9e3779b1u >> 8) & (t->size - 1); }

struct ps_entry *ps_table_find(const struct ps_table *t, uint32_t id) {
  if (t->size == 0) return NULL;
  struct ps_entry *e = t->buckets[bucket(t, id)];
  while (e && e->id != id) e = e->next;
  return e;
}

static struct ps_region tables; // their buckets

static bool enlarge(struct ps_table *t) {
  struct ps_table bigger = {NULL, t->size ? t->size * 2 : 64, t->count};
  bigger.buckets = (struct ps_entry **)ps_region_alloc(&tables, bigger.size * sizeof *bigger.buckets);
  if (!bigger.buckets) return false;
  __builtin_memset(bigger.buckets, 0, bigger.size * sizeof *bigger.buckets);
  for (uint32_t i = 0; i < t->size; i++)
    for (struct ps_entry *e = t->buckets[i], *next; e; e = next) {
      struct ps_entry **at = &bigger.buckets[bucket(&bigger, e->id)];
      next = e->next;
      e->next = *at;
      *at = e;
    }
  ps_free(t->buckets);
  *t = bigger;
  return true;
}

bool ps_table_add(struct ps_table *t, struct ps_entry *e) {
  if (t->count >= t->size && !enlarge(t) && t->size == 0) return false; // without room for more it is slower
  struct ps_entry **at = &t->buckets[bucket(t, e->id)];
  e->next = *at;
  *at = e;
  t->count++;
  return true;
}

void ps_table_remove(struct ps_table *t, struct ps_entry *e) {
  struct ps_entry **at = &t->buckets[bucket(t, e->id)];
  while (*at != e) at = &(*at)->next;
  *at = e->next;
  t->count--;
}

// ---- Contexts ----

static struct ps_table nodes;
static struct ps_node *all;
static struct ps_region kept; // the nodes, each with its state

struct ps_node *ps_here;
static uint32_t effective; // ps_here's number, also of one that is not known

static struct ps_node *find(uint32_t id) { return (struct ps_node *)(void *)ps_table_find(&nodes, id); }

struct ps_node *ps_enter(uint32_t id) {
  ps_temp_begin();
  effective = id;
  ps_here = find(id);
  return ps_here;
}

ps_context ps_effective_context(void) { return effective; }

ps_status ps_set_effective_context(ps_context c) {
  ps_status status = ps_failure(proxy_set_effective_context(c));
  if (status != PS_OK) return status;
  struct ps_node *n = find(c);
  if (!n) return PS_ERR_BAD_ARGUMENT;
  effective = c;
  ps_here = n;
  return PS_OK;
}

static void end(struct ps_node *n) {
  ps_calls_end(n);
  ps_region_end(&n->memory);
  ps_table_remove(&nodes, &n->entry);
  *n->link = n->next;
  if (n->next) n->next->link = n->link;
  if (ps_here == n) ps_here = NULL;
  ps_free(n);
}

// end_plugin ends a plugin, and streams of it that the host has forgotten to end.
static void end_plugin(struct ps_node *p) {
  for (struct ps_node *n = all, *next; n; n = next) {
    next = n->next;
    if (n->plugin == p && n != p) end(n);
  }
  end(p);
}

void proxy_abi_version_0_2_1(void) PS_EXPORT(proxy_abi_version_0_2_1);
void proxy_abi_version_0_2_1(void) {}

#ifdef __wasm__
// A host calls it first; in C++ it makes what is made before main. With it the linker does
// not do so in front of each callback.
void __wasm_call_ctors(void);
__attribute__((weak)) void _initialize(void) PS_EXPORT(_initialize);
__attribute__((weak)) void _initialize(void) { __wasm_call_ctors(); }
#endif

void proxy_on_context_create(uint32_t id, uint32_t parent) PS_EXPORT(proxy_on_context_create);
void proxy_on_context_create(uint32_t id, uint32_t parent) {
  if (ps_enter(id)) ps_panic(PS_STR("a context is created twice"));
  struct ps_node *plugin = parent ? find(parent) : NULL;
  if (parent && (!plugin || plugin->plugin != plugin)) ps_panic(PS_STR("a stream is created without a plugin"));
  const size_t size = parent ? ps_definition.stream_size : ps_definition.plugin_size;
  const size_t head = (sizeof(struct ps_node) + 15) / 16 * 16; // the state behind it is fit for any type
  struct ps_node *n = (struct ps_node *)ps_region_alloc(&kept, head + size);
  if (!n) ps_panic(PS_STR("no memory for a context"));
  *n = (struct ps_node){{id, NULL}, parent ? plugin : n, all, &all, {NULL}, NULL, (char *)n + head};
  if (!ps_table_add(&nodes, &n->entry)) ps_panic(PS_STR("no memory for a context"));
  __builtin_memset(n->state, 0, size);
  if (all) all->link = &n->next;
  all = n;
  ps_here = n;
  if (parent) ps_definition.new_stream(plugin->state, n->state);
}

// What plugins may have of callbacks that each module has.
__attribute__((weak)) ps_status ps_hook_vm_start(void *plugin, ps_str config);
__attribute__((weak)) void ps_hook_done(void *stream);
__attribute__((weak)) bool ps_hook_finish(void *plugin);

// start lets a plugin start with a configuration of that size.
static uint32_t start(uint32_t root, uint32_t size, uint32_t buffer, ps_status (*starts)(void *, ps_str)) {
  struct ps_node *n = ps_enter(root);
  ps_str config = PS_EMPTY;
  if (!n || n->plugin != n) ps_panic(PS_STR("a start without a plugin"));
  ps_status status = size > 0 ? ps_buffer_get((ps_buffer)buffer, 0, size, &config) : PS_OK;
  if (status == PS_OK) status = starts(n->state, config);
  if (status == PS_OK) return 1;
  ps_log(PS_ERROR, ps_status_text(status));
  return 0;
}

uint32_t proxy_on_vm_start(uint32_t root, uint32_t size) PS_EXPORT(proxy_on_vm_start);
uint32_t proxy_on_vm_start(uint32_t root, uint32_t size) { return ps_hook_vm_start ? start(root, size, 6, ps_hook_vm_start) : 1; }

uint32_t proxy_on_configure(uint32_t root, uint32_t size) PS_EXPORT(proxy_on_configure);
uint32_t proxy_on_configure(uint32_t root, uint32_t size) { return start(root, size, 7, ps_definition.configure); }

uint32_t proxy_on_done(uint32_t id) PS_EXPORT(proxy_on_done);
uint32_t proxy_on_done(uint32_t id) {
  struct ps_node *n = ps_enter(id);
  if (n && n->plugin == n) return !ps_hook_finish || ps_hook_finish(n->state);
  if (n && ps_hook_done) ps_hook_done(n->state);
  return 1;
}

void proxy_on_delete(uint32_t id) PS_EXPORT(proxy_on_delete);
void proxy_on_delete(uint32_t id) {
  struct ps_node *n = ps_enter(id);
  if (!n) return;
  if (n->plugin == n) end_plugin(n);
  else end(n);
}

// ---- For the macros of callbacks ----

void *ps_find_stream(uint32_t id) {
  struct ps_node *n = ps_enter(id);
  return n && n->plugin != n ? n->state : NULL;
}

void *ps_enter_stream(uint32_t id) {
  void *s = ps_find_stream(id);
  if (!s) ps_panic(PS_STR("a callback without a stream"));
  return s;
}

// ps_open_stream is for Penstock's own callback: it makes a stream, and before it ends
// another one, if ended is not 0.
void *ps_open_stream(uint32_t root, uint32_t id, uint32_t ended) {
  if (ended) proxy_on_delete(ended);
  proxy_on_context_create(id, root);
  return ps_enter_stream(id);
}

void *ps_find_plugin(uint32_t id) {
  struct ps_node *n = ps_enter(id);
  return n && n->plugin == n ? n->state : NULL;
}

ps_str ps_foreign_arguments(uint32_t size) {
  ps_str arguments = PS_EMPTY;
  if (size > 0) ps_must(ps_buffer_get((ps_buffer)8, 0, size, &arguments));
  return arguments;
}
