// Sends messages and checks their echo, then has the server close.
const socket = new WebSocket(process.argv[2], ['chat']);
socket.binaryType = 'arraybuffer';
const sizes = [0, 1, 126, 70000, 1 << 20];
let next = 0;

function send() {
  if (next === sizes.length) {
    socket.send('bye');
    return;
  }
  socket.send(new Uint8Array(sizes[next]).fill(7));
}

socket.onopen = send;
socket.onmessage = ({ data }) => {
  if (data.byteLength !== sizes[next] || new Uint8Array(data).some((b) => b !== 7)) {
    console.log(`got ${data.byteLength} bytes; want ${sizes[next]}`);
    process.exit(1);
  }
  next++;
  send();
};
socket.onerror = (event) => {
  console.log(event.message ?? 'error');
  process.exit(1);
};
socket.onclose = ({ code, reason, wasClean }) => {
  console.log(code, reason, wasClean);
  if (code !== 4001 || reason !== 'as you wish' || next !== sizes.length) process.exit(1);
  console.log('ok');
};
