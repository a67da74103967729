// Calls gRPC's interop server with grpc-web's own client, in Node or in a page, in both
// forms of the protocol: node client.js ORIGIN. What protoc-gen-grpc-web would
// generate are the MethodDescriptors.
const grpcWeb = require('grpc-web');
const protobuf = require('protobufjs');

const { root } = protobuf.parse(`
  syntax = "proto3";
  message Payload { int32 type = 1; bytes body = 2; }
  message EchoStatus { int32 code = 1; string message = 2; }
  message SimpleRequest { int32 response_size = 2; Payload payload = 3; EchoStatus response_status = 7; }
  message SimpleResponse { Payload payload = 1; }
  message ResponseParameters { int32 size = 1; int32 interval_us = 2; }
  message StreamingOutputCallRequest { repeated ResponseParameters response_parameters = 2; }
  message StreamingOutputCallResponse { Payload payload = 1; }
`);

function method(name, kind, request, response) {
  const [from, to] = [root.lookupType(request), root.lookupType(response)];
  return new grpcWeb.MethodDescriptor('/grpc.testing.TestService/' + name, kind, Object, Object, (m) => from.encode(from.fromObject(m)).finish(), (b) => to.decode(b));
}
const unary = method('UnaryCall', grpcWeb.MethodType.UNARY, 'SimpleRequest', 'SimpleResponse');
const stream = method('StreamingOutputCall', grpcWeb.MethodType.SERVER_STREAMING, 'StreamingOutputCallRequest', 'StreamingOutputCallResponse');
const absent = method('NoSuchCall', grpcWeb.MethodType.UNARY, 'SimpleRequest', 'SimpleResponse');

const inPage = typeof process === 'undefined';
const wrong = [];
function check(what, got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) wrong.push(`${what}: got ${JSON.stringify(got)}; want ${JSON.stringify(want)}`);
}

// streamed collects what a stream tells.
function streamed(client, origin, request, metadata) {
  return new Promise((resolve) => {
    const sizes = [];
    const times = [];
    let initial;
    client.serverStreaming(origin + stream.getName(), request, metadata, stream)
      .on('metadata', (m) => { initial = m; })
      .on('data', (m) => { sizes.push(m.payload.body.length); times.push(Date.now()); })
      .on('error', ({ code, message }) => resolve({ sizes, times, code, message, initial }))
      .on('end', () => resolve({ sizes, times, code: 0, initial }));
  });
}

async function run(origin, format) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const call = (m, request, metadata = {}) => new Promise((resolve) => {
    let trailers;
    client.rpcCall(origin + m.getName(), request, metadata, m, (error, response) => setTimeout(() => resolve({ error, response, trailers })))
      .on('status', (s) => { trailers = s.metadata; });
  });
  const refused = ({ error }) => error && [error.code, error.message];

  for (const size of [0, 1, 314159]) {
    const { error, response } = await call(unary, { payload: { body: new Uint8Array(size).fill(7) }, responseSize: size });
    check(`${format}: a call of ${size} bytes`, error ?? response.payload.body.length, size);
  }
  const echoed = await call(unary, {}, { 'x-grpc-test-echo-initial': 'first', 'x-grpc-test-echo-trailing-bin': 'q6ur' });
  check(`${format}: trailers`, echoed.trailers?.['x-grpc-test-echo-trailing-bin'], 'q6ur');

  const message = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';
  check(`${format}: an error`, refused(await call(unary, { responseStatus: { code: 2, message: 'test status message' } })), [2, 'test status message']);
  check(`${format}: a special message`, refused(await call(unary, { responseStatus: { code: 7, message } })), [7, message]);
  check(`${format}: no such method`, refused(await call(absent, {}))?.[0], 12);

  const many = await streamed(client, origin, { responseParameters: [31415, 9, 2653, 58979].map((size) => ({ size })) }, {});
  check(`${format}: a stream`, [many.sizes, many.code], [[31415, 9, 2653, 58979], 0]);
  const slow = await streamed(client, origin, { responseParameters: [1, 2, 3].map((size) => ({ size, intervalUs: 300000 })) }, {});
  check(`${format}: a slow stream`, [slow.sizes, slow.code], [[1, 2, 3], 0]);
  if (inPage && format === 'text') check(`${format}: its messages come as they are sent`, slow.times[2] - slow.times[0] > 400, true); // xhr2, and the binary form, wait for the end

  const late = { responseParameters: [{ size: 1 }, { size: 1, intervalUs: 2000000 }] };
  const began = Date.now(); // the client's own clock ends a call after a second at the earliest
  const ended = await streamed(client, origin, late, { deadline: String(began + 700) });
  check(`${format}: a deadline`, [ended.sizes, ended.code, Date.now() - began < 1000], [[1], 4, true]);
}

async function all(origin) {
  try {
    for (const format of ['binary', 'text']) await run(origin, format);
  } catch (e) {
    wrong.push(String(e.stack ?? e));
  }
  return wrong.join('\n') || 'ok';
}

if (inPage) {
  all(location.origin).then((text) => fetch('/page/tell', { method: 'POST', body: text }));
} else {
  globalThis.XMLHttpRequest = require('xhr2').XMLHttpRequest;
  all(process.argv[2]).then((text) => {
    console.log(text);
    process.exit(text === 'ok' ? 0 : 1);
  });
}
