// A host for tests on this machine: it answers as it is told to, also wrongly.
#ifndef PENSTOCK_TEST_HOST_H
#define PENSTOCK_TEST_HOST_H

#include "../abi.h"

// fake is what the host answers, and what it was asked.
extern struct fake {
  uint32_t status; // of every function
  ps_str answer;   // of those that hand bytes over
  ps_str lacks;    // the path of a property that is not found, if it has one
  enum { HONEST, TOO_LONG, ELSEWHERE, BEFORE, NOWHERE, WITHOUT_ROOM, WRAPPED, OF_BEFORE } gives;
  uint32_t number;  // of those that hand a number over
  uint64_t wide;
  uint32_t calls;      // of any function
  uint32_t effective;  // of proxy_set_effective_context
  uint32_t cancelled;  // of proxy_grpc_cancel, last
  uint32_t cancels;    // how many
  char said[4096];     // proxy_log, last
  char sent[4096];     // the last arguments
  size_t sent_len;
} fake;

uint32_t proxy_on_configure(uint32_t root, uint32_t size);
uint32_t proxy_on_vm_start(uint32_t root, uint32_t size);
uint32_t proxy_on_done(uint32_t id);
void proxy_on_delete(uint32_t id);
void proxy_on_context_create(uint32_t id, uint32_t parent);
void *proxy_on_memory_allocate(uint32_t size);
void proxy_on_http_call_response(uint32_t root, uint32_t id, uint32_t headers, uint32_t size, uint32_t trailers);
void proxy_on_grpc_receive_initial_metadata(uint32_t root, uint32_t id, uint32_t n);
void proxy_on_grpc_receive(uint32_t root, uint32_t id, uint32_t size);
void proxy_on_grpc_receive_trailing_metadata(uint32_t root, uint32_t id, uint32_t n);
void proxy_on_grpc_close(uint32_t root, uint32_t id, uint32_t code);

#endif
